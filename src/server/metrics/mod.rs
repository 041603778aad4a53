//! What the server counts, through the `metrics` facade.

pub mod names;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use super::request::refusal::{NOT_ALLOWED, REFUSAL_REASONS, Refusal};
use crate::app::Router;

/// The classes that answered requests are counted by; the last is for those that ended without a status.
pub const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// Handles to everything the server counts, looked up once: a request then costs a few additions. So a recorder has
/// to be installed before the server is made.
pub(super) struct Counters {
    /// By mount, in the order of the router's prefixes, those for requests without a mount last; then by class.
    requests: Vec<[Counter; STATUS_CLASSES.len()]>,
    pub(super) duration: Histogram,
    pub(super) in_flight: Gauge,
    pub(super) request_bytes: Counter,
    pub(super) response_bytes: Counter,
    refused: [Counter; REFUSAL_REASONS.len()],
}

impl Counters {
    pub(super) fn new(router: &Router) -> Self {
        describe();
        let mounts = router.prefixes().chain([""]);
        Self {
            requests: mounts.map(of_mount).collect(),
            duration: histogram!(names::DURATION),
            in_flight: gauge!(names::IN_FLIGHT),
            request_bytes: counter!(names::REQUEST_BYTES),
            response_bytes: counter!(names::RESPONSE_BYTES),
            refused: REFUSAL_REASONS.map(|reason| counter!(names::REFUSED, "reason" => reason)),
        }
    }

    /// A request of a mount, by its number in the router, was answered.
    pub(super) fn answered(&self, mount: Option<usize>, status: u16) {
        let mount = mount.unwrap_or(self.requests.len() - 1);
        let class = match status / 100 {
            class @ 1..=5 => usize::from(class - 1),
            _ => STATUS_CLASSES.len() - 1,
        };
        if let Some(counter) = self.requests.get(mount).and_then(|mount| mount.get(class)) {
            counter.increment(1);
        }
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        if let Some(counter) = self.refused_for(refusal.reason()) {
            counter.increment(1);
        }
    }

    /// Counts connections from where none may come.
    pub(super) fn not_allowed(&self) -> Counter {
        let counter = self.refused_for(NOT_ALLOWED);
        counter.cloned().unwrap_or_else(Counter::noop)
    }

    fn refused_for(&self, reason: &str) -> Option<&Counter> {
        let mut counters = REFUSAL_REASONS.iter().zip(&self.refused);
        counters.find_map(|(other, counter)| (*other == reason).then_some(counter))
    }
}

/// A request that counts as in flight; until it is dropped.
pub(super) struct InFlight(Gauge);

impl InFlight {
    pub(super) fn new(counters: &Counters) -> Self {
        counters.in_flight.increment(1);
        Self(counters.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

fn of_mount(prefix: &str) -> [Counter; STATUS_CLASSES.len()] {
    STATUS_CLASSES
        .map(|class| counter!(names::REQUESTS, "mount" => prefix.to_owned(), "status" => class))
}

/// Tells a recorder what the names mean.
fn describe() {
    metrics::describe_counter!(names::REQUESTS, "Answered requests.");
    metrics::describe_histogram!(
        names::DURATION,
        Unit::Seconds,
        "From a request's arrival to the last byte of its response handed to the operating system."
    );
    metrics::describe_gauge!(names::IN_FLIGHT, "Requests in hand.");
    metrics::describe_counter!(
        names::REQUEST_BYTES,
        Unit::Bytes,
        "Bytes of request bodies received."
    );
    metrics::describe_counter!(
        names::RESPONSE_BYTES,
        Unit::Bytes,
        "Bytes of response bodies sent."
    );
    metrics::describe_counter!(names::REFUSED, "Requests that reached no application.");
}
