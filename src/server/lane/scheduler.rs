//! Which of a server's lanes takes what comes.
//!
//! Waking a thread costs about as much as answering a quick request. So while a lane is at work and will soon come for
//! more, the lane that the kernel wakes next holds back: it naps for [`NAP`], away from the sockets, while all others
//! stay asleep. Then it helps if that is needed, and calls another lane to its place.
//!
//! Applications that block need every lane at once. A thread's state says whether it sleeps (proc(5)), so they are
//! known at the first look, and for [`EAGER`] after that nobody holds back.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::server::{hooks::Turns, sync::lock};

/// The longest that a request waits for a lane that turns out not to come.
const NAP: Duration = Duration::from_millis(1);
/// After lanes were found asleep in an application, every connection wakes one for this long.
const EAGER: Duration = Duration::from_secs(1);
/// How often lanes at work are looked at, at most, as long as they keep coming for more.
const LOOK: Duration = Duration::from_millis(20);

/// How often a look is tried that others' progress has spoilt.
const LOOKS: usize = 2;

/// All lanes of a server, and who of them is at work.
pub(crate) struct Crew {
    nap: Duration,
    since: Instant,
    posts: Mutex<Vec<Arc<Post>>>,
    /// How many lanes are at work and expected back soon.
    at_work: AtomicUsize,
    /// How many lanes watch the sockets, or nap and will do so next; and how many sleep until they are called.
    watching: AtomicUsize,
    asleep: AtomicUsize,
    /// A lane holds back, and wants to know of the others' progress.
    napping: AtomicBool,
    /// Another one was woken, and sleeps.
    is_joined: AtomicBool,
    /// Counted while a lane naps: requests that were answered, and how often a lane had none left.
    answered: AtomicU64,
    rested: AtomicU64,
    /// Milliseconds after `since`: until when nobody holds back, and until when nobody needs a look.
    eager_until: AtomicU64,
    seen_until: AtomicU64,
    /// Held to begin and to end a nap.
    bench: Mutex<()>,
    called: Condvar,
    dismissed: AtomicBool,
}

/// One lane's place in its crew.
#[derive(Default)]
pub(crate) struct Post {
    /// What its lane does, in the lowest two bits, and above them how often it has gone to work.
    word: AtomicU64,
    /// Its thread has come back from its wait, with an interpreter's lock if there is one.
    has_turn: AtomicBool,
    /// It may know of connections that no other lane was told of.
    knows_more: AtomicBool,
    /// Where the system says what its thread does.
    stat: OnceLock<PathBuf>,
}

/// Waits for work.
const IDLE: u64 = 0;
/// At work, and expected back.
const BUSY: u64 = 1;
/// At work for so long that nobody waits for it any more.
const GIVEN_UP: u64 = 2;
const STATE: u64 = 3;

impl Crew {
    pub(crate) fn new() -> Self {
        Self {
            nap: NAP,
            since: Instant::now(),
            posts: Mutex::default(),
            at_work: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            napping: AtomicBool::new(false),
            is_joined: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            rested: AtomicU64::new(0),
            eager_until: AtomicU64::new(0),
            seen_until: AtomicU64::new(0),
            bench: Mutex::default(),
            called: Condvar::new(),
            dismissed: AtomicBool::new(false),
        }
    }

    /// One more lane.
    pub(crate) fn add(&self) -> Arc<Post> {
        let post = Arc::<Post>::default();
        lock(&self.posts).push(post.clone());
        post
    }

    /// A lane that was woken for a request goes to work, if it has to take it. If not, it has waited already, and
    /// watches for the next: somebody else has taken what it was woken for, or it will find it still there.
    ///
    /// `look_anew` has this lane join the end of the queue that the kernel wakes from, and be told of what is there
    /// already. It is called before it waits here: other processes' lanes should be woken before this one. And after
    /// that, if another lane has gone to sleep meanwhile: what that one was woken for nobody behind it was told of.
    pub(crate) fn takes_over(&self, post: &Post, turns: Turns, look_anew: impl Fn()) -> bool {
        let is_alone = self
            .at_work
            .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        if is_alone.is_ok() {
            self.leave_watch(post);
            return true;
        }
        let is_needed = self.now() < until(&self.eager_until) || {
            post.knows_more();
            self.nap(turns, look_anew)
        };
        if is_needed {
            self.begins(post);
        }
        is_needed
    }

