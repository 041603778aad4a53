//! A client for servers that speak uwsgi, as nginx is one: what `spile request` uses, and tests. And, in [`control`],
//! for their control sockets: `spile stats`, `reload` and `top`.
//!
//! It blocks, and makes one request a connection, like nginx.
//!
//! ```no_run
//! use std::time::Duration;
//! use spile::client::Request;
//!
//! let request = Request::new("/search?q=cask").header("Accept", "text/html");
//! let response = request.send(&"unix:/run/app.sock".parse()?, Duration::from_secs(10))?;
//! assert_eq!(response.status(), 200);
//! response.copy_to(&mut std::io::stdout())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod connection;
pub mod control;
mod cure;
mod error;
mod request;
mod response;
mod upload;

pub use error::ClientError;
pub use request::Request;
pub use response::Response;
pub use upload::Content;
