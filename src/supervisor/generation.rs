//! One import of the applications: a mold and the workers forked from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    process::ExitStatus,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::Instant;

use super::{
    SupervisorError,
    backoff::Backoff,
    channel::{Channel, Report, layout},
    ledger::{self, Living},
    mold::{Inheritance, Mold},
    process::{Reason, described, is_zombie, send},
    scoreboard::{Scoreboard, Snapshot},
};
use crate::{config::Config, observe::stats};

/// How long an order waits that the mold has no room for.
const NO_ROOM: Duration = Duration::from_millis(10);

/// Beyond the graceful time-out, which the workers keep themselves.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// How long a mold may leave an order, or the end of a worker, unanswered: it does both in milliseconds.
const MOLD_PATIENCE: Duration = Duration::from_secs(15);

/// Scoreboard slots beyond two for each worker: for those that TTIN adds. An unused slot costs no memory.
const SPARE_SLOTS: usize = 1024;

/// A mold and its workers.
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) config: Rc<Config>,
    pub(super) inheritance: Inheritance,
    /// `None` once it has ended.
    pub(super) mold: Option<Mold>,
    pub(super) imported: bool,
    pub(super) since: Instant,
    /// Every worker that has not been seen to end, by its process.
    pub(super) workers: BTreeMap<u32, Worker>,
    /// The numbers that are to have a worker.
    pub(super) places: BTreeMap<usize, Place>,
    /// Workers that said that they serve before the mold has told of them.
    early: BTreeSet<u32>,
    pub(super) scoreboard: Rc<Scoreboard>,
    free_slots: BTreeSet<usize>,
    /// Workers that were ordered, and the mold has not said what became of them.
    ordered: usize,
    /// The channel of a mold that has ended: its workers speak on it.
    orphans: Option<Channel>,
    /// Workers that are dead, as far as the mold has not noticed, and since when.
    unburied: BTreeMap<u32, Instant>,
    /// The signal that told it to leave: workers born late get it too.
    leaving: Option<Signal>,
    /// When the load was measured last, and how long each worker had been busy by then.
    measured: (Instant, BTreeMap<u32, Duration>),
}

/// A place that always has a worker, or is about to.
#[derive(Default)]
pub(super) struct Place {
    /// The process that serves.
    current: Option<u32>,
    next: Next,
    backoff: Backoff,
    /// Workers in a row that have ended before they served.
    pub(super) stillborn: usize,
    pub(super) respawns: u64,
    pub(super) last_respawn: Option<Reason>,
}

/// The worker that will take a place.
#[derive(Default)]
enum Next {
    #[default]
    None,
    /// To be ordered at this time.
    Due(Instant),
    /// Ordered, with this slot of the scoreboard.
    Ordered(usize, Instant),
    /// Forked.
    Born(u32),
}

/// A worker process.
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) slot: usize,
    pub(super) since: Instant,
    pub(super) serving: bool,
    /// It accepts no more.
    left: bool,
    /// Why it is to be replaced, or was told to leave.
    pub(super) reason: Option<Reason>,
    /// It was told to finish what it has.
    pub(super) leaving: bool,
    /// When it is killed, if it has not left by then.
    deadline: Option<Instant>,
    /// When it has lived long enough.
    expires: Option<Instant>,
}

/// A worker that has ended.
pub(super) struct Dead {
    pub(super) worker: Worker,
    /// What it was running, and what it has done.
    pub(super) snapshot: Snapshot,
    /// How long its place waits for the next one; `None` when the place is taken or gone.
    pub(super) pause: Option<Duration>,
}

impl Generation {
    /// Starts a mold, which begins to import. `wanted` workers are forked when it has. `replaces` says that another
    /// generation goes on if this one will not do.
    pub(super) async fn start(
        number: u64,
        config: Rc<Config>,
        inheritance: Inheritance,
        wanted: usize,
        replaces: bool,
    ) -> Result<Self, SupervisorError> {
        let slots = 2 * wanted.max(config.workers_max) + SPARE_SLOTS;
        let scoreboard = Scoreboard::create(layout(&config, slots))
            .map_err(SupervisorError::io("cannot share memory with the workers"))?;
        let mold = Mold::start(&config, &inheritance, &scoreboard, replaces).await?;
        Ok(Self {
            number,
            config,
            inheritance,
            mold: Some(mold),
            imported: false,
            since: Instant::now(),
            workers: BTreeMap::new(),
            places: (1..=wanted).map(|it| (it, Place::default())).collect(),
            early: BTreeSet::new(),
            scoreboard: Rc::new(scoreboard),
            free_slots: (0..slots).collect(),
            ordered: 0,
            orphans: None,
            unburied: BTreeMap::new(),
            leaving: None,
            measured: (Instant::now(), BTreeMap::new()),
        })
    }

