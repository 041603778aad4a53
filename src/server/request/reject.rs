//! Telling a peer why its request was not taken.

use std::sync::Arc;

use super::refusal::Refusal;
use crate::server::{connection::Connection, response::streaming::write_refusal, shared::Core};

/// Tells the peer what was wrong, in a way that it gets to read it, and closes.
pub(crate) async fn reject(core: Arc<Core>, connection: Connection, refusal: Refusal) {
    refusal.log(&core.throttle, || connection.stream.peer());
    core.counters.refused(&refusal);
    if let Some(response) = refusal.response() {
        write_refusal(&core, &connection, response).await;
    }
}
