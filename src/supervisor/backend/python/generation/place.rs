//! A numbered place for a worker, and the processes that hold it.

use std::{process::ExitStatus, time::Duration};

use tokio::time::Instant;

use crate::supervisor::{
    backend::python::backoff::{Backoff, Pace},
    stats::scoreboard::Snapshot,
    system::process::{Reason, described},
};

/// A place that always has a worker, or is about to.
#[derive(Default)]
pub(in crate::supervisor) struct Place {
    /// The process that serves.
    current: Option<u32>,
    next: Next,
    backoff: Backoff,
    /// Orders in a row that the system has refused.
    pub(in crate::supervisor) refused: usize,
    /// Workers in a row that have ended before they served.
    pub(in crate::supervisor) stillborn: usize,
    pub(super) respawns: u64,
    pub(super) last_respawn: Option<Reason>,
}

/// The worker that will take a place.
#[derive(Default)]
pub(super) enum Next {
    #[default]
    None,
    /// The master orders it at this time.
    Due(Instant),
    /// Ordered, with this slot of the scoreboard.
    Ordered(usize, Instant),
    /// Forked.
    Born(u32),
}

/// A worker process.
pub(in crate::supervisor) struct Worker {
    pub(in crate::supervisor) number: usize,
    pub(super) slot: usize,
    pub(super) since: Instant,
    pub(in crate::supervisor) serving: bool,
    /// It accepts no more.
    pub(super) left: bool,
    /// Why it is to be replaced, or was told to leave.
    pub(in crate::supervisor) reason: Option<Reason>,
    /// It was told to finish what it has.
    pub(in crate::supervisor) leaving: bool,
    /// Since when it was seen stopped, and whether that was told.
    pub(super) stopped: Option<(Instant, bool)>,
    /// When it is killed, if it has not left by then.
    pub(super) deadline: Option<Instant>,
    /// When it has lived long enough.
    pub(super) expires: Option<Instant>,
}

/// A worker that has ended.
pub(in crate::supervisor) struct Dead {
    pub(in crate::supervisor) worker: Worker,
    /// Its counters, and the requests that it was running.
    pub(in crate::supervisor) snapshot: Snapshot,
    /// How long its place waits for the next one; `None` when the place is taken or gone.
    pub(in crate::supervisor) pause: Option<Duration>,
}

impl Place {
    /// A place whose first worker is to be ordered then; `None` when nothing can be ordered yet.
    pub(super) fn new(due: Option<Instant>) -> Self {
        Self {
            next: due.map_or(Next::None, Next::Due),
            ..Self::default()
        }
    }

    pub(super) fn next(&self) -> &Next {
        &self.next
    }

    /// The process that serves.
    pub(super) fn current(&self) -> Option<u32> {
        self.current
    }

    /// The processes that serve here, or are about to.
    pub(super) fn processes(&self) -> impl Iterator<Item = u32> + use<> {
        let born = match self.next {
            Next::Born(pid) => Some(pid),
            _ => None,
        };
        self.current.into_iter().chain(born)
    }

    /// A worker is to be ordered at this time.
    pub(super) fn order_at(&mut self, due: Instant) {
        self.next = Next::Due(due);
    }

    /// A worker was ordered, with this slot.
    pub(super) fn ordered(&mut self, slot: usize, now: Instant) {
        self.next = Next::Ordered(slot, now);
    }

    /// Has a time in which the master did not run count for nothing.
    pub(super) fn leave_out(&mut self, frozen: Duration) {
        if let Next::Ordered(_, since) = &mut self.next {
            *since += frozen;
        }
    }

    /// Nothing can be ordered.
    pub(super) fn give_up(&mut self) {
        self.next = Next::None;
    }

    /// The system refused a worker: it is asked again after a pause.
    pub(super) fn refused(&mut self, now: Instant) {
        self.refused += 1;
        self.next = Next::Due(now + self.backoff.after_failure());
    }

    /// A worker was forked with this slot: `false` when it is not the one that was ordered for here.
    pub(super) fn born(&mut self, slot: usize, pid: u32) -> bool {
        let is_ours = matches!(self.next, Next::Ordered(ordered, _) if ordered == slot);
        if is_ours {
            self.refused = 0;
            self.next = Next::Born(pid);
        }
        is_ours
    }

    /// A worker serves: the process that served before, when this one takes its place.
    pub(super) fn serves(&mut self, pid: u32) -> Option<u32> {
        if !self.is_next(pid) {
            return None;
        }
        self.next = Next::None;
        self.stillborn = 0;
        self.backoff.succeeded();
        self.current.replace(pid)
    }

    /// The process that serves is to be replaced: another is ordered if none is on its way.
    pub(super) fn replace(&mut self, now: Instant) {
        if matches!(self.next, Next::None) {
            self.next = Next::Due(now);
        }
    }

    /// A worker has ended: the pause before the next one, when one is needed. `pace` is for one that has served.
    pub(super) fn ended(
        &mut self,
        pid: u32,
        worker: &Worker,
        pace: Option<&mut Pace>,
        is_stopping: bool,
    ) -> Option<Duration> {
        let was_next = self.is_next(pid);
        let was_current = self.current == Some(pid);
        if was_current {
            self.current = None;
        }
        if was_next {
            self.next = Next::None;
        }
        if pace.is_some() {
            self.stillborn = 0;
            self.backoff.succeeded();
        } else if was_next {
            self.stillborn += 1;
        }
        // One may serve and die before it has said that it serves.
        if worker.serving || self.current.is_none() {
            self.respawns += 1;
        }
        if is_stopping || !(was_next || was_current) || !matches!(self.next, Next::None) {
            return None;
        }
        let pause = pace.map_or_else(|| self.backoff.after_failure(), Pace::take);
        self.next = Next::Due(Instant::now() + pause);
        Some(pause)
    }

    fn is_next(&self, pid: u32) -> bool {
        matches!(self.next, Next::Born(born) if born == pid)
    }
}

impl Worker {
    /// Makes the record of a worker that was just forked. It lives up to a tenth longer
    /// than `lifetime`; zero means for ever.
    pub(super) fn new(number: usize, slot: usize, lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            number,
            slot,
            since: now,
            serving: false,
            left: false,
            reason: None,
            leaving: false,
            stopped: None,
            deadline: None,
            expires: (!lifetime.is_zero())
                .then(|| now + lifetime.mul_f64(1.0 + fastrand::f64() / 10.0)),
        }
    }

    /// Whether it serves, and nobody wants it replaced.
    pub(super) fn is_content(&self) -> bool {
        self.serving && self.reason.is_none()
    }
}

/// Says in the log's words how a worker ended: `worker 2 (process 71) was killed by signal 9 (SIGKILL)`.
pub(in crate::supervisor) fn epitaph(worker: &Worker, pid: u32, status: ExitStatus) -> String {
    format!(
        "worker {} (process {pid}) {}",
        worker.number,
        described(status)
    )
}
