//! Decides when a server's lanes help each other.
//!
//! A lane that works is helped after a [`TICK`] without an answer. Applications that block need every lane at once: a
//! thread's state says whether it sleeps (proc(5)). Once all lanes at work were found asleep, each lane that goes to
//! work calls the next to its place, for as long as [`EAGER`].

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::Timespec,
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};

use super::leader::{Leadership, Promotion, Timer};
use crate::server::{hooks::Turns, net::fd::abort_if_closed_under_us, sync::lock};

/// How long a request waits for lanes at work that answer nothing.
const TICK: Duration = Duration::from_millis(1);
/// After lanes were found asleep in an application, each event wakes a lane for this long.
const EAGER: Duration = Duration::from_secs(1);
/// How often a look at the lanes is tried that an answer has spoilt.
const LOOKS: usize = 2;

/// All lanes of a server.
pub(crate) struct Scheduler {
    leadership: Leadership<TimerFd>,
    since: Instant,
    /// Milliseconds after `since`.
    eager_until: AtomicU64,
    count: AtomicUsize,
    lanes: Mutex<Vec<Arc<LaneState>>>,
}

impl Scheduler {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            leadership: Leadership::new(TimerFd::new()?),
            since: Instant::now(),
            eager_until: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            lanes: Mutex::default(),
        })
    }

    /// Adds a lane.
    pub(crate) fn add(&self) -> Arc<LaneState> {
        let lane = Arc::<LaneState>::default();
        let mut lanes = lock(&self.lanes);
        lanes.push(lane.clone());
        self.count.store(lanes.len(), Ordering::Relaxed);
        lane
    }

    /// Whether there is something to schedule. A lane that is alone calls nothing else of this.
    pub(crate) fn has_many_lanes(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 1
    }

    /// Sleeps until this lane is the one that waits for events. `is_any_waiting` says whether there are some.
    pub(crate) fn lead(&self, lane: &LaneState, turns: Turns, is_any_waiting: impl Fn() -> bool) {
        lane.set(Phase::Idle);
        // Under an interpreter's lock a second thread could only take turns with one that answers requests.
        let is_overloaded = || turns == Turns::Parallel && is_any_waiting();
        if self.leadership.lead(is_overloaded) == Promotion::Overdue && self.all_sleep() {
            let until = self.now() + millis(EAGER);
            self.eager_until.store(until, Ordering::Relaxed);
        }
    }

    /// Has the lane that waited for events go to work. Another takes its place, at once if one is `wanted`.
    pub(crate) fn leave(&self, lane: &LaneState, wanted: bool) {
        lane.set(Phase::WaitsForTurn);
        self.leadership.leave(wanted || self.is_eager());
    }

    /// Counts a request that a lane has answered.
    pub(crate) fn has_answered(&self) {
        self.leadership.has_answered();
    }

    fn is_eager(&self) -> bool {
        let until = self.eager_until.load(Ordering::Relaxed);
        until > 0 && self.now() < until
    }

    /// Whether lanes are at work, and all of them sleep in an application.
    fn all_sleep(&self) -> bool {
        // Lanes are looked at one after the other: under an interpreter's lock each may be asleep when it is its turn,
        // and awake when it is not. If none has answered meanwhile, it is true of all of them at once.
        (0..LOOKS).any(|_| {
            let before = self.leadership.answered();
            let lanes = lock(&self.lanes);
            let mut at_work = lanes
                .iter()
                .filter(|lane| lane.phase() != Phase::Idle)
                .peekable();
            let all_sleep = at_work.peek().is_some() && at_work.all(|lane| lane.sleeps());
            all_sleep && self.leadership.answered() == before
        })
    }

    fn now(&self) -> u64 {
        millis(self.since.elapsed())
    }
}

/// What the other lanes have to know of one.
#[derive(Default)]
pub(crate) struct LaneState {
    phase: AtomicU8,
    /// Where the system says what its thread does.
    stat: OnceLock<PathBuf>,
}

/// What a lane does.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// It has no work.
    Idle = 0,
    /// It is at work, and waits for a moment that ends by itself: mostly for an interpreter's lock.
    WaitsForTurn = 1,
    /// It is at work.
    Works = 2,
}

impl LaneState {
    /// Its thread begins, with work before it waits.
    pub(crate) fn begins(&self) {
        // Without /proc nobody is seen to run.
        if let Ok(thread) = fs::read_link("/proc/thread-self") {
            let _ = self.stat.set(Path::new("/proc").join(thread).join("stat"));
        }
        self.has_its_turn();
    }

