//! What happened between two documents of the same server.

use crate::observe::stats::{Stats, Worker};

/// The traffic of an interval. Rates are per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) requests: f64,
    pub(super) errors: f64,
    /// Bytes of response bodies.
    pub(super) bytes_out: f64,
    /// In seconds; `None` in an interval without requests.
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    /// In the order of the later document.
    pub(super) workers: Vec<WorkerRates>,
}

/// What one worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct WorkerRates {
    pub(super) requests: f64,
    /// The part of the time that its threads spent in applications, from 0 to 1.
    pub(super) busy: f64,
}

impl Rates {
    /// `None` if the documents are not of one master, or no time lies between them.
    pub(super) fn between(earlier: &Stats, later: &Stats) -> Option<Self> {
        // Unlike `time`, this clock is never set.
        let seconds = later.master.uptime - earlier.master.uptime;
        if earlier.master.pid != later.master.pid || seconds <= 0.0 {
            return None;
        }
        let (before, after) = (&earlier.totals, &later.totals);
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let latency = later.latency.since(&earlier.latency);
        let worker = |later: &Worker| {
            let same = |worker: &&Worker| worker.number == later.number && worker.pid == later.pid;
            WorkerRates::between(earlier.workers.iter().find(same), later)
        };
        Some(Self {
            requests: rate(before.requests, after.requests),
            errors: rate(before.errors, after.errors),
            bytes_out: rate(before.response_bytes, after.response_bytes),
            p50: latency.p50,
            p99: latency.p99,
            workers: later.workers.iter().map(worker).collect(),
        })
    }
}

impl WorkerRates {
    /// Compares a worker with itself earlier; one that was not there before began with nothing.
    fn between(earlier: Option<&Worker>, later: &Worker) -> Self {
        let (uptime, requests, busy) = earlier.map_or((0.0, 0, 0.0), |worker| {
            (worker.uptime, worker.requests, worker.uptime * worker.busy)
        });
        let seconds = later.uptime - uptime;
        if seconds <= 0.0 {
            return Self::default();
        }
        Self {
            requests: later.requests.saturating_sub(requests) as f64 / seconds,
            busy: ((later.uptime * later.busy - busy) / seconds).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::observe::stats::Bucket;

    #[test]
    fn an_interval_is_what_came_after_the_earlier_document() {
        let (earlier, mut later) = (sample::stats(), sample::stats());
        later.master.uptime += 2.0;
        later.totals.requests += 100;
        later.totals.errors += 1;
        later.totals.response_bytes += 4096;
        let bucket: &mut Bucket = &mut later.latency.buckets[1];
        bucket.count += 100;
        let worker = &mut later.workers[0];
        worker.busy = (worker.busy * worker.uptime + 1.5) / (worker.uptime + 2.0);
        worker.uptime += 2.0;
        worker.requests += 60;
        let rates = Rates::between(&earlier, &later).unwrap();
        assert_eq!(
            (rates.requests, rates.errors, rates.bytes_out),
            (50.0, 0.5, 2048.0)
        );
        let p50 = rates.p50.unwrap();
        assert!((0.01..0.1).contains(&p50), "{p50}");
        assert_eq!(rates.workers[0].requests, 30.0);
        assert!((rates.workers[0].busy - 0.75).abs() < 1e-6);
    }

    #[test]
    fn a_new_worker_began_with_nothing() {
        let (earlier, mut later) = (sample::stats(), sample::stats());
        later.master.uptime += 1.0;
        later.workers[0] = Worker {
            number: 1,
            pid: 99,
            uptime: 0.5,
            requests: 5,
            busy: 0.25,
            ..Worker::default()
        };
        let rates = Rates::between(&earlier, &later).unwrap();
        let expected = WorkerRates {
            requests: 10.0,
            busy: 0.25,
        };
        assert_eq!(rates.workers[0], expected);
    }

    #[test]
    fn another_master_has_nothing_in_common() {
        let (earlier, mut later) = (sample::stats(), sample::stats());
        assert_eq!(Rates::between(&earlier, &later), None);
        later.master.uptime += 1.0;
        later.master.pid += 1;
        assert_eq!(Rates::between(&earlier, &later), None);
    }
}
