//! What an application is, and which one answers a request.
//!
//! # Layout
//! - [`Environ`]: the request's variables by name.
//! - [`Request`], [`Response`], [`Body`]: what goes in and comes out; [`UnfinishedBody`]: what did not come.
//! - [`Upgrade`], [`Upgraded`]: a client's wish to go on in another protocol, and the connection when it is granted.
//! - [`Application`]: answers a request asynchronously. Any `async fn(Request) -> impl Into<Response>` is one.
//! - [`BlockingApplication`]: answers on the calling thread, through an [`Answer`]. WSGI is of this kind.
//! - [`Router`]: picks an application by the longest mounted prefix.
//! - [`tower`](tower()): any `tower::Service` as an application, so an axum `Router` mounts directly.
//! - [`builtin`]: `hello://`, `echo://` and `static://`.
//!
//! Nothing here knows sockets or Python.

mod application;
mod blocking;
mod body;
pub mod builtin;
mod environ;
mod future;
mod request;
mod response;
mod router;
mod tower;
mod unfinished;
mod upgrade;
mod upgraded;

pub use application::Application;
pub use blocking::{Answer, AnswerError, BlockingApplication, Failed};
pub use body::{Body, BoxError, Content, FileRange};
pub use environ::{Environ, Iter};
pub use future::BoxFuture;
pub use request::Request;
pub use response::Response;
pub use router::{Handler, MountError, Router};
pub use tower::{Tower, tower};
pub use unfinished::UnfinishedBody;
pub use upgrade::Upgrade;
pub use upgraded::Upgraded;
pub(crate) use upgraded::{Transport, Tunnel};
