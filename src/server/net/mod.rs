//! Sockets: where connections come from, and what they are read from and written to.
//!
//! # Layout
//! - `listener`: binds and accepts; `socket_file`: the files of unix sockets; `places`: names that stand for addresses.
//! - `allow`: who may connect.
//! - `stream`: one connected socket; `scratch`: what is received lands there first; `tls`: TLS in front of it, for TCP.
//! - `open_files`: which numbers the descriptors have; `fd`: guards them against applications that close them;
//!   `descriptor`: descriptors that are known by their numbers.

pub(crate) mod allow;
#[cfg(any(test, feature = "cli"))]
pub(crate) mod descriptor;
pub(crate) mod fd;
pub(crate) mod listener;
pub(crate) mod open_files;
pub(crate) mod places;
pub(crate) mod scratch;
pub(crate) mod socket_file;
pub(crate) mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
