//! What an operator sees: the [`log`], and a line a request in the [`AccessLog`].

mod access_log;
pub mod log;

pub use access_log::AccessLog;
