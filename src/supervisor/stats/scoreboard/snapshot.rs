//! A copy of a scoreboard's counters at one moment.

use std::{ops::AddAssign, time::Duration};

use super::layout::BUCKETS;
use crate::{
    observe::stats::{Bucket, Latency},
    server::{REFUSAL_REASONS, STATUS_CLASSES},
};

/// The counters of one worker, or the sums of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Answered requests by mount, in the order of [`Layout::mounts`](super::Layout::mounts), those that none was
    /// mounted for last; then by class of status, in the order of [`STATUS_CLASSES`].
    pub mounts: Vec<[u64; STATUS_CLASSES.len()]>,
    /// Bytes of request bodies.
    pub request_bytes: u64,
    /// Bytes of response bodies.
    pub response_bytes: u64,
    /// Requests that were not taken, in the order of [`REFUSAL_REASONS`].
    pub refused: [u64; REFUSAL_REASONS.len()],
    /// How many requests took at most so long, in the order of [`BUCKETS`]; the last has no end.
    pub latency: [u64; BUCKETS.len() + 1],
    /// The sum of all these.
    pub latency_sum: Duration,
    /// Requests in hand.
    pub in_flight: u64,
    /// Lines that the access log dropped.
    pub access_log_dropped: u64,
    /// Time that all lanes together have spent in applications, up to this moment.
    pub busy: Duration,
    /// The lanes.
    pub lanes: Vec<LaneSnapshot>,
}

/// The state of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneSnapshot {
    /// The request that it runs now.
    pub running: Option<RunningRequest>,
    /// Time it has spent in applications, up to this moment.
    pub busy: Duration,
    /// Requests it has begun and ended.
    pub requests: u64,
}

/// A request in an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningRequest {
    /// Method and path in printable characters. One that was cut ends in `…`.
    pub request: String,
    /// For how long it has been running.
    pub elapsed: Duration,
}

impl Snapshot {
    /// Requests answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.mounts.iter().flatten().sum()
    }

    /// Those of them with a status of 500 or above, or without any.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let [.., fives, none] = self.by_class();
        fives + none
    }

    /// Answered requests of all mounts, in the order of [`STATUS_CLASSES`].
    #[must_use]
    pub fn by_class(&self) -> [u64; STATUS_CLASSES.len()] {
        let mut sum = [0; STATUS_CLASSES.len()];
        for mount in &self.mounts {
            add(&mut sum, mount);
        }
        sum
    }

    /// Whether it has taken a request.
    #[must_use]
    pub fn has_worked(&self) -> bool {
        self.in_flight > 0 || self.requests() > 0 || self.running().next().is_some()
    }

    /// Returns the requests that the lanes run now.
    pub fn running(&self) -> impl Iterator<Item = &RunningRequest> {
        self.lanes.iter().filter_map(|lane| lane.running.as_ref())
    }

    /// The histogram, with its quantiles.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let ends = BUCKETS.into_iter().map(Some).chain([None]);
        let buckets = ends.zip(self.latency);
        Latency::new(
            buckets.map(|(le, count)| Bucket { le, count }).collect(),
            self.latency_sum.as_secs_f64(),
        )
    }

    /// Keeps the counters of a worker that is gone, without the requests that it still had in hand.
    #[must_use]
    pub fn retire(mut self) -> Self {
        self.in_flight = 0;
        self.lanes.clear();
        self
    }
}

/// Sums the counters and puts the lanes one after another.
impl AddAssign for Snapshot {
    fn add_assign(&mut self, other: Self) {
        let mounts = self.mounts.len().max(other.mounts.len());
        self.mounts.resize(mounts, Default::default());
        for (sum, mount) in self.mounts.iter_mut().zip(&other.mounts) {
            add(sum, mount);
        }
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
        add(&mut self.refused, &other.refused);
        add(&mut self.latency, &other.latency);
        self.latency_sum += other.latency_sum;
        self.in_flight += other.in_flight;
        self.access_log_dropped += other.access_log_dropped;
        self.busy += other.busy;
        self.lanes.extend(other.lanes);
    }
}

fn add<const N: usize>(sums: &mut [u64; N], other: &[u64; N]) {
    for (sum, other) in sums.iter_mut().zip(other) {
        *sum += other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_keep_their_counts_but_nothing_in_hand() {
        let living = Snapshot {
            mounts: vec![[0, 5, 0, 1, 2, 1], [0, 0, 0, 3, 0, 0]],
            in_flight: 2,
            busy: Duration::from_secs(9),
            lanes: vec![LaneSnapshot::default(); 2],
            ..Snapshot::default()
        };
        let mut total = Snapshot::default();
        total += living.clone().retire();
        total += living;
        assert_eq!(total.mounts, [[0, 10, 0, 2, 4, 2], [0, 0, 0, 6, 0, 0]]);
        assert_eq!((total.requests(), total.errors()), (24, 6));
        assert_eq!((total.in_flight, total.lanes.len()), (2, 2));
        assert_eq!(total.busy, Duration::from_secs(18));
    }
}