    /// A lane at work runs, after it may have had to wait until no other did.
    pub(crate) fn has_its_turn(&self) {
        self.set(Phase::Works);
    }

    /// A lane at work waits for a moment.
    pub(crate) fn gives_up_its_turn(&self) {
        self.set(Phase::WaitsForTurn);
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::WaitsForTurn,
            _ => Phase::Works,
        }
    }

    /// Whether its application sleeps, as far as the system says so.
    fn sleeps(&self) -> bool {
        // Who waits for its turn waits for somebody that runs.
        self.phase() == Phase::Works && !self.stat.get().is_some_and(|stat| is_running(stat))
    }
}

/// Whether a thread runs, or would if it were given a processor.
fn is_running(stat: &Path) -> bool {
    // "1234 (its name) R ...", and the name may contain anything.
    fs::read(stat).is_ok_and(|text| {
        let state = text.rsplit(|byte| *byte == b')').next();
        state.is_some_and(|rest| rest.starts_with(b" R"))
    })
}

/// The kernel's timer: to set it costs a fraction of waking the thread that waits for it.
struct TimerFd(OwnedFd);

impl TimerFd {
    fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        Ok(Self(timer))
    }

    fn set(&self, after: Duration) {
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: never,
            it_value: Timespec {
                tv_nsec: after.subsec_nanos().into(),
                ..never
            },
        };
        if let Err(error) = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once) {
            abort_if_closed_under_us(error);
        }
    }
}

impl Timer for TimerFd {
    fn start(&self) {
        self.set(TICK);
    }

    fn expire(&self) {
        // Zero would stop it.
        self.set(Duration::from_nanos(1));
    }

    fn wait(&self) {
        while let Err(error) = rustix::io::read(&self.0, &mut [0u8; 8]) {
            abort_if_closed_under_us(error);
            if error != Errno::INTR {
                return;
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{atomic::AtomicBool, mpsc::channel},
        thread,
    };

    use super::*;

    /// A lane at work, in a thread that does `work`, until what is returned is dropped.
    fn at_work(scheduler: &Scheduler, turn: bool, work: fn()) -> impl Drop + use<> {
        struct AtWork(Arc<AtomicBool>);
        impl Drop for AtWork {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let ends = Arc::<AtomicBool>::default();
        let (lane, ended) = (scheduler.add(), ends.clone());
        let (tell, begun) = channel();
        thread::spawn(move || {
            lane.begins();
            if !turn {
                lane.gives_up_its_turn();
            }
            let _ = tell.send(());
            while !ended.load(Ordering::Relaxed) {
                work();
            }
        });
        begun.recv().unwrap();
        AtWork(ends)
    }

    fn computes() {
        std::hint::spin_loop();
    }

    fn sleeps() {
        thread::sleep(Duration::from_millis(20));
    }

    #[test]
    fn lanes_sleep_when_all_that_are_at_work_do() {
        let scheduler = Scheduler::new().unwrap();
        let idle = scheduler.add();
        idle.set(Phase::Idle);
        assert!(!scheduler.all_sleep(), "none is at work");
        let asleep = at_work(&scheduler, true, sleeps);
        // It may be looked at before it has gone to sleep.
        while !scheduler.all_sleep() {
            thread::yield_now();
        }
        let busy = at_work(&scheduler, true, computes);
        assert!(!scheduler.all_sleep());
        drop((asleep, busy));
    }

    #[test]
    fn a_lane_that_waits_for_its_turn_does_not_sleep() {
        let scheduler = Scheduler::new().unwrap();
        let waits = at_work(&scheduler, false, sleeps);
        for _ in 0..10 {
            assert!(!scheduler.all_sleep());
        }
        drop(waits);
    }

    #[test]
    fn a_lane_that_answers_nothing_is_helped_after_a_tick() {
        let scheduler = Scheduler::new().unwrap();
        let [busy, other] = std::array::from_fn(|_| scheduler.add());
        scheduler.lead(&busy, Turns::InTurn, || false);
        thread::scope(|scope| {
            let other_leads =
                scope.spawn(|| scheduler.lead(&other, Turns::InTurn, || panic!("nobody answers")));
            scheduler.leave(&busy, false);
            other_leads.join().unwrap();
        });
    }

    #[test]
    fn the_system_says_who_runs() {
        let me = LaneState::default();
        me.begins();
        assert!(is_running(me.stat.get().unwrap()));
        assert!(!is_running(Path::new("/proc/self/no such file")));
    }
}
