//! What an operator sees: the [`log`], and a line a request in the [`AccessLog`], and the [`stats`] of a server,
//! for [`prometheus`] too.

mod access_log;
pub mod log;
pub mod prometheus;
mod standard_error;
pub mod stats;

pub use access_log::AccessLog;
