//! What `spile stats` prints: the state of a server at one moment, as one JSON document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A server at one moment. Times are seconds; sizes are bytes; counters begin with the master.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// spile's version.
    pub version: String,
    /// When this was true, in seconds since 1970.
    pub time: f64,
    /// The master process.
    pub master: Master,
    /// The listening sockets.
    pub sockets: Vec<Socket>,
    /// The applications, in the order of the configuration; requests that none was mounted for, if there were any,
    /// come last, with an empty path.
    pub mounts: Vec<Mount>,
    /// The worker processes, those that are about to leave included. A server without Python is one worker.
    pub workers: Vec<Worker>,
    /// What all workers have done, dead ones included.
    pub totals: Totals,
    /// How long requests took, from their arrival to the last byte handed to the kernel.
    pub latency: Latency,
}

/// The master process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Master {
    /// Its process.
    pub pid: u32,
    /// What it is doing: `starting`, `serving`, `reloading`, `upgrading` or `stopping`.
    pub state: String,
    /// For how long it has been running.
    pub uptime: f64,
    /// How many times the applications were imported: 1 at first, one more with each reload.
    pub generation: u64,
    /// The mold's process, if there is one.
    pub mold: Option<u32>,
    /// How many workers there should be.
    pub workers_wanted: usize,
    /// Reloads that came to their end.
    pub reloads: u64,
    /// Reloads that did not, after which the old applications went on.
    pub reloads_failed: u64,
}

/// A listening socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Socket {
    /// Where it listens.
    pub address: String,
    /// Connections that wait to be accepted; `None` when the kernel does not say.
    pub queue: Option<u32>,
    /// How many may wait.
    pub queue_limit: Option<u32>,
}

/// An application and where it is mounted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Its prefix; `/` for the root.
    pub path: String,
    /// The application as it was named.
    pub app: String,
    /// Answered requests by class of status: `2xx` and the like; `none` for those that ended without one.
    pub requests: BTreeMap<String, u64>,
}

/// A worker process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The number of its place, from 1.
    pub number: usize,
    /// Its process.
    pub pid: u32,
    /// `starting`, `idle`, `busy` or `leaving`.
    pub state: String,
    /// The generation of the applications that it runs.
    pub generation: u64,
    /// For how long it has been running.
    pub uptime: f64,
    /// Requests it has answered.
    pub requests: u64,
    /// Those of them with a status of 500 or above, or without any.
    pub errors: u64,
    /// Requests it has in hand, those of slow clients included.
    pub in_flight: u64,
    /// Its resident memory.
    pub rss: u64,
    /// The part of the time since it began that its threads spent in applications, from 0 to 1.
    pub busy: f64,
    /// What its threads run now; idle ones are not listed.
    pub running: Vec<Running>,
    /// How many workers this place has had before, in this generation.
    pub respawns: u64,
    /// The reason why the last of them went: `killed`, `exited`, `max-requests`, `max-rss`, `max-rss-kill`, `lifetime`,
    /// `request-timeout`.
    pub last_respawn: Option<String>,
}

/// A request that a thread of a worker runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Method and path, `GET /report`; a long path is cut.
    pub request: String,
    /// Since when, in seconds before `time`.
    pub since: f64,
}

/// What all workers have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// Those of them with a status of 500 or above, or without any.
    pub errors: u64,
    /// Requests in hand now.
    pub in_flight: u64,
    /// Bytes of request bodies.
    pub request_bytes: u64,
    /// Bytes of response bodies.
    pub response_bytes: u64,
    /// What came over the sockets and was no request that could be taken, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Workers replaced, by reason: see [`Worker::last_respawn`]; those that a reload has replaced are `reload`, and
    /// those that the next mold has replaced after the death of theirs are `mold-died`.
    pub restarts: BTreeMap<String, u64>,
    /// Lines of the access log that a slow disk made it drop.
    pub access_log_dropped: u64,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many requests took at most so long and longer than the bucket before.
    pub buckets: Vec<Bucket>,
    /// The sum of all durations.
    pub sum: f64,
    /// Estimates from the buckets; `None` before the first request.
    pub p50: Option<f64>,
    /// As `p50`.
    pub p90: Option<f64>,
    /// As `p50`.
    pub p99: Option<f64>,
}

/// One bucket of a histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The longest duration that belongs here; `None` for the last, which has no end.
    pub le: Option<f64>,
    /// How many.
    pub count: u64,
}

impl Latency {
    /// Durations by bucket, with the quantiles they show.
    #[must_use]
    pub fn new(buckets: Vec<Bucket>, sum: f64) -> Self {
        let quantile = |q| quantile(&buckets, q);
        let (p50, p90, p99) = (quantile(0.5), quantile(0.9), quantile(0.99));
        Self {
            buckets,
            sum,
            p50,
            p90,
            p99,
        }
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// What came after `earlier`, of the same server.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |index: usize| earlier.buckets.get(index).map_or(0, |bucket| bucket.count);
        let buckets = self
            .buckets
            .iter()
            .enumerate()
            .map(|(index, bucket)| Bucket {
                le: bucket.le,
                count: bucket.count.saturating_sub(before(index)),
            });
        Self::new(buckets.collect(), (self.sum - earlier.sum).max(0.0))
    }
}

/// Returns the duration below which a part `q` of all lies, taken as spread evenly within its bucket.
fn quantile(buckets: &[Bucket], q: f64) -> Option<f64> {
    let count = |bucket: &Bucket| bucket.count as f64;
    let rank = q * buckets.iter().map(count).sum::<f64>();
    let (mut below, mut floor) = (0.0, 0.0);
    for bucket in buckets.iter() {
        let Some(end) = bucket.le else {
            break;
        };
        if bucket.count > 0 && below + count(bucket) >= rank {
            return Some(floor + (end - floor) * (rank - below) / count(bucket));
        }
        below += count(bucket);
        floor = end;
    }
    // In the last bucket, of which only the beginning is known.
    (rank > 0.0).then_some(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(counts: [u64; 3]) -> Latency {
        let ends = [Some(0.1), Some(0.2), None];
        let buckets = ends.into_iter().zip(counts);
        Latency::new(
            buckets.map(|(le, count)| Bucket { le, count }).collect(),
            1.0,
        )
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        assert_eq!(latency([0, 0, 0]).p50, None);
        assert_eq!(latency([10, 0, 0]).p50, Some(0.05));
        let p99 = latency([90, 10, 0]).p99.unwrap();
        assert!((0.18..0.2).contains(&p99), "{p99}");
        assert_eq!(latency([0, 0, 5]).p50, Some(0.2));
    }

    #[test]
    fn what_came_after() {
        let later = latency([10, 5, 1]).since(&latency([10, 0, 1]));
        assert_eq!(later.count(), 5);
        assert_eq!(later.p50, Some(0.15000000000000002));
    }
}
