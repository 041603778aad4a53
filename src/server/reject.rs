//! Telling a peer why its request was not taken.

use std::sync::Arc;

use super::{connection::Connection, core::Core, refusal::Refusal, respond::write_refusal};

/// Tells the peer what was wrong, in a way that it gets to read it, and closes.
pub(super) async fn reject(core: Arc<Core>, connection: Connection, refusal: Refusal) {
    refusal.log(&core.throttle, || connection.stream.peer());
    core.counters.refused(&refusal);
    if let Some(response) = refusal.response() {
        write_refusal(&core, &connection, response).await;
    }
}
