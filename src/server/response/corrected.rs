//! Says once for each application what is corrected in its responses.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use crate::{app::Router, protocol::Corrections, server::LaneObserver};

/// What was said so far.
pub(crate) struct Corrected {
    /// By mount, in the order of the router's prefixes.
    said: Vec<(String, AtomicU16)>,
    /// What other processes have said.
    lane_observer: Option<Arc<dyn LaneObserver>>,
}

impl Corrected {
    pub(crate) fn new(router: &Router, lane_observer: Option<Arc<dyn LaneObserver>>) -> Self {
        let said = router
            .prefixes()
            .map(|prefix| (prefix.to_owned(), AtomicU16::default()));
        Self {
            said: said.collect(),
            lane_observer,
        }
    }

    /// Says what was corrected in a response of a mount, by its number in the router, unless it was said before.
    pub(crate) fn say(&self, mount: Option<usize>, corrections: Corrections) {
        if corrections.is_empty() {
            return;
        }
        let Some((prefix, said)) = mount.and_then(|number| self.said.get(number)) else {
            return;
        };
        let mut new = corrections.without(Corrections::from_bits(
            said.fetch_or(corrections.bits(), Ordering::Relaxed),
        ));
        if let Some(lane_observer) = self.lane_observer.as_ref().filter(|_| !new.is_empty()) {
            new = lane_observer.note_corrections(prefix, new);
        }
        if !new.is_empty() {
            tracing::warn!(
                cure = "take that out of its responses, or ignore this line, which is written once for each \
                        application",
                "the application at {prefix} answers with {new}"
            );
        }
    }
}
