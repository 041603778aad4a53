//! Chooses the lane of a process that waits for events: leader and followers.
//!
//! One lane, the leader, waits for events; the followers sleep. A leader that has an event goes to work and wakes
//! nobody, because it will soon be back: to wake a thread costs about as much as to answer a quick request. The lane
//! that comes back first leads again.
//!
//! While no lane leads, a timer runs. One follower, the deputy, waits for it. When it expires, and the lanes at work
//! have answered nothing since it was set, the deputy leads.

// Model-checked in tests/model.
#[cfg(model)]
use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
use std::sync::PoisonError;
#[cfg(not(model))]
use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

/// A timer that one thread at a time waits for.
pub(super) trait Timer {
    /// Has it expire once, a tick from now.
    fn start(&self);

    /// Has it expire once, at once.
    fn expire(&self);

    /// Waits until it has expired. An expiry that nobody waits for is kept.
    fn wait(&self);
}

/// The lanes of a process that are not at work.
pub(super) struct Leadership<T> {
    state: Mutex<State>,
    /// Followers sleep here, except the deputy.
    called: Condvar,
    timer: T,
    /// Requests that were answered.
    answered: AtomicU64,
}

#[derive(Default)]
struct State {
    has_leader: bool,
    /// How many lanes sleep, the deputy too.
    followers: usize,
    has_deputy: bool,
    /// The deputy is to lead whatever the lanes at work do.
    calls_deputy: bool,
    timer_runs: bool,
    /// What `answered` was when the timer was set.
    answered_before: u64,
}

/// How a lane came to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promotion {
    /// Nobody led, or it was called.
    Free,
    /// The lanes at work did not cope.
    Overdue,
}

impl<T: Timer> Leadership<T> {
    pub(super) fn new(timer: T) -> Self {
        Self {
            state: Mutex::new(State::default()),
            called: Condvar::new(),
            timer,
            answered: AtomicU64::new(0),
        }
    }

    /// Sleeps until this lane leads.
    ///
    /// `is_overloaded` says whether the lanes at work need help although they answer requests.
    pub(super) fn lead(&self, is_overloaded: impl Fn() -> bool) -> Promotion {
        let mut promotion = Promotion::Free;
        let mut state = self.lock();
        while state.has_leader {
            state.followers += 1;
            if state.has_deputy {
                state = self
                    .called
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            } else {
                (state, promotion) = self.wait_as_deputy(state, &is_overloaded);
            }
            state.followers -= 1;
        }
        state.has_leader = true;
        promotion
    }

    /// Has the leader go to work. A follower takes its place: at once if one is `wanted`, else when the timer says so.
    pub(super) fn leave(&self, wanted: bool) {
        let mut state = self.lock();
        state.has_leader = false;
        if state.followers == 0 {
            return;
        }
        if !wanted && state.has_deputy {
            if !state.timer_runs {
                self.start_timer(&mut state);
            }
        } else if state.followers > usize::from(state.has_deputy) {
            self.called.notify_one();
        } else {
            state.calls_deputy = true;
            self.timer.expire();
        }
    }

    /// Counts a request that a lane at work has answered.
    pub(super) fn has_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests were answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for the timer until this lane may have to lead. The caller looks whether another one does.
    fn wait_as_deputy<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        is_overloaded: impl Fn() -> bool,
    ) -> (MutexGuard<'a, State>, Promotion) {
        state.has_deputy = true;
        let promotion = loop {
            drop(state);
            self.timer.wait();
            state = self.lock();
            state.timer_runs = false;
            if std::mem::take(&mut state.calls_deputy) {
                break Promotion::Free;
            }
            if state.has_leader {
                continue;
            }
            if self.answered() == state.answered_before || is_overloaded() {
                break Promotion::Overdue;
            }
            self.start_timer(&mut state);
        };
        state.has_deputy = false;
        (state, promotion)
    }

    fn start_timer(&self, state: &mut State) {
        state.timer_runs = true;
        state.answered_before = self.answered();
        self.timer.start();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(not(model))]
mod tests {
    use std::{
        sync::{
            Arc,
            mpsc::{Receiver, channel},
        },
        thread,
        time::Duration,
    };

    use super::*;

