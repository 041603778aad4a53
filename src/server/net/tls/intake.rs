//! Where TLS puts the connections within its sessions.

use std::sync::Arc;

use crate::server::{connection::Connection, net::stream::Stream, slots::Slot};

/// Where connections are made and served.
pub(crate) struct Intake<S> {
    /// Makes a connection of a stream.
    pub(crate) connect: fn(Stream, Slot) -> Arc<Connection>,
    /// Serves the connection within the session.
    pub(crate) serve: S,
}
