//! Reports on a generation and its workers, for the master, its log and the statistics.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::Generation;
use crate::{
    observe::stats,
    supervisor::{
        stats::totals::{self, Living},
        system::process::is_stopped,
    },
};

/// How long a worker may be stopped before the log says so: a look at it with a tracer takes less.
const STOPPED_FOR: Duration = Duration::from_secs(3);

impl Generation {
    /// How many workers serve, and the part of the time since the last call that their lanes spent in applications,
    /// from 0 to 1.
    pub(in crate::supervisor) fn load(&mut self) -> (usize, f64) {
        let now = Instant::now();
        let serving = self
            .workers
            .iter()
            .filter(|(_, it)| it.serving && !it.leaving);
        let busy: BTreeMap<_, _> = serving
            .map(|(&pid, worker)| (pid, self.scoreboard.read(worker.slot).busy))
            .collect();
        let (then, before) = std::mem::replace(&mut self.measured, (now, busy));
        let busy = &self.measured.1;
        let more = busy.iter().map(|(pid, busy)| {
            // One that is new counts from the next time on.
            let before = before.get(pid).unwrap_or(busy);
            busy.saturating_sub(*before)
        });
        let more = more.sum::<Duration>().as_secs_f64();
        let lanes = (busy.len() * self.config.threads).max(1);
        let whole = now.duration_since(then).as_secs_f64() * lanes as f64;
        (busy.len(), if whole > 0.0 { more / whole } else { 0.0 })
    }

    /// A worker, for the log: `worker 2 (process 71)`.
    pub(in crate::supervisor) fn named(&self, pid: u32) -> String {
        let worker = self.workers.get(&pid);
        worker.map_or_else(
            || format!("process {pid}"),
            |it| format!("worker {} (process {pid})", it.number),
        )
    }

    /// Says in the log's words what a worker runs now: see [`totals::running`].
    pub(in crate::supervisor) fn running(&self, pid: u32) -> String {
        let worker = self.workers.get(&pid);
        worker.map_or_else(String::new, |it| {
            totals::running(&self.scoreboard.read(it.slot))
        })
    }

    /// For how long a worker has existed.
    pub(in crate::supervisor) fn age(&self, pid: u32) -> Duration {
        let worker = self.workers.get(&pid);
        worker.map_or(Duration::ZERO, |worker| worker.since.elapsed())
    }

    /// Whether a lane of a worker has been in one request for longer, not counting times in which the master did not
    /// run itself.
    pub(in crate::supervisor) fn runs_longer_than(&self, pid: u32, longest: Duration) -> bool {
        let now = Instant::now();
        let frozen_since = |since: Instant| -> Duration {
            let frozen = self.frozen.iter();
            let parts = frozen.map(|(until, length)| until.duration_since(since).min(*length));
            parts.sum()
        };
        self.workers.get(&pid).is_some_and(|worker| {
            let snapshot = self.scoreboard.read(worker.slot);
            snapshot.running().any(|it| {
                let since = now.checked_sub(it.elapsed);
                it.elapsed > longest + since.map_or(Duration::ZERO, frozen_since)
            })
        })
    }

    /// Workers that somebody has stopped (SIGSTOP, SIGTSTP) and not let go on for a while, each told once; and those
    /// that were told and go on.
    pub(in crate::supervisor) fn stopped(&mut self) -> (Vec<u32>, Vec<u32>) {
        let now = Instant::now();
        let (mut stopped, mut continued) = (Vec::new(), Vec::new());
        for (&pid, worker) in &mut self.workers {
            if !is_stopped(pid) {
                if let Some((_, true)) = worker.stopped.take() {
                    continued.push(pid);
                }
                continue;
            }
            let (since, told) = worker.stopped.get_or_insert((now, false));
            if !*told && now.duration_since(*since) >= STOPPED_FOR {
                *told = true;
                stopped.push(pid);
            }
        }
        (stopped, continued)
    }

    /// Its workers, for the statistics.
    pub(in crate::supervisor) fn living(&self) -> impl Iterator<Item = Living<'_>> {
        self.workers.iter().map(|(&pid, worker)| {
            let snapshot = self.scoreboard.read(worker.slot);
            let place = self.places.get(&worker.number);
            let state = match (worker.serving, worker.leaving, snapshot.in_flight) {
                (_, true, _) => "leaving",
                (false, ..) => "starting",
                (.., 0) => "idle",
                _ => "busy",
            };
            Living {
                worker: stats::Worker {
                    number: worker.number,
                    pid,
                    state: state.to_owned(),
                    generation: self.number,
                    uptime: worker.since.elapsed().as_secs_f64(),
                    respawns: place.map_or(0, |place| place.respawns),
                    last_respawn: place
                        .and_then(|place| place.last_respawn)
                        .map(|reason| reason.name().to_owned()),
                    ..stats::Worker::default()
                },
                snapshot,
                mounts: &self.scoreboard.layout().mounts,
            }
        })
    }
}
