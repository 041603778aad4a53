//! What an operator sees: the log, and a line a request.

mod access_log;
pub mod log;

pub use access_log::AccessLog;
