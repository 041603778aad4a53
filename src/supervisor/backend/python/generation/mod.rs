//! One import of the applications: a mold and the workers forked from it.

mod place;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::Instant;

use super::{
    backoff::Pace,
    channel::{Channel, Report, Why, layout},
    mold::{Inheritance, Mold},
};
use crate::{
    config::Config,
    supervisor::{
        error::SupervisorError,
        stats::scoreboard::Scoreboard,
        system::process::{Reason, is_zombie, send},
    },
};

pub(in crate::supervisor) use place::{Dead, Place, Worker, epitaph};

use place::Next;

/// How long an order waits that the mold has no room for.
const NO_ROOM: Duration = Duration::from_millis(10);

/// Beyond the graceful time-out, which the workers keep themselves.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// How long a mold may leave an order, or the end of a worker, unanswered: it does both in milliseconds.
const MOLD_PATIENCE: Duration = Duration::from_secs(15);

/// Scoreboard slots beyond two for each worker: for those that TTIN adds. An unused slot costs no memory.
const SPARE_SLOTS: usize = 1024;

/// How many times in which the master did not run are remembered.
const FROZEN_KEPT: usize = 32;

/// A mold and its workers.
pub(in crate::supervisor) struct Generation {
    pub(in crate::supervisor) number: u64,
    pub(in crate::supervisor) config: Rc<Config>,
    pub(in crate::supervisor) inheritance: Inheritance,
    /// `None` once it has ended.
    pub(in crate::supervisor) mold: Option<Mold>,
    pub(in crate::supervisor) imported: bool,
    /// Why its mold could not import the applications.
    pub(in crate::supervisor) why: Option<Why>,
    /// One of its workers has served.
    pub(in crate::supervisor) has_served: bool,
    pub(in crate::supervisor) since: Instant,
    /// Its mold is closing what the application itself listens on.
    is_parting: bool,
    /// Where the application itself listened.
    parted: Vec<String>,
    /// Every worker that has not been seen to end, by its process.
    pub(in crate::supervisor) workers: BTreeMap<u32, Worker>,
    /// The numbers that are to have a worker.
    pub(in crate::supervisor) places: BTreeMap<usize, Place>,
    /// Workers that said that they serve before the mold has told of them.
    early: BTreeSet<u32>,
    pub(in crate::supervisor) scoreboard: Rc<Scoreboard>,
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
    /// Times in which the master did not run: when each ended, and how long it was.
    frozen: VecDeque<(Instant, Duration)>,
}

impl Generation {
    /// Starts a mold, which begins to import. `wanted` workers are forked when it has. `replaces` says that another
    /// generation goes on if this one will not do.
    pub(in crate::supervisor) async fn start(
        number: u64,
        config: Rc<Config>,
        inheritance: Inheritance,
        wanted: usize,
        replaces: bool,
    ) -> Result<Self, SupervisorError> {
        let slots = 2 * wanted.max(config.workers_max) + SPARE_SLOTS;
        let scoreboard =
            Scoreboard::create(layout(&config, slots)).map_err(SupervisorError::SharedMemory)?;
        let mold = Mold::start(&config, &inheritance, &scoreboard, replaces).await?;
        Ok(Self {
            number,
            config,
            inheritance,
            mold: Some(mold),
            imported: false,
            why: None,
            has_served: false,
            since: Instant::now(),
            is_parting: false,
            parted: Vec::new(),
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
            frozen: VecDeque::new(),
        })
    }