    /// Waits for those at work, or for a call; whether help is needed after that.
    fn nap(&self, turns: Turns, look_anew: impl Fn()) -> bool {
        if !self.begin_nap() {
            look_anew();
            self.sleep_until_called();
            look_anew();
            return false;
        }
        let (rested, answered) = self.progress();
        if self.now() >= until(&self.seen_until) {
            look_anew();
            if self.nobody_runs() {
                self.call_all();
                return true;
            }
            self.set(&self.seen_until, LOOK);
        }
        thread::sleep(self.nap);
        let (now_rested, now_answered) = self.progress();
        let comes = now_rested != rested
            || turns == Turns::InTurn && now_answered != answered
            || self.at_work.load(Ordering::Relaxed) == 0;
        if comes {
            if self.end_nap() {
                look_anew();
            }
        } else if self.nobody_runs() {
            self.call_all();
        } else {
            self.give_up();
            if self.end_nap() {
                // This lane goes to work: one that sleeps has to look.
                self.called.notify_one();
            }
        }
        !comes
    }

    /// A lane's thread begins, with work before it watches.
    pub(crate) fn joins(&self, post: &Post) {
        post.man();
        post.has_its_turn();
        self.at_work.fetch_add(1, Ordering::Relaxed);
        post.word.store(BUSY, Ordering::Release);
    }

    /// A lane that watched goes to work.
    pub(crate) fn begins(&self, post: &Post) {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        self.leave_watch(post);
    }

    fn leave_watch(&self, post: &Post) {
        let times = post.word.load(Ordering::Relaxed) | STATE;
        post.word.store(times + 1 + BUSY, Ordering::Release);
        // Somebody has to watch, unless all are at work.
        if self.watching.fetch_sub(1, Ordering::SeqCst) == 1
            && self.asleep.load(Ordering::SeqCst) > 0
        {
            drop(lock(&self.bench));
            self.called.notify_one();
        }
    }

