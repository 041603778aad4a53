//! How many workers there should be, for `--workers-min` and `--workers-max`.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// Above this part of their time the lanes are too busy.
const TOO_BUSY: f64 = 0.8;

/// One worker is too many when without it the rest would still be less busy than this.
const BUSY_ENOUGH: f64 = 0.6;

/// How many looks in a row have to be bad before there are more workers: one alone may be a burst.
const BAD_LOOKS: u32 = 2;

/// For how long one worker has to have been too many before it goes.
const QUIET: Duration = Duration::from_secs(30);

/// For how long new workers are waited for: one that cannot be started must not stop the scaling for good.
const PATIENCE: Duration = Duration::from_secs(30);

/// The load of the workers at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::supervisor) struct Load {
    /// Workers that serve.
    pub(in crate::supervisor) workers: usize,
    /// Lanes of one worker.
    pub(in crate::supervisor) lanes: usize,
    /// The part of their time, from 0 to 1, that all lanes spent in applications since the last look.
    pub(in crate::supervisor) busy: f64,
    /// Connections in all listen queues together; 0 when the kernel does not say.
    pub(in crate::supervisor) waiting: u32,
}

/// Decides from looks at the load, one a second: quick to grow, slow to shrink.
#[derive(Debug)]
pub(in crate::supervisor) struct Scaler {
    limits: RangeInclusive<usize>,
    bad_looks: u32,
    /// Since when one worker has been too many.
    quiet_since: Option<Instant>,
    /// Workers that were asked for and do not serve yet, and until when they are waited for.
    expected: Option<(usize, Instant)>,
}

impl Scaler {
    /// Keeps the number of workers within limits.
    pub(in crate::supervisor) fn new(limits: RangeInclusive<usize>) -> Self {
        Self {
            limits,
            bad_looks: 0,
            quiet_since: None,
            expected: None,
        }
    }

    /// How many workers there should be from now on; `None` for as many as there are.
    pub(in crate::supervisor) fn look(&mut self, load: Load, now: Instant) -> Option<usize> {
        if let Some((workers, until)) = self.expected {
            if load.workers != workers && now < until {
                return None;
            }
            // What was seen with another number of workers, this time too, says nothing about this one.
            *self = Self::new(self.limits.clone());
            return None;
        }
        let wanted = self.wanted(load, now);
        let wanted = wanted.clamp(*self.limits.start(), *self.limits.end());
        if wanted == load.workers {
            return None;
        }
        self.expected = Some((wanted, now + PATIENCE));
        Some(wanted)
    }

    fn wanted(&mut self, load: Load, now: Instant) -> usize {
        let workers = load.workers;
        if load.busy > TOO_BUSY || load.waiting > 0 {
            self.quiet_since = None;
            self.bad_looks += 1;
            if self.bad_looks < BAD_LOOKS {
                return workers;
            }
            self.bad_looks = 0;
            let lanes = workers * load.lanes;
            let overrun = usize::try_from(load.waiting).unwrap_or(usize::MAX) > lanes;
            return workers + if overrun { workers.div_ceil(4) } else { 1 };
        }
        self.bad_looks = 0;
        if !one_is_too_many(load) {
            self.quiet_since = None;
            return workers;
        }
        let since = *self.quiet_since.get_or_insert(now);
        if now.duration_since(since) < QUIET {
            return workers;
        }
        self.quiet_since = None;
        workers - 1
    }
}