    /// The next thing its mold or one of its workers says, if there is one.
    pub(super) fn poll_report(&self, context: &mut Context<'_>) -> Poll<io::Result<Report>> {
        match &self.mold {
            Some(mold) => mold.poll_report(context),
            None => match &self.orphans {
                Some(channel) => channel.poll_report(context),
                None => Poll::Pending,
            },
        }
    }

    /// The mold can fork: every place gets a worker.
    pub(super) fn has_imported(&mut self) {
        self.imported = true;
        let now = Instant::now();
        for place in self.places.values_mut() {
            place.next = Next::Due(now);
        }
    }

    /// Orders the workers that are due.
    pub(super) fn fork_due(&mut self) {
        let now = Instant::now();
        let Some(mold) = self.mold.as_ref().filter(|_| self.imported) else {
            return;
        };
        if self.leaving.is_some() {
            return;
        }
        for (&number, place) in &mut self.places {
            if !matches!(place.next, Next::Due(due) if due <= now) {
                continue;
            }
            let Some(&slot) = self.free_slots.first() else {
                tracing::error!("there is no room on the scoreboard for worker {number}");
                place.next = Next::None;
                continue;
            };
            // Before the order: its worker may write there before this process goes on.
            self.scoreboard.clear(slot);
            place.next = match mold.fork(number, slot) {
                // The mold may wait for its reports to be read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Next::Due(now + NO_ROOM),
                // A mold that cannot be told has gone, which is seen elsewhere.
                _ => {
                    self.ordered += 1;
                    self.free_slots.remove(&slot);
                    Next::Ordered(slot, now)
                }
            };
        }
    }

    /// The mold has forked a worker for a place.
    pub(super) fn forked(&mut self, number: usize, slot: usize, pid: u32) {
        self.ordered = self.ordered.saturating_sub(1);
        let now = Instant::now();
        let lifetime = self.config.max_worker_lifetime;
        let worker = Worker {
            number,
            slot,
            since: now,
            serving: false,
            left: false,
            reason: None,
            leaving: false,
            deadline: None,
            expires: (!lifetime.is_zero())
                .then(|| now + lifetime.mul_f64(1.0 + fastrand::f64() / 10.0)),
        };
        let wanted = match self.places.get_mut(&number) {
            Some(place) if matches!(place.next, Next::Ordered(ordered, _) if ordered == slot) => {
                place.next = Next::Born(pid);
                true
            }
            _ => false,
        };
        self.workers.insert(pid, worker);
        if let Some(signal) = self.leaving.or_else(|| (!wanted).then_some(Signal::HUP)) {
            self.tell_to_leave(pid, signal, Reason::Fewer);
        }
        if self.early.remove(&pid) {
            self.serves(pid);
        }
    }

    /// The system refused a fork.
    pub(super) fn not_forked(&mut self, number: usize, slot: usize) {
        self.ordered = self.ordered.saturating_sub(1);
        self.free_slots.insert(slot);
        if let Some(place) = self.places.get_mut(&number) {
            let pause = place.backoff.after(Duration::ZERO);
            place.next = Next::Due(Instant::now() + pause);
        }
    }

