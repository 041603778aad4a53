//! Sockets: where connections come from, and what they are read from and written to.
//!
//! # Layout
//! - `listener`: binds and accepts; `socket_file`: the files of unix sockets; `places`: names that stand for addresses.
//! - `allow`: who may connect.
//! - `stream`: one connected socket; `tls`: TLS in front of it, for TCP.
//! - `open_files`: which numbers the descriptors have; `descriptor`, `standard_files`, `robbed`: descriptors of others,
//!   and own ones that applications close.

pub(crate) mod allow;
pub(crate) mod descriptor;
pub(crate) mod listener;
pub(crate) mod open_files;
pub(crate) mod places;
pub(crate) mod robbed;
pub(crate) mod socket_file;
pub(crate) mod standard_files;
pub(crate) mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
