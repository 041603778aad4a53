//! What an operator sees: the [`log`], and a line a request in the [`AccessLog`], and the [`stats`] of a server.

mod access_log;
pub mod log;
pub mod stats;

pub use access_log::AccessLog;
