//! The sums over all workers, dead ones included, and the document that `spile stats` prints.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    listen_queue::ListenQueue,
    scoreboard::{LaneSnapshot, Snapshot},
};
use crate::{
    config::Config,
    observe::stats::{self, Master, Mount, Running, Socket, Stats, Worker},
    server::{Listener, REFUSAL_REASONS, STATUS_CLASSES},
    supervisor::system::process::{Reason, resident},
};

/// The counters of a server, from its start.
pub(in crate::supervisor) struct Totals {
    since: Instant,
    pub(in crate::supervisor) reloads: u64,
    pub(in crate::supervisor) reloads_failed: u64,
    restarts: BTreeMap<Reason, u64>,
    /// Of workers that are gone.
    past: Sums,
}

/// Counters of workers that may have had different applications.
#[derive(Clone, Default)]
struct Sums {
    snapshot: Snapshot,
    /// By mount; the empty path is none.
    mounts: BTreeMap<String, [u64; STATUS_CLASSES.len()]>,
}

/// A worker that runs.
pub(in crate::supervisor) struct Living<'a> {
    /// The facts that do not stand on its scoreboard.
    pub(in crate::supervisor) worker: Worker,
    pub(in crate::supervisor) snapshot: Snapshot,
    /// The prefixes of its applications.
    pub(in crate::supervisor) mounts: &'a [String],
}

/// The state of the master, for the document.
pub(in crate::supervisor) struct Situation {
    pub(in crate::supervisor) state: &'static str,
    pub(in crate::supervisor) generation: u64,
    pub(in crate::supervisor) mold: Option<u32>,
    pub(in crate::supervisor) workers_wanted: usize,
}

impl Totals {
    pub(in crate::supervisor) fn new() -> Self {
        Self {
            since: Instant::now(),
            reloads: 0,
            reloads_failed: 0,
            restarts: BTreeMap::new(),
            past: Sums::default(),
        }
    }

    /// Adds the counters of a worker that is gone.
    pub(in crate::supervisor) fn retire(
        &mut self,
        snapshot: Snapshot,
        mounts: &[String],
        reason: Reason,
    ) {
        self.past.add(snapshot.retire(), mounts);
        if !matches!(reason, Reason::Fewer | Reason::Stop | Reason::Upgrade) {
            *self.restarts.entry(reason).or_default() += 1;
        }
    }

    /// Connections that wait to be accepted, on all sockets.
    pub(in crate::supervisor) fn waiting<'a>(listeners: impl Iterator<Item = &'a Listener>) -> u32 {
        listeners
            .filter_map(ListenQueue::of)
            .map(|queue| queue.length)
            .sum()
    }

    /// The document.
    pub(in crate::supervisor) fn stats<'a>(
        &self,
        situation: Situation,
        config: &Config,
        listeners: impl Iterator<Item = &'a Listener>,
        living: impl Iterator<Item = Living<'a>>,
    ) -> Stats {
        let mut sums = self.past.clone();
        let mut workers = Vec::new();
        for Living {
            worker,
            snapshot,
            mounts,
        } in living
        {
            workers.push(with_counts(worker, &snapshot));
            sums.add(snapshot, mounts);
        }
        workers.sort_by_key(|worker| (worker.number, worker.generation));
        let all = &sums.snapshot;
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |time| time.as_secs_f64()),
            master: Master {
                pid: std::process::id(),
                state: situation.state.to_owned(),
                uptime: self.since.elapsed().as_secs_f64(),
                generation: situation.generation,
                mold: situation.mold,
                workers_wanted: situation.workers_wanted,
                reloads: self.reloads,
                reloads_failed: self.reloads_failed,
            },
            sockets: listeners.map(socket).collect(),
            mounts: sums.mounts(config),
            totals: stats::Totals {
                requests: all.requests(),
                errors: all.errors(),
                in_flight: all.in_flight,
                request_bytes: all.request_bytes,
                response_bytes: all.response_bytes,
                refused: named(&REFUSAL_REASONS, &all.refused),
                restarts: self
                    .restarts
                    .iter()
                    .map(|(reason, count)| (reason.name().to_owned(), *count))
                    .collect(),
                access_log_dropped: all.access_log_dropped,
            },
            latency: all.latency(),
            workers,
        }
    }
}

impl Sums {
    fn add(&mut self, snapshot: Snapshot, mounts: &[String]) {
        let paths = mounts.iter().map(String::as_str).chain([""]);
        for (path, counts) in paths.zip(&snapshot.mounts) {
            let sums = self.mounts.entry(path.to_owned()).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        self.snapshot += snapshot;
    }

    /// Lists the mounts of the configuration first, then those that a reload has taken away, then requests that
    /// matched none.
    fn mounts(&self, config: &Config) -> Vec<Mount> {
        let now: Vec<_> = config.mounts.iter().map(|mount| mount.path()).collect();
        let mounted = config
            .mounts
            .iter()
            .map(|it| (it.path(), it.app.to_string()));
        let gone = self.mounts.keys().map(String::as_str);
        let gone = gone.filter(|path| !path.is_empty() && !now.contains(path));
        let unmounted = self
            .mounts
            .get("")
            .filter(|counts| counts.iter().any(|count| *count > 0));
        let rest = gone.chain(unmounted.map(|_| ""));
        let rest = rest.map(|path| (path, String::new()));
        mounted
            .chain(rest)
            .map(|(path, app)| Mount {
                path: path.to_owned(),
                app,
                requests: named(
                    &STATUS_CLASSES,
                    self.mounts.get(path).unwrap_or(&[0; STATUS_CLASSES.len()]),
                ),
            })
            .collect()
    }
}

/// Adds what a worker has counted.
fn with_counts(worker: Worker, snapshot: &Snapshot) -> Worker {
    let lanes = as_f64(snapshot.lanes.len().max(1));
    let running = snapshot.running().map(|it| Running {
        request: it.request.clone(),
        since: it.elapsed.as_secs_f64(),
    });
    Worker {
        requests: snapshot.requests(),
        errors: snapshot.errors(),
        in_flight: snapshot.in_flight,
        rss: resident(worker.pid).unwrap_or(0),
        busy: (snapshot.busy.as_secs_f64() / worker.uptime.max(0.001) / lanes).min(1.0),
        running: running.collect(),
        ..worker
    }
}

fn socket(listener: &Listener) -> Socket {
    let queue = ListenQueue::of(listener);
    Socket {
        address: listener.address().to_string(),
        queue: queue.map(|queue| queue.length),
        queue_limit: queue.map(|queue| queue.limit),
    }
}

fn named(names: &[&str], counts: &[u64]) -> BTreeMap<String, u64> {
    let names = names.iter().map(|name| (*name).to_owned());
    names.zip(counts.iter().copied()).collect()
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// `, running GET /report for 3.2 s`; nothing when nothing runs.
pub(in crate::supervisor) fn running(snapshot: &Snapshot) -> String {
    let lanes = snapshot
        .lanes
        .iter()
        .map(|lane: &LaneSnapshot| &lane.running);
    let requests: Vec<_> = lanes
        .flatten()
        .map(|it| format!("{} for {:.1} s", it.request, it.elapsed.as_secs_f64()))
        .collect();
    if requests.is_empty() {
        String::new()
    } else {
        format!(", running {}", requests.join(" and "))
    }
}
