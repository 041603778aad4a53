//! The other end of the protocol: a client that sends what nginx would, for tests and for looking at a server.
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
//!
//! `control`, for the program alone, talks to the control sockets of its servers.

mod connection;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod control;
#[cfg(feature = "cli")]
mod cure;
mod error;
mod request;
mod response;
mod upload;

pub use error::ClientError;
pub use request::Request;
pub use response::Response;
pub use upload::Content;
