//! Sockets, connections, limits and stopping.
//!
//! # Layout
//! - `server`: [`Server`], applications and sockets put together: the way in for a Rust program. `running`: a server that
//!   runs, in parts, for a program that has threads of its own.
//! - `net`: sockets. [`Listener`] accepts, [`Binding`] says where.
//! - `lane`: [`Lane`], a thread that accepts connections and calls applications; which lane is woken for what; and what
//!   happens when an application takes too long.
//! - `dispatch`: a request's way, from its first byte to its answer; `call`: an asynchronous application, until it has
//!   a response; `job`: a request for one that blocks; `handoff`: connections that wait on the runtime, and requests
//!   that come back from it.
//! - `wire`: what a front server speaks. `connection`: a connection of it; `ending`: how that ends.
//! - `exchange`: one request until it is answered; `claim`: who may answer.
//! - `request`: what a request must not say, and its body; `response`: writers of responses.
//! - `hooks`: what a program that embeds the server may implement.
//! - `shared`: the state that all connections share; `slots`: how many there are; `shutdown`: how far a stop has come;
//!   `frozen`: time in which the process did not run; `pace`: how long a thread waits for a client; `sync`: what threads
//!   and tasks wait for each other with.
//! - `metrics`: what is counted; [`names`]: by what names. `log_limit`, `accept_errors`: lines that peers can cause.

mod accept_errors;
mod call;
mod claim;
mod connection;
mod dispatch;
mod ending;
mod exchange;
mod frozen;
mod handoff;
mod hooks;
mod job;
mod lane;
mod limits;
mod log_limit;
mod metrics;
mod net;
mod pace;
mod request;
mod response;
mod running;
#[allow(clippy::module_inception)]
mod server;
mod shared;
mod shutdown;
mod slots;
mod sync;
mod wire;

#[cfg(feature = "cli")]
pub(crate) use frozen::Looks;
pub use hooks::{Answered, LaneObserver, Observer, Pause, Plain, Turns};
pub use lane::Lane;
pub use lane::watchdog::{Interrupt, Late};
pub use limits::{INTERRUPTED_GRACE, Limits};
#[cfg(feature = "cli")]
pub(crate) use log_limit::LogLimit;
pub use metrics::{STATUS_CLASSES, names};
pub use net::allow::AllowFrom;
#[cfg(any(test, feature = "cli"))]
#[doc(hidden)]
pub use net::descriptor::duplicate;
#[cfg(feature = "cli")]
pub(crate) use net::descriptor::{inherited, is_inheritable};
pub(crate) use net::listener::Family;
#[cfg(feature = "cli")]
pub(crate) use net::listener::holder;
pub use net::listener::{BindError, Binding, Listener, unix_owner};
pub use net::socket_file::{FileId, SocketFileState};
#[cfg(feature = "tls")]
pub use net::tls::{Credentials, Expiry, TicketSecret, Tls, TlsError, TlsFault, TlsPart};
pub use request::refusal::REFUSAL_REASONS;
pub use running::{Parts, Queued, Running};
pub use server::{ServeError, Server};