    /// A lane has nothing left to do, and watches.
    pub(crate) fn rests(&self, post: &Post) {
        post.gives_up_its_turn();
        if post.word.fetch_and(!STATE, Ordering::Acquire) & STATE == BUSY {
            self.at_work.fetch_sub(1, Ordering::Relaxed);
        }
        self.watching.fetch_add(1, Ordering::SeqCst);
        if self.is_watched() {
            self.rested.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A lane has answered a request.
    pub(crate) fn has_answered(&self) {
        if self.is_watched() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the lane that naps look anew when it ends; `false` if there is none.
    pub(crate) fn tell_napping(&self) -> bool {
        let _bench = lock(&self.bench);
        let naps = self.is_watched();
        if naps {
            self.is_joined.store(true, Ordering::Relaxed);
        }
        naps
    }

    /// Whether a lane was woken and holds back: there is more to do, and a lane that rests should be sure that there
    /// is nothing.
    pub(crate) fn is_watched(&self) -> bool {
        self.napping.load(Ordering::Relaxed)
    }

    /// From here on no lane sleeps where only another lane would wake it.
    pub(crate) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Relaxed);
        drop(lock(&self.bench));
        self.called.notify_all();
    }

    /// `false` when another lane naps.
    fn begin_nap(&self) -> bool {
        let _bench = lock(&self.bench);
        let begins = !self.napping.swap(true, Ordering::Relaxed);
        if begins {
            // One that sleeps already may have been called in vain, because this nap began before it was up.
            let sleeps = self.asleep.load(Ordering::SeqCst) > 0;
            self.is_joined.store(sleeps, Ordering::Relaxed);
        }
        begins
    }

    /// Sleeps until nobody watches any more.
    fn sleep_until_called(&self) {
        let bench = lock(&self.bench);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        // The last one that watches stays. Whoever becomes the last, and leaves, sees that this one is asleep.
        if self.watching.fetch_sub(1, Ordering::SeqCst) > 1 {
            // Whoever naps now, which need not be the one that did when this one was woken.
            self.is_joined.store(true, Ordering::Relaxed);
            let called = self.called.wait_while(bench, |()| {
                self.is_watched() && !self.dismissed.load(Ordering::Relaxed)
            });
            drop(called.unwrap_or_else(PoisonError::into_inner));
        }
        self.watching.fetch_add(1, Ordering::SeqCst);
        self.asleep.fetch_sub(1, Ordering::SeqCst);
    }

    fn call_all(&self) {
        self.set(&self.eager_until, EAGER);
        self.end_nap();
        self.called.notify_all();
    }

    /// Whether another lane has slept during the nap.
    fn end_nap(&self) -> bool {
        // Under the lock, so that a lane that is about to sleep is called too.
        let _bench = lock(&self.bench);
        self.napping.store(false, Ordering::Relaxed);
        self.is_joined.load(Ordering::Relaxed)
    }

    /// Waits no longer for those that are at work now.
    fn give_up(&self) {
        for post in lock(&self.posts).iter() {
            let word = post.word.load(Ordering::Relaxed);
            if word & STATE != BUSY {
                continue;
            }
            let given_up = post.word.compare_exchange(
                word,
                word - BUSY + GIVEN_UP,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if given_up.is_ok() {
                self.at_work.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether lanes are at work, and all of them sleep in what they do, as far as the system says so.
    fn nobody_runs(&self) -> bool {
        // Lanes are looked at one after the other: under an interpreter's lock each may be asleep when it is its turn,
        // and awake when it is not. If none has come further meanwhile, it is true of all of them at once.
        (0..LOOKS).any(|_| {
            let before = self.progress();
            self.all_sleep() && self.progress() == before
        })
    }

    fn all_sleep(&self) -> bool {
        let mut asleep = 0;
        for post in lock(&self.posts).iter() {
            match post.progress() {
                Progress::Idle => {}
                Progress::Runs => return false,
                Progress::Sleeps => asleep += 1,
            }
        }
        asleep > 0
    }

    /// How often a lane had nothing left to do, and requests answered; counted during naps only.
    fn progress(&self) -> (u64, u64) {
        (
            self.rested.load(Ordering::Relaxed),
            self.answered.load(Ordering::Relaxed),
        )
    }

    fn now(&self) -> u64 {
        millis(self.since.elapsed())
    }

    fn set(&self, until: &AtomicU64, from_now: Duration) {
        until.store(self.now() + millis(from_now), Ordering::Relaxed);
    }
}

impl Post {
    fn man(&self) {
        // Without /proc nobody is seen to run, so nobody is waited for.
        if let Ok(thread) = fs::read_link("/proc/thread-self") {
            let _ = self.stat.set(Path::new("/proc").join(thread).join("stat"));
        }
    }

    /// A lane at work runs, after it may have had to wait until no other did.
    pub(crate) fn has_its_turn(&self) {
        self.has_turn.store(true, Ordering::Relaxed);
    }

    /// A lane at work waits for a moment, and is expected back as if it ran.
    pub(crate) fn gives_up_its_turn(&self) {
        self.has_turn.store(false, Ordering::Relaxed);
    }

    /// From here on it may know of connections that no other lane was told of: the kernel tells as many lanes as it
    /// takes to find one that waits, and this one has held back, or looked anew.
    pub(crate) fn knows_more(&self) {
        self.knows_more.store(true, Ordering::Relaxed);
    }

    /// Whether that was so, until now.
    pub(crate) fn knew_more(&self) -> bool {
        self.knows_more.load(Ordering::Relaxed) && self.knows_more.swap(false, Ordering::Relaxed)
    }

    fn progress(&self) -> Progress {
        let before = self.word.load(Ordering::Acquire);
        if before & STATE == IDLE {
            return Progress::Idle;
        }
        // Who waits for its turn waits for somebody that runs.
        let runs = !self.has_turn.load(Ordering::Relaxed)
            || self.stat.get().is_some_and(|stat| is_running(stat));
        // A lane that has come back meanwhile may sleep because it has nothing to do.
        if runs || self.word.load(Ordering::Acquire) != before {
            Progress::Runs
        } else {
            Progress::Sleeps
        }
    }
}

/// How a lane's work goes.
enum Progress {
    Idle,
    Runs,
    Sleeps,
}

/// Whether a thread runs, or would if it were given a processor.
fn is_running(stat: &Path) -> bool {
    // "1234 (its name) R ...", and the name may contain anything.
    fs::read(stat).is_ok_and(|text| {
        let state = text.rsplit(|byte| *byte == b')').next();
        state.is_some_and(|rest| rest.starts_with(b" R"))
    })
}

fn until(time: &AtomicU64) -> u64 {
    time.load(Ordering::Relaxed)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Sender, channel},
        thread::Scope,
    };

    use super::*;

    /// A lane at work that does `work` again and again, until what is returned is dropped.
    fn at_work<'scope>(
        scope: &'scope Scope<'scope, '_>,
        crew: &'scope Crew,
        work: impl Fn(&Crew, &Post) + Send + 'scope,
    ) -> Sender<()> {
        let (until, ended) = channel();
        let (tell, is_at_work) = channel();
        scope.spawn(move || {
            let post = crew.add();
            crew.joins(&post);
            tell.send(()).unwrap();
            while ended.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                work(crew, &post);
            }
        });
        is_at_work.recv().unwrap();
        until
    }

    /// Wakes a lane, and lets it come back.
    fn is_needed(crew: &Crew, turns: Turns, look_anew: impl Fn()) -> bool {
        let post = crew.add();
        crew.rests(&post);
        let is_needed = crew.takes_over(&post, turns, look_anew);
        if is_needed {
            crew.rests(&post);
        }
        is_needed
    }

    fn computes(_: &Crew, _: &Post) {
        std::hint::spin_loop();
    }

    fn sleeps(_: &Crew, _: &Post) {
        thread::sleep(Duration::from_millis(20));
    }

    #[test]
    fn a_lane_alone_holds_nothing_back() {
        let crew = Crew::new();
        assert!(is_needed(&crew, Turns::Parallel, || panic!("it waited")));
    }

    /// One whose lanes have time enough to come back, on however busy a machine.
    fn patient() -> Crew {
        Crew {
            nap: Duration::from_millis(200),
            ..Crew::new()
        }
    }

    #[test]
    fn a_lane_that_comes_for_more_is_not_helped() {
        let crew = patient();
        thread::scope(|scope| {
            let busy = at_work(scope, &crew, |crew, post| {
                if crew.is_watched() {
                    crew.rests(post);
                    crew.begins(post);
                }
            });
            assert!(!is_needed(&crew, Turns::Parallel, || {}));
            drop(busy);
        });
    }

    #[test]
    fn a_lane_with_too_much_to_do_is_helped_if_that_helps() {
        let crew = patient();
        thread::scope(|scope| {
            let busy = at_work(scope, &crew, |crew, _| crew.has_answered());
            assert!(!is_needed(&crew, Turns::InTurn, || {}));
            assert!(is_needed(&crew, Turns::Parallel, || {}));
            drop(busy);
        });
    }

    #[test]
    fn nobody_waits_twice_for_a_long_request() {
        for turns in [Turns::Parallel, Turns::InTurn] {
            let crew = Crew::new();
            thread::scope(|scope| {
                let busy = at_work(scope, &crew, computes);
                assert!(is_needed(&crew, turns, || {}));
                assert!(is_needed(&crew, turns, || panic!("it waited again")));
                drop(busy);
            });
        }
    }

    #[test]
    fn nobody_holds_back_when_applications_sleep() {
        let crew = Crew::new();
        thread::scope(|scope| {
            let asleep = at_work(scope, &crew, sleeps);
            // It may be looked at before it has gone to sleep.
            while !is_needed(&crew, Turns::InTurn, || {}) {}
            let quick = at_work(scope, &crew, computes);
            assert!(is_needed(&crew, Turns::InTurn, || panic!("it waited")));
            drop((asleep, quick));
        });
    }

    #[test]
    fn a_lane_that_waits_for_a_moment_does_not_count_as_asleep() {
        let crew = patient();
        thread::scope(|scope| {
            let busy = at_work(scope, &crew, |crew, post| {
                post.gives_up_its_turn();
                thread::sleep(Duration::from_millis(1));
                post.has_its_turn();
                crew.has_answered();
            });
            assert!(!is_needed(&crew, Turns::InTurn, || {}));
            drop(busy);
        });
    }

    #[test]
    fn the_others_sleep_until_nobody_watches() {
        let crew = Crew::new();
        let [busy, watching] = [crew.add(), crew.add()];
        crew.joins(&busy);
        crew.rests(&watching);
        assert!(crew.begin_nap());
        thread::scope(|scope| {
            let (tell, woken) = channel();
            for _ in 0..2 {
                let (crew, tell) = (&crew, tell.clone());
                scope.spawn(move || {
                    let post = crew.add();
                    crew.rests(&post);
                    tell.send(crew.takes_over(&post, Turns::Parallel, || {}))
                });
            }
            let patience = Duration::from_secs(10);
            while crew.asleep.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            crew.end_nap();
            crew.begins(&watching);
            // It watches, and has taken nothing.
            assert_eq!(woken.recv_timeout(patience), Ok(false));
            assert_eq!(crew.watching.load(Ordering::SeqCst), 1);
            assert_eq!(crew.asleep.load(Ordering::SeqCst), 1);
            crew.dismiss();
            assert_eq!(woken.recv_timeout(patience), Ok(false));
        });
    }

    /// A lane that naps while another one is woken and goes to sleep: whether it is needed, and whether it looked anew
    /// when its nap was over.
    fn naps_with_another(work: impl Fn(&Crew, &Post) + Sync) -> (bool, bool) {
        let crew = patient();
        let has_looked = AtomicBool::new(false);
        let [other, watching] = [crew.add(), crew.add()];
        crew.rests(&other);
        // Nobody is called because nobody watches.
        crew.rests(&watching);
        let (tell, woken) = channel();
        let is_needed = thread::scope(|scope| {
            let busy = at_work(scope, &crew, |crew, post| {
                if crew.asleep.load(Ordering::SeqCst) > 0 {
                    work(crew, post);
                }
            });
            let napping = scope.spawn(|| {
                is_needed(&crew, Turns::Parallel, || {
                    has_looked.fetch_or(!crew.is_watched(), Ordering::Relaxed);
                })
            });
            while !crew.is_watched() {
                thread::yield_now();
            }
            scope.spawn(|| tell.send(crew.takes_over(&other, Turns::Parallel, || {})));
            let is_needed = napping.join().unwrap();
            let is_called = !is_needed || woken.recv_timeout(Duration::from_secs(10)).is_ok();
            crew.dismiss();
            drop(busy);
            assert!(is_called);
            is_needed
        });
        (is_needed, has_looked.into_inner())
    }

    #[test]
    fn a_lane_looks_for_what_another_was_woken_for() {
        let rests = |crew: &Crew, post: &Post| {
            crew.rests(post);
            crew.begins(post);
        };
        assert_eq!(naps_with_another(rests), (false, true));
    }

    #[test]
    fn a_lane_that_goes_to_work_has_another_look_for_that() {
        // The one that sleeps returns.
        assert_eq!(naps_with_another(computes), (true, false));
    }

    #[test]
    fn a_lane_looks_for_what_one_that_sleeps_on_was_woken_for() {
        let crew = patient();
        crew.asleep.store(1, Ordering::SeqCst);
        let has_looked = AtomicBool::new(false);
        thread::scope(|scope| {
            let busy = at_work(scope, &crew, |crew, post| {
                if crew.is_watched() {
                    crew.rests(post);
                    crew.begins(post);
                }
            });
            let look_anew = || {
                has_looked.fetch_or(!crew.is_watched(), Ordering::Relaxed);
            };
            assert!(!is_needed(&crew, Turns::Parallel, look_anew));
            drop(busy);
        });
        assert!(has_looked.into_inner());
    }

    #[test]
    fn the_system_says_who_runs() {
        let me = Post::default();
        me.man();
        assert!(is_running(me.stat.get().unwrap()));
        assert!(!is_running(Path::new("/proc/self/no such file")));
    }
}