    /// A worker serves: the one it replaces leaves.
    pub(super) fn serves(&mut self, pid: u32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            self.early.insert(pid);
            return;
        };
        worker.serving = true;
        let Some(place) = self.places.get_mut(&worker.number) else {
            return;
        };
        if matches!(place.next, Next::Born(born) if born == pid) {
            place.next = Next::None;
            place.stillborn = 0;
            if let Some(old) = place.current.replace(pid) {
                // Its reason is known: somebody had it replaced.
                self.tell_to_leave(old, Signal::HUP, Reason::Fewer);
            }
        }
    }

    /// A worker accepts no more.
    pub(super) fn left(&mut self, pid: u32) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.left = true;
        }
    }

    /// Whether one of its workers may still accept a connection.
    pub(super) fn accepts(&self) -> bool {
        self.workers.values().any(|it| it.serving && !it.left)
    }

    /// Whether every place has a worker that serves.
    pub(super) fn all_serve(&self) -> bool {
        self.imported && self.places.values().all(|place| place.current.is_some())
    }

    /// Has a worker replaced: another starts, and when it serves this one finishes what it has.
    ///
    /// `false` when that is going on already, and for one that does not serve yet: it is asked for again.
    pub(super) fn replace(&mut self, pid: u32, reason: Reason) -> bool {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return false;
        };
        if worker.reason.is_some() || self.leaving.is_some() {
            return false;
        }
        let Some(place) = self.places.get_mut(&worker.number) else {
            return false;
        };
        if place.current != Some(pid) {
            return false;
        }
        worker.reason = Some(reason);
        if matches!(place.next, Next::None) {
            place.next = Next::Due(Instant::now());
        }
        true
    }

    /// Kills a worker; its place gets another.
    pub(super) fn kill(&mut self, pid: u32, reason: Reason) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.reason = Some(reason);
            send(pid, Signal::KILL);
        }
    }

    /// Has more or fewer places.
    pub(super) fn resize(&mut self, wanted: usize) {
        let now = Instant::now();
        for number in 1..=wanted {
            let imported = self.imported;
            self.places.entry(number).or_insert_with(|| Place {
                next: if imported { Next::Due(now) } else { Next::None },
                ..Place::default()
            });
        }
        for (_, place) in self.places.split_off(&(wanted + 1)) {
            let born = match place.next {
                Next::Born(pid) => Some(pid),
                _ => None,
            };
            for pid in place.current.into_iter().chain(born) {
                self.tell_to_leave(pid, Signal::HUP, Reason::Fewer);
            }
        }
    }

    /// A worker is gone. `None` when it is none of these.
    pub(super) fn ended(&mut self, pid: u32) -> Option<Dead> {
        self.early.remove(&pid);
        let worker = self.workers.remove(&pid)?;
        let snapshot = self.scoreboard.read(worker.slot);
        self.free_slots.insert(worker.slot);
        let lived = worker.since.elapsed();
        let stopping = self.leaving.is_some();
        let pause = self.places.get_mut(&worker.number).and_then(|place| {
            let was_next = matches!(place.next, Next::Born(born) if born == pid);
            let was_current = place.current == Some(pid);
            if was_current {
                place.current = None;
            }
            if was_next {
                place.stillborn += 1;
                place.next = Next::None;
            }
            // One may serve and die before it has said that it serves.
            if worker.serving || place.current.is_none() {
                place.respawns += 1;
            }
            if stopping || !(was_next || was_current) || !matches!(place.next, Next::None) {
                return None;
            }
            let pause = place.backoff.after(lived);
            place.next = Next::Due(Instant::now() + pause);
            Some(pause)
        });
        Some(Dead {
            worker,
            snapshot,
            pause,
        })
    }

    /// Remembers why the last worker of a place went.
    pub(super) fn note_reason(&mut self, number: usize, reason: Reason) {
        if let Some(place) = self.places.get_mut(&number) {
            place.last_respawn = Some(reason);
        }
    }

    /// Has everything end: all workers get the signal, and those that are born late too.
    pub(super) fn leave(&mut self, signal: Signal, reason: Reason) {
        self.leaving = Some(signal);
        let pids: Vec<_> = self.workers.keys().copied().collect();
        for pid in pids {
            self.tell_to_leave(pid, signal, reason);
        }
        let patience = match signal {
            Signal::KILL => Duration::ZERO,
            _ => self.config.graceful_timeout + LAST_PATIENCE,
        };
        match &mut self.mold {
            // It has forked all that it ever will.
            Some(mold) if self.imported => {
                mold.release();
                // One that does not tell of its workers' ends must not be waited for.
                mold.end_within(patience);
            }
            // It looks at nothing while it imports.
            Some(mold) => mold.kill(),
            None => {}
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Ends the mold once nobody is left of the workers. `true` when the mold is gone too.
    pub(super) fn is_finished(&mut self) -> bool {
        // A worker that is being forked is to be heard of, and told to leave.
        if self.leaving.is_some() && self.workers.is_empty() && self.ordered == 0 {
            if let Some(mold) = &mut self.mold {
                mold.end();
            }
        }
        self.workers.is_empty() && self.mold.is_none()
    }

    /// Whether the mold does nothing of what it is there for: it leaves an order unanswered, or a dead worker unburied.
    pub(super) fn mold_hangs(&mut self) -> bool {
        let now = Instant::now();
        let seen = std::mem::take(&mut self.unburied);
        let dead = self.workers.keys().filter(|&&pid| is_zombie(pid));
        self.unburied = dead
            .map(|&pid| (pid, seen.get(&pid).copied().unwrap_or(now)))
            .collect();
        let orders = self.places.values().filter_map(|place| match place.next {
            Next::Ordered(_, since) => Some(since),
            _ => None,
        });
        let mut waiting = orders.chain(self.unburied.values().copied());
        self.mold.is_some() && waiting.any(|since| now.duration_since(since) > MOLD_PATIENCE)
    }

    /// Whether this is its mold's process; then it is gone.
    pub(super) fn mold_ended(&mut self, pid: u32) -> bool {
        let is_ours = self.mold.as_ref().is_some_and(|mold| mold.pid() == pid);
        if is_ours {
            self.orphans = self.mold.take().and_then(Mold::into_channel);
            self.ordered = 0;
            // It has forked them, but not said so: nobody would ever tell them to leave.
            for pid in std::mem::take(&mut self.early) {
                send(pid, Signal::HUP);
            }
        }
        is_ours
    }

    /// When something is to be done without anybody having said anything.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let forks = self.places.values().filter_map(|place| match place.next {
            Next::Due(due) if self.mold.is_some() && self.leaving.is_none() => Some(due),
            _ => None,
        });
        let workers = self.workers.values();
        let deadlines = workers.clone().filter_map(|worker| worker.deadline);
        let lifetimes = workers
            .filter(|worker| worker.serving && worker.reason.is_none())
            .filter_map(|worker| worker.expires);
        let mold = self.mold.as_ref().and_then(Mold::deadline);
        forks.chain(deadlines).chain(lifetimes).chain(mold).min()
    }

    /// Does what is due: kills what did not end in time, replaces what has lived long enough, forks. The processes
    /// that were killed.
    pub(super) fn act(&mut self) -> Vec<u32> {
        let now = Instant::now();
        let mut killed = Vec::new();
        let mut expired = Vec::new();
        for (&pid, worker) in &mut self.workers {
            if worker.deadline.is_some_and(|deadline| deadline <= now) {
                // Once: what cannot be killed is the kernel's.
                worker.deadline = None;
                send(pid, Signal::KILL);
                killed.push(pid);
            }
            let may_expire = worker.serving && worker.reason.is_none();
            if may_expire && worker.expires.is_some_and(|expires| expires <= now) {
                expired.push(pid);
            }
        }
        for pid in expired {
            if let Some(worker) = self.workers.get_mut(&pid) {
                worker.expires = None;
            }
            self.replace(pid, Reason::Lifetime);
        }
        if let Some(mold) = &mut self.mold {
            mold.kill_if_due();
        }
        self.fork_due();
        killed
    }

    /// How many workers serve, and the part of the time since the last call that their lanes spent in applications,
    /// from 0 to 1.
    pub(super) fn load(&mut self) -> (usize, f64) {
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
    pub(super) fn named(&self, pid: u32) -> String {
        let worker = self.workers.get(&pid);
        worker.map_or_else(
            || format!("process {pid}"),
            |it| format!("worker {} (process {pid})", it.number),
        )
    }

    /// What a worker runs now, for the log: see [`ledger::running`].
    pub(super) fn running(&self, pid: u32) -> String {
        let worker = self.workers.get(&pid);
        worker.map_or_else(String::new, |it| {
            ledger::running(&self.scoreboard.read(it.slot))
        })
    }

    /// For how long a worker has existed.
    pub(super) fn age(&self, pid: u32) -> Duration {
        let worker = self.workers.get(&pid);
        worker.map_or(Duration::ZERO, |worker| worker.since.elapsed())
    }

    /// Whether a lane of a worker has been in one request for longer.
    pub(super) fn runs_longer_than(&self, pid: u32, longest: Duration) -> bool {
        self.workers.get(&pid).is_some_and(|worker| {
            let snapshot = self.scoreboard.read(worker.slot);
            snapshot.running().any(|it| it.elapsed > longest)
        })
    }

    /// Its workers, for the statistics.
    pub(super) fn living(&self) -> impl Iterator<Item = Living<'_>> {
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

    fn tell_to_leave(&mut self, pid: u32, signal: Signal, reason: Reason) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.reason.get_or_insert(reason);
            if !std::mem::replace(&mut worker.leaving, true) {
                let patience = self.config.graceful_timeout + LAST_PATIENCE;
                worker.deadline = Some(Instant::now() + patience);
            }
            send(pid, signal);
        }
    }
}

/// What became of a worker, for the log: `worker 2 (process 71) was killed by signal 9 (SIGKILL)`.
pub(super) fn epitaph(worker: &Worker, pid: u32, status: ExitStatus) -> String {
    format!(
        "worker {} (process {pid}) {}",
        worker.number,
        described(status)
    )
}
