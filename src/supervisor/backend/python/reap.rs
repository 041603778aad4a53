//! Processes that have ended, and what follows.

use std::process::ExitStatus;

use std::os::unix::process::ExitStatusExt;

use tokio::time::Instant;

use super::{Cause, Python};
use crate::supervisor::{
    backend::python::{
        channel::Why,
        generation::{Dead, Place, epitaph},
    },
    error::SupervisorError,
    launch::Ending,
    master::state::Master,
    stats::totals,
    system::process::{Reason, described, suspicion},
};

/// A new worker of a start or a reload may die this often before it serves; then that has failed.
const STILLBORN: usize = 2;
/// So often a fork for a start or a reload may be refused, which takes a second and a half.
const REFUSED: usize = 4;

impl Python {
    /// Notes the end of a child, if it is a mold or a worker whose mold has died.
    pub(super) fn reap(&mut self, master: &mut Master, pid: u32, status: ExitStatus) {
        let mut generations = self.generations.all();
        let found = generations.find_map(|it| {
            let is_mold = it.mold.as_ref().is_some_and(|it| it.pid() == pid);
            (is_mold || it.workers.contains_key(&pid)).then_some((it.number, is_mold))
        });
        drop(generations);
        match found {
            Some((number, true)) => self.mold_ended(master, number, pid, status),
            Some((number, false)) => self.worker_ended(master, number, pid, status),
            None => {}
        }
    }

    pub(super) fn mold_ended(
        &mut self,
        master: &mut Master,
        number: u64,
        pid: u32,
        status: ExitStatus,
    ) {
        let unheard = self
            .generations
            .get(number)
            .and_then(|generation| generation.mold.as_ref().map(|mold| mold.unheard()));
        for report in unheard.unwrap_or_default() {
            self.note(master, number, Ok(report));
        }
        let Some(generation) = self.generations.get(number) else {
            return;
        };
        generation.mold_ended(pid);
        let (leaving, imported) = (generation.is_leaving(), generation.imported);
        let has_served = generation.has_served;
        let why = generation.why.take();
        if leaving || master.stop.is_some() {
            return;
        }
        let is_next = self.generations.is_next(number);
        if is_next && (!imported || self.generations.current.is_some()) {
            return self.next_failed(
                master,
                match why {
                    Some(why) => SupervisorError::Application(why),
                    None => SupervisorError::Import { status },
                },
            );
        }
        if is_next && !has_served {
            return self.next_failed(master, SupervisorError::Unserved { status });
        }
        if is_next {
            // Its workers are all there are.
            self.generations.current = self.generations.next.take().map(|next| next.generation);
        }
        let pause = if has_served {
            self.mold_backoff.succeeded();
            self.mold_pace.take()
        } else {
            self.mold_backoff.after_failure()
        };
        self.mold_due = Some(Instant::now() + pause);
        tracing::error!(
            "the mold (process {pid}) {}; another imports the applications{}",
            described(status),
            suspicion(status)
        );
    }

    pub(super) fn worker_ended(
        &mut self,
        master: &mut Master,
        number: u64,
        pid: u32,
        status: ExitStatus,
    ) {
        let Some(generation) = self.generations.get(number) else {
            return;
        };
        let Some(dead) = generation.ended(pid, &mut self.pace) else {
            return;
        };
        let mounts = generation.scoreboard.layout().mounts.clone();
        let Dead {
            worker,
            snapshot,
            pause,
        } = dead;
        // Where the master has killed it, its reason is known.
        let suspicion = worker.reason.map_or_else(|| suspicion(status), |_| "");
        let reason = worker.reason.unwrap_or(if status.signal().is_some() {
            Reason::Killed
        } else {
            Reason::Exited
        });
        let what = epitaph(&worker, pid, status);
        let running = totals::running(&snapshot);
        let then = match pause {
            Some(_) if generation.mold.is_none() => {
                "; others start when the applications are imported again".to_owned()
            }
            Some(pause) if pause.is_zero() => "; another starts at once".to_owned(),
            Some(pause) => format!("; another starts in {} s", pause.as_secs_f32()),
            None => String::new(),
        };
        // One with a stuck thread ends itself by a signal, and one that did not serve yet has no handlers.
        let as_told = worker.leaving
            && (status.success() || !worker.serving || reason == Reason::RequestTimeout);
        // Killed because that was asked for, and no request was lost by it.
        let as_asked = worker.leaving
            && running.is_empty()
            && master.stop.as_ref().is_some_and(|stop| !stop.gracefully);
        if as_told || as_asked {
            tracing::info!(
                "worker {} (process {pid}) has left: {reason}",
                worker.number
            );
        } else if worker.leaving {
            tracing::warn!("{what}{running} while it was leaving: {reason}");
            if let Some(stop) = master.stop.as_mut().filter(|stop| stop.gracefully) {
                stop.ending = Ending::CutOff;
            }
        } else if !worker.serving && running.is_empty() {
            tracing::error!("{what} before it served{then}{suspicion}");
        } else {
            // Whoever sends what ends them could fill a disk with these.
            self.deaths.say("workers have ended", || {
                if status.success() && running.is_empty() {
                    tracing::info!("{what}{then}");
                } else {
                    tracing::error!("{what}{running}{then}{suspicion}");
                }
            });
        }
        master.totals.retire(snapshot, &mounts, reason);
        if let Some(generation) = self.generations.get(number) {
            generation.note_reason(worker.number, reason);
        }
        if self.next_lacks(|place| place.stillborn >= STILLBORN) {
            self.next_failed(master, SupervisorError::Stillborn { pid, status });
        }
    }

    /// The mold of a generation could not fork a worker.
    pub(super) fn worker_refused(&mut self, master: &mut Master, why: Why) {
        if self.next_lacks(|place| place.refused >= REFUSED) {
            self.next_failed(master, SupervisorError::Application(why));
        }
    }

    /// Whether the next generation fails because one of its places will not come to serve. A start does as long as
    /// nobody has served; a reload does as long as there are others to go on.
    fn next_lacks(&self, hopeless: impl Fn(&Place) -> bool) -> bool {
        self.generations.next.as_ref().is_some_and(|next| {
            let may_fail = match next.cause {
                Cause::Start => !next.generation.has_served,
                Cause::Reload => self.generations.current.is_some(),
                Cause::MoldDied => false,
            };
            may_fail && next.generation.places.values().any(hopeless)
        })
    }
}