    /// The next thing its mold or one of its workers says, if there is one.
    pub(in crate::supervisor) fn poll_report(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Report>> {
        match &self.mold {
            Some(mold) => mold.poll_report(context),
            None => match &self.orphans {
                Some(channel) => channel.poll_report(context),
                None => Poll::Pending,
            },
        }
    }

    /// The mold can fork: every place gets a worker.
    pub(in crate::supervisor) fn has_imported(&mut self) {
        self.imported = true;
        let now = Instant::now();
        for place in self.places.values_mut() {
            place.order_at(now);
        }
    }

    /// Has its mold close what the application itself listens on, so that another can open it.
    pub(in crate::supervisor) fn part(&mut self) {
        if let Some(mold) = self.mold.as_ref().filter(|_| self.imported) {
            self.is_parting = mold.part().is_ok();
        }
    }

    /// Whether that goes on.
    pub(in crate::supervisor) fn is_parting(&self) -> bool {
        self.is_parting && self.mold.is_some()
    }

    /// The mold has closed that.
    pub(in crate::supervisor) fn has_parted(&mut self, addresses: Vec<String>) {
        self.is_parting = false;
        self.parted.extend(addresses);
    }

    /// Where the application no longer listens, if that was anywhere.
    pub(in crate::supervisor) fn parted(&self) -> Option<String> {
        (!self.parted.is_empty()).then(|| self.parted.join(" and "))
    }

    /// Orders the workers that are due.
    pub(in crate::supervisor) fn fork_due(&mut self) {
        let now = Instant::now();
        let Some(mold) = self.mold.as_ref().filter(|_| self.imported) else {
            return;
        };
        if self.leaving.is_some() {
            return;
        }
        for (&number, place) in &mut self.places {
            if !matches!(place.next(), Next::Due(due) if *due <= now) {
                continue;
            }
            let Some(&slot) = self.free_slots.first() else {
                tracing::error!("there is no room on the scoreboard for worker {number}");
                place.give_up();
                continue;
            };
            // Before the order: its worker may write there before this process goes on.
            self.scoreboard.clear(slot);
            match mold.fork(number, slot) {
                // The mold may wait for its reports to be read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    place.order_at(now + NO_ROOM)
                }
                // A mold that cannot be told has gone, which is seen elsewhere.
                _ => {
                    self.ordered += 1;
                    self.free_slots.remove(&slot);
                    place.ordered(slot, now);
                }
            }
        }
    }

    /// The mold has forked a worker for a place.
    pub(in crate::supervisor) fn forked(&mut self, number: usize, slot: usize, pid: u32) {
        self.ordered = self.ordered.saturating_sub(1);
        let place = self.places.get_mut(&number);
        let wanted = place.is_some_and(|place| place.born(slot, pid));
        let worker = Worker::new(number, slot, self.config.max_worker_lifetime);
        self.workers.insert(pid, worker);
        if let Some(signal) = self.leaving.or_else(|| (!wanted).then_some(Signal::HUP)) {
            self.tell_to_leave(pid, signal, Reason::Fewer);
        }
        if self.early.remove(&pid) {
            self.serves(pid);
        }
    }

    /// The system refused a fork.
    pub(in crate::supervisor) fn not_forked(&mut self, number: usize, slot: usize) {
        self.ordered = self.ordered.saturating_sub(1);
        self.free_slots.insert(slot);
        if let Some(place) = self.places.get_mut(&number) {
            place.refused(Instant::now());
        }
    }