fn one_is_too_many(load: Load) -> bool {
    load.workers > 1 && load.busy * load.workers as f64 <= BUSY_ENOUGH * (load.workers - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service with one lane a worker and so much to do, in lanes' worth of work, looked at once a second.
    struct Service {
        scaler: Scaler,
        workers: usize,
        /// Workers that were asked for, and in how many seconds they serve.
        starting: Option<(usize, u32)>,
        start_time: u32,
        now: Instant,
    }

    impl Service {
        fn new(workers: usize, limits: RangeInclusive<usize>) -> Self {
            Self {
                scaler: Scaler::new(limits),
                workers,
                starting: None,
                start_time: 0,
                now: Instant::now(),
            }
        }

        /// The number of workers after each second.
        fn run(&mut self, seconds: u32, work: impl Fn(u32) -> f64) -> Vec<usize> {
            let second = |second| {
                self.now += Duration::from_secs(1);
                match &mut self.starting {
                    Some((workers, 0)) => {
                        self.workers = *workers;
                        self.starting = None;
                    }
                    Some((_, left)) => *left -= 1,
                    None => {}
                }
                let busy = work(second) / self.workers as f64;
                let load = Load {
                    workers: self.workers,
                    lanes: 1,
                    busy: busy.min(1.0),
                    waiting: ((busy - 1.0).max(0.0) * 10.0) as u32,
                };
                if let Some(wanted) = self.scaler.look(load, self.now) {
                    assert!(
                        self.starting.is_none(),
                        "asked while the last were starting"
                    );
                    self.starting = Some((wanted, self.start_time));
                }
                self.workers
            };
            (0..seconds).map(second).collect()
        }
    }

    #[test]
    fn two_bad_seconds_are_needed_to_grow() {
        let mut service = Service::new(2, 1..=8);
        assert_eq!(service.run(1, |_| 2.0), [2]);
        assert_eq!(service.run(1, |_| 0.9), [2], "a burst");
        assert_eq!(service.run(3, |_| 1.9), [2, 2, 3]);
    }

    #[test]
    fn a_long_queue_lets_a_quarter_more_start() {
        let mut scaler = Scaler::new(1..=20);
        let now = Instant::now();
        let load = Load {
            workers: 8,
            lanes: 2,
            busy: 1.0,
            waiting: 17,
        };
        assert_eq!(scaler.look(load, now), None);
        assert_eq!(scaler.look(load, now + Duration::from_secs(1)), Some(10));
    }

    #[test]
    fn requests_that_wait_are_reason_enough() {
        let mut scaler = Scaler::new(1..=20);
        let now = Instant::now();
        let load = Load {
            workers: 8,
            lanes: 1,
            busy: 0.5,
            waiting: 1,
        };
        assert_eq!(scaler.look(load, now), None);
        assert_eq!(scaler.look(load, now + Duration::from_secs(1)), Some(9));
    }

    #[test]
    fn it_grows_to_what_the_work_needs_and_stays_there() {
        let mut service = Service::new(1, 1..=10);
        let workers = service.run(300, |_| 4.0);
        assert_eq!(workers[60..], [5; 240], "4 of 5 is not above 0.8");
    }

    #[test]
    fn it_shrinks_by_one_after_half_a_minute_of_quiet() {
        let mut service = Service::new(4, 2..=8);
        let workers = service.run(100, |_| 0.1);
        assert_eq!(workers[..31], [4; 31]);
        assert_eq!(workers[31..63], [3; 32]);
        assert_eq!(workers[63..], [2; 37]);
    }

    #[test]
    fn one_busy_second_begins_the_quiet_anew() {
        let mut service = Service::new(4, 1..=8);
        let workers = service.run(300, |second| if second % 20 == 0 { 2.5 } else { 0.1 });
        assert_eq!(workers, [4; 300]);
    }

    #[test]
    fn it_never_flaps_under_steady_work() {
        for tenths in 0..100 {
            let mut service = Service::new(5, 1..=10);
            service.start_time = 2;
            let workers = service.run(900, |_| f64::from(tenths) / 10.0);
            let settled = &workers[600..];
            assert!(
                settled.iter().all(|workers| *workers == settled[0]),
                "{tenths}: {settled:?}"
            );
        }
    }

    #[test]
    fn new_workers_are_waited_for_but_not_forever() {
        let mut service = Service::new(1, 1..=8);
        service.start_time = 10;
        let workers = service.run(28, |_| 9.0);
        assert_eq!(workers, [[1; 12].as_slice(), &[2; 13], &[3; 3]].concat());

        let mut scaler = Scaler::new(1..=8);
        let now = Instant::now();
        let load = Load {
            workers: 1,
            lanes: 1,
            busy: 1.0,
            waiting: 0,
        };
        let asked: Vec<_> = (0..40)
            .filter(|second| {
                let now = now + Duration::from_secs(*second);
                scaler.look(load, now).is_some()
            })
            .collect();
        assert_eq!(asked, [1, 33], "the first never came");
    }

    #[test]
    fn limits_hold_at_once() {
        let load = |workers| Load {
            workers,
            lanes: 1,
            busy: 0.7,
            waiting: 0,
        };
        let now = Instant::now();
        assert_eq!(Scaler::new(4..=8).look(load(2), now), Some(4));
        assert_eq!(Scaler::new(4..=8).look(load(9), now), Some(8));
        assert_eq!(Scaler::new(4..=8).look(load(5), now), None);
    }
}