    /// A timer that expires when the test says so.
    #[derive(Default)]
    struct ByHand {
        state: Mutex<TimerState>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct TimerState {
        runs: bool,
        expired: bool,
        /// How often somebody began to wait.
        waits: usize,
    }

    impl Timer for ByHand {
        fn start(&self) {
            self.state.lock().unwrap().runs = true;
        }

        fn expire(&self) {
            let mut state = self.state.lock().unwrap();
            (state.runs, state.expired) = (false, true);
            self.changed.notify_all();
        }

        fn wait(&self) {
            let mut state = self.state.lock().unwrap();
            state.waits += 1;
            self.changed.notify_all();
            while !state.expired {
                state = self.changed.wait(state).unwrap();
            }
            state.expired = false;
        }
    }

    impl ByHand {
        fn runs(&self) -> bool {
            self.state.lock().unwrap().runs
        }

        fn until_waited_for(&self, times: usize) {
            let mut state = self.state.lock().unwrap();
            while state.waits < times {
                state = self.changed.wait(state).unwrap();
            }
        }
    }

    /// Lanes of which one leads: the test.
    fn led() -> Arc<Leadership<ByHand>> {
        let lanes = Arc::new(Leadership::new(ByHand::default()));
        assert_eq!(lanes.lead(|| false), Promotion::Free);
        lanes
    }

    /// A lane that sleeps until it leads, and says then how it came to that.
    fn follower(
        lanes: &Arc<Leadership<ByHand>>,
        is_overloaded: fn() -> bool,
    ) -> Receiver<Promotion> {
        let (tell, promoted) = channel();
        let before = lanes.lock().followers;
        let lane = lanes.clone();
        thread::spawn(move || tell.send(lane.lead(is_overloaded)));
        while lanes.lock().followers == before {
            thread::yield_now();
        }
        promoted
    }

    fn promotion(promoted: &Receiver<Promotion>) -> Promotion {
        promoted.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn a_leader_that_comes_back_leads_again() {
        let lanes = led();
        let follower = follower(&lanes, || true);
        lanes.leave(false);
        lanes.has_answered();
        assert_eq!(lanes.lead(|| false), Promotion::Free);
        lanes.timer.until_waited_for(1);
        lanes.timer.expire();
        lanes.timer.until_waited_for(2);
        assert!(follower.try_recv().is_err());
        assert!(!lanes.timer.runs(), "somebody leads");
    }

    #[test]
    fn a_lane_that_answers_nothing_is_helped() {
        let lanes = led();
        let follower = follower(&lanes, || false);
        lanes.has_answered();
        lanes.leave(false);
        assert!(lanes.timer.runs());
        lanes.timer.expire();
        assert_eq!(promotion(&follower), Promotion::Overdue);
    }

    #[test]
    fn a_lane_that_answers_is_helped_if_that_helps() {
        for helps in [false, true] {
            let lanes = led();
            let follower = follower(&lanes, if helps { || true } else { || false });
            lanes.leave(false);
            lanes.has_answered();
            lanes.timer.until_waited_for(1);
            lanes.timer.expire();
            if helps {
                assert_eq!(promotion(&follower), Promotion::Overdue);
            } else {
                lanes.timer.until_waited_for(2);
                assert!(follower.try_recv().is_err());
                assert!(lanes.timer.runs(), "for the next look");
            }
        }
    }

    #[test]
    fn who_is_wanted_leads_at_once() {
        for lanes_asleep in [1, 2] {
            let lanes = led();
            let followers: Vec<_> = (0..lanes_asleep)
                .map(|_| follower(&lanes, || false))
                .collect();
            lanes.leave(true);
            assert!(!lanes.timer.runs());
            // The last of them: the first is the deputy, which is spared as long as there are others.
            let last = followers.last().unwrap();
            assert_eq!(promotion(last), Promotion::Free);
        }
    }

    #[test]
    fn where_nobody_waits_for_the_timer_another_lane_leads_at_once() {
        let lanes = led();
        let deputy = follower(&lanes, || false);
        let other = follower(&lanes, || false);
        lanes.leave(false);
        lanes.timer.expire();
        assert_eq!(promotion(&deputy), Promotion::Overdue);
        lanes.leave(false);
        assert_eq!(promotion(&other), Promotion::Free);
    }
}
