//! What is spoken on a connection.
//!
//! # Layout
//! - `duplex`: both directions of a connection, once it is an application's.

pub(super) mod duplex;