    /// A worker serves: the one it replaces leaves.
    pub(in crate::supervisor) fn serves(&mut self, pid: u32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            self.early.insert(pid);
            return;
        };
        worker.serving = true;
        self.has_served = true;
        if worker.leaving {
            // With --lazy, handlers that the application sets while it is imported may have taken the first signal.
            send(pid, self.leaving.unwrap_or(Signal::HUP));
        }
        let place = self.places.get_mut(&worker.number);
        if let Some(old) = place.and_then(|place| place.serves(pid)) {
            // Its reason is known: somebody had it replaced.
            self.tell_to_leave(old, Signal::HUP, Reason::Fewer);
        }
    }

    /// A worker accepts no more.
    pub(in crate::supervisor) fn left(&mut self, pid: u32) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.left = true;
        }
    }

    /// Whether one of its workers may still accept a connection.
    pub(in crate::supervisor) fn accepts(&self) -> bool {
        self.workers.values().any(|it| it.serving && !it.left)
    }

    /// Whether every place has a worker that serves.
    pub(in crate::supervisor) fn all_serve(&self) -> bool {
        self.imported && self.places.values().all(|place| place.current().is_some())
    }

    /// Has a worker replaced: another starts, and when it serves this one finishes what it has.
    ///
    /// `false` when that is going on already, and for one that does not serve yet: it is asked for again.
    pub(in crate::supervisor) fn replace(&mut self, pid: u32, reason: Reason) -> bool {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return false;
        };
        if worker.reason.is_some() || self.leaving.is_some() {
            return false;
        }
        let Some(place) = self.places.get_mut(&worker.number) else {
            return false;
        };
        if place.current() != Some(pid) {
            return false;
        }
        worker.reason = Some(reason);
        place.replace(Instant::now());
        true
    }

    /// Kills a worker; its place gets another.
    pub(in crate::supervisor) fn kill(&mut self, pid: u32, reason: Reason) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.reason = Some(reason);
            send(pid, Signal::KILL);
        }
    }

    /// Has more or fewer places.
    pub(in crate::supervisor) fn resize(&mut self, wanted: usize) {
        let due = self.imported.then(Instant::now);
        for number in 1..=wanted {
            self.places.entry(number).or_insert_with(|| Place::new(due));
        }
        for (_, place) in self.places.split_off(&(wanted + 1)) {
            for pid in place.processes() {
                self.tell_to_leave(pid, Signal::HUP, Reason::Fewer);
            }
        }
    }

    /// A worker is gone. `None` when it is none of these.
    pub(in crate::supervisor) fn ended(&mut self, pid: u32, pace: &mut Pace) -> Option<Dead> {
        self.early.remove(&pid);
        let worker = self.workers.remove(&pid)?;
        let snapshot = self.scoreboard.read(worker.slot);
        self.free_slots.insert(worker.slot);
        // It may have died of its first request before it was heard of.
        let has_served = worker.serving || snapshot.has_worked();
        self.has_served |= has_served;
        let place = self.places.get_mut(&worker.number);
        let pace = has_served.then_some(pace);
        let is_leaving = self.leaving.is_some();
        let pause = place.and_then(|place| place.ended(pid, &worker, pace, is_leaving));
        Some(Dead {
            worker,
            snapshot,
            pause,
        })
    }

    /// Remembers why the last worker of a place went.
    pub(in crate::supervisor) fn note_reason(&mut self, number: usize, reason: Reason) {
        if let Some(place) = self.places.get_mut(&number) {
            place.last_respawn = Some(reason);
        }
    }

    /// Has everything end: all workers get the signal, and those that are born late too.
    pub(in crate::supervisor) fn leave(&mut self, signal: Signal, reason: Reason) {
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

    pub(in crate::supervisor) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Ends the mold once nobody is left of the workers. `true` when the mold is gone too.
    pub(in crate::supervisor) fn is_finished(&mut self) -> bool {
        // A worker that is being forked is to be heard of, and told to leave.
        if self.leaving.is_some() && self.workers.is_empty() && self.ordered == 0 {
            if let Some(mold) = &mut self.mold {
                mold.end();
            }
        }
        self.workers.is_empty() && self.mold.is_none()
    }

    /// Whether the mold does nothing of what it is there for: it leaves an order unanswered, or a dead worker unburied.
    pub(in crate::supervisor) fn mold_hangs(&mut self) -> bool {
        let now = Instant::now();
        let seen = std::mem::take(&mut self.unburied);
        let dead = self.workers.keys().filter(|&&pid| is_zombie(pid));
        self.unburied = dead
            .map(|&pid| (pid, seen.get(&pid).copied().unwrap_or(now)))
            .collect();
        let orders = self.places.values().filter_map(|place| match place.next() {
            Next::Ordered(_, since) => Some(*since),
            _ => None,
        });
        let mut waiting = orders.chain(self.unburied.values().copied());
        self.mold.is_some() && waiting.any(|since| now.duration_since(since) > MOLD_PATIENCE)
    }

    /// Whether this is its mold's process; then it is gone.
    pub(in crate::supervisor) fn mold_ended(&mut self, pid: u32) -> bool {
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
    pub(in crate::supervisor) fn next_due(&self) -> Option<Instant> {
        let forks = self.places.values().filter_map(|place| match place.next() {
            Next::Due(due) if self.mold.is_some() && self.leaving.is_none() => Some(*due),
            _ => None,
        });
        let workers = self.workers.values();
        let deadlines = workers.clone().filter_map(|worker| worker.deadline);
        let lifetimes = workers
            .filter(|worker| worker.is_content())
            .filter_map(|worker| worker.expires);
        let mold = self.mold.as_ref().and_then(Mold::deadline);
        forks.chain(deadlines).chain(lifetimes).chain(mold).min()
    }

    /// Does what is due: kills what did not end in time, replaces what has lived long enough, forks. The processes
    /// that were killed.
    pub(in crate::supervisor) fn act(&mut self) -> Vec<u32> {
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
            if worker.is_content() && worker.expires.is_some_and(|expires| expires <= now) {
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

    /// Puts off what is due, by a time in which the master did not run that ends now.
    pub(in crate::supervisor) fn leave_out(&mut self, frozen: Duration, now: Instant) {
        self.frozen.truncate(FROZEN_KEPT - 1);
        self.frozen.push_front((now, frozen));
        for worker in self.workers.values_mut() {
            worker.deadline = worker.deadline.map(|it| it + frozen);
        }
        for place in self.places.values_mut() {
            place.leave_out(frozen);
        }
        for since in self.unburied.values_mut() {
            *since += frozen;
        }
        if let Some(mold) = &mut self.mold {
            mold.leave_out(frozen);
        }
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
