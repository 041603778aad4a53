//! Sockets, connections, limits and stopping.
//!
//! # Layout
//! - [`Server`]: applications and sockets put together; the way in for a Rust program.
//! - [`Listener`], [`Binding`]: sockets to accept on; `socket_file`: the files of unix sockets.
//! - [`Lane`]: a thread that accepts and answers; `crew`: which of them is woken for what.
//! - `allow`: who may connect.
//! - `dispatcher`: connections that go to the runtime, and requests that come back from it.
//! - `serve`: a connection's way from its first byte to its answer; `admission`: what its variables must not say;
//!   `refusal` and `reject` for those that do not get far, and `throttle` for what the log has of them.
//! - `connection`: its socket and what waits there; `exchange`: its request, until the answer is through;
//!   `claim`: who may answer it;
//!   `request_body`: what the request brings; `body_memory`: what all bodies together may take.
//! - `respond` and `reply`: writing responses, for applications that do not block and for those that do;
//!   `outbox`: for clients that are slow to take them.
//! - `seat`: what each lane runs, and what is done when that takes too long; `frozen`: what does not count as time.
//! - `promise`: what a response's head promises of its body.
//! - `tls`: TLS in front of all this, for TCP.
//! - `hooks`: what a program that embeds the server may implement.
//! - `stop`: how far a stop has come; `core`: what all of these share; `slots`: how many connections are held;
//!   `open_files`: which numbers their descriptors have; `stream`: the socket below;
//!   `sync`: what threads and tasks wait for each other with.
//! - `counters`: what is counted; [`names`]: by what names.

mod admission;
mod allow;
mod body_memory;
mod claim;
mod connection;
mod core;
mod corrected;
mod counters;
mod crew;
mod descriptor;
mod dispatcher;
mod drought;
mod exchange;
mod frozen;
mod hooks;
mod lane;
mod limits;
mod listener;
pub mod names;
mod open_files;
mod outbox;
mod places;
mod promise;
mod refusal;
mod reject;
mod reply;
mod request_body;
mod respond;
mod robbed;
mod running;
mod seat;
mod serve;
#[allow(clippy::module_inception)]
mod server;
mod slots;
mod socket_file;
mod standard_files;
mod stop;
mod stream;
mod sync;
mod throttle;
#[cfg(feature = "tls")]
mod tls;

pub use allow::AllowFrom;
pub use counters::STATUS_CLASSES;
pub use descriptor::{duplicate, is_inheritable};
#[cfg(feature = "cli")]
pub(crate) use frozen::Looks;
pub use hooks::{Answered, Board, Observer, Pause, Plain, Turns};
pub use lane::Lane;
pub use limits::{INTERRUPTED_GRACE, Limits};
pub(crate) use listener::Family;
#[cfg(feature = "cli")]
pub(crate) use listener::holder;
pub use listener::{BindError, Binding, Listener, unix_owner};
pub use refusal::REFUSAL_REASONS;
pub use running::{Parts, Queued, Running};
pub use seat::{Interrupt, Late};
pub use server::{ServeError, Server};
pub use socket_file::{FileId, Standing};
#[cfg(feature = "cli")]
pub(crate) use throttle::Throttle;
#[cfg(feature = "tls")]
pub use tls::{Credentials, Expiry, TicketSecret, Tls, TlsError, TlsFault, TlsPart};
