//! Checks workers once a second: memory, stuck or stopped ones, the load.

use std::time::{Duration, Instant};

use super::{Python, plural};
use crate::{
    server::INTERRUPTED_GRACE,
    supervisor::{
        backend::python::{generation::Generation, scaler::Load},
        master::state::Master,
        stats::totals::Totals,
        system::process::{Reason, resident},
    },
};

/// How much longer than its time-out and the grace a request may run before the master, not the worker, ends it.
const STUCK_BEYOND: Duration = Duration::from_secs(3);

/// A worker is not replaced for its memory before it is so old: where the applications alone take more than they
/// may, workers would follow one another without a pause.
const LEAST_AGE: Duration = Duration::from_secs(5);

const MIB: u64 = 1 << 20;

/// Requests wait in a worker that somebody has stopped; it is not killed, since it may be stopped for a purpose.
fn tell_of_stopped(generation: &mut Generation) {
    let (stopped, continued) = generation.stopped();
    for pid in stopped {
        let running = generation.running(pid);
        tracing::warn!(
            "{} is stopped{running}: the connections that it has wait\n  hint: `kill -CONT {pid}` lets it go on, \
             `kill -KILL {pid}` has it replaced",
            generation.named(pid)
        );
    }
    for pid in continued {
        tracing::info!("{} goes on", generation.named(pid));
    }
}

impl Python {
    /// Looks for workers that use too much memory, hang, or are stopped.
    pub(super) fn look_after_workers(&mut self) {
        for generation in self.generations.all_mut() {
            tell_of_stopped(generation);
            if generation.mold_hangs() {
                if let Some(mold) = &generation.mold {
                    tracing::error!(
                        "the mold (process {}) does not react: it is killed",
                        mold.pid()
                    );
                    mold.kill();
                }
            }
            let config = &generation.config;
            let (soft, hard) = (config.max_rss * MIB, config.max_rss_kill * MIB);
            let longest = config.request_timeout + INTERRUPTED_GRACE + STUCK_BEYOND;
            let is_limited = !config.request_timeout.is_zero();
            let pids: Vec<_> = generation.workers.keys().copied().collect();
            for pid in pids {
                let used = if hard > 0 || soft > 0 {
                    resident(pid)
                } else {
                    None
                };
                let used = used.unwrap_or(0);
                if hard > 0 && used > hard {
                    let running = generation.running(pid);
                    tracing::error!(
                        "{} uses {} MiB, above --max-rss-kill {}: it is killed{running}",
                        generation.named(pid),
                        used / MIB,
                        hard / MIB
                    );
                    generation.kill(pid, Reason::MaxRssKill);
                } else if soft > 0
                    && used > soft
                    && generation.age(pid) >= LEAST_AGE
                    && generation.replace(pid, Reason::MaxRss)
                {
                    tracing::warn!(
                        "{} uses {} MiB, above --max-rss {}: it is replaced",
                        generation.named(pid),
                        used / MIB,
                        soft / MIB
                    );
                }
                if is_limited && generation.runs_longer_than(pid, longest) {
                    let running = generation.running(pid);
                    tracing::error!(
                        "{} does not react: it is killed{running}",
                        generation.named(pid)
                    );
                    generation.kill(pid, Reason::RequestTimeout);
                }
            }
        }
    }

    /// Has a time in which this process did not run, and probably no other of the server's, count for nothing.
    pub(super) fn leave_out_frozen_time(&mut self) {
        let now = Instant::now();
        if let Some(frozen) = self.looks.look(now) {
            for generation in self.generations.all_mut() {
                generation.leave_out(frozen, now.into());
            }
        }
    }

    /// Follows the load, when that was asked for.
    pub(super) fn scale(&mut self, master: &Master) {
        let (Some(scaler), Some(current)) = (&mut self.scaler, &mut self.generations.current)
        else {
            return;
        };
        let (workers, busy) = current.load();
        let waiting = Totals::waiting(master.prepared.listeners.iter().map(AsRef::as_ref));
        let load = Load {
            workers,
            lanes: master.config.threads,
            busy,
            waiting,
        };
        let wanted = scaler.look(load, Instant::now());
        // With a worker missing it may want what is on its way.
        if let Some(wanted) = wanted.filter(|wanted| *wanted != self.wanted) {
            tracing::info!(
                "{wanted} workers in place of {}: they were busy for {:.0} % of the last second, and {waiting} \
                 connections waited",
                self.wanted,
                busy * 100.0
            );
            self.set_wanted(wanted);
        }
    }

    pub(super) fn resize_to(&mut self, master: &Master, wanted: usize) {
        let wanted = if master.config.is_adaptive() {
            wanted.clamp(master.config.workers_min, master.config.workers_max)
        } else {
            wanted.max(1)
        };
        if wanted == self.wanted {
            tracing::info!(
                "there are {wanted} worker{} as before: that is the limit",
                plural(wanted)
            );
        } else {
            tracing::info!("{wanted} workers in place of {}", self.wanted);
            self.set_wanted(wanted);
        }
    }

    pub(super) fn set_wanted(&mut self, wanted: usize) {
        self.wanted = wanted;
        if let Some(next) = &mut self.generations.next {
            if let Some(before) = &mut next.before {
                before.wanted = wanted;
            }
        }
        let next = self
            .generations
            .next
            .as_mut()
            .map(|next| &mut next.generation);
        for generation in self.generations.current.iter_mut().chain(next) {
            generation.resize(wanted);
        }
    }
}
