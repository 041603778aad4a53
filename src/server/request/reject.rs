//! Telling a peer why its request was not taken.

use super::refusal::Refusal;
use crate::server::{connection::Connection, response::streaming::write_refusal, shared::Shared};

/// Tells the peer what was wrong, in a way that it gets to read it.
pub(crate) async fn reject(shared: &Shared, connection: &Connection, refusal: Refusal) {
    refusal.log(&shared.log_limit, || connection.stream.peer());
    shared.counters.refused(&refusal);
    if let Some(response) = refusal.response() {
        write_refusal(shared, connection, response).await;
    }
}
