//! How long to wait before a process takes the place of one that has ended.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after failures in a row: none after the first, then half a second, doubled each time up to 30 s.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The pause after one more failure.
    pub(in crate::supervisor) fn after_failure(&mut self) -> Duration {
        let pause = self.next.unwrap_or_default();
        self.next = Some((pause * 2).clamp(FIRST, LONGEST));
        pause
    }

    /// Ends the row of failures.
    pub(in crate::supervisor) fn succeeded(&mut self) {
        self.next = None;
    }
}

/// The pause after the end of a process that has been of use, for all of its kind together: a request that kills its
/// worker may be sent again and again, and must not keep others from being answered. A token bucket.
#[derive(Debug)]
pub(in crate::supervisor) struct Pace {
    /// So many are replaced at once.
    burst: u32,
    /// When they were, one more is each time this has passed.
    interval: Duration,
    /// No replacement waits longer, however many processes end.
    longest: Duration,
    /// When the bucket is full again.
    full: Instant,
}

impl Pace {
    /// The pace of workers. Each costs a fork.
    pub(in crate::supervisor) fn of_workers() -> Self {
        Self {
            burst: 20,
            interval: Duration::from_millis(100),
            longest: Duration::from_millis(200),
            full: Instant::now(),
        }
    }

    /// The pace of molds. Each costs an import.
    pub(in crate::supervisor) fn of_molds() -> Self {
        Self {
            burst: 3,
            interval: Duration::from_secs(5),
            longest: Duration::from_millis(500),
            full: Instant::now(),
        }
    }

    /// The pause before one more replacement.
    pub(in crate::supervisor) fn take(&mut self) -> Duration {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> Duration {
        self.full = self.full.max(now) + self.interval;
        let pause = (self.full - now).saturating_sub(self.interval * self.burst);
        // What is not waited for is not owed either.
        self.full -= pause.saturating_sub(self.longest);
        pause.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_a_success_ends_them() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9)
            .map(|_| backoff.after_failure().as_millis())
            .collect();
        assert_eq!(
            pauses,
            [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
        );
        backoff.succeeded();
        assert_eq!(backoff.after_failure(), Duration::ZERO);
        assert_eq!(backoff.after_failure(), FIRST);
    }

    #[test]
    fn many_ends_cost_a_short_pause_that_does_not_add_up() {
        let mut pace = Pace::of_workers();
        let now = pace.full;
        for _ in 0..pace.burst {
            assert_eq!(pace.take_at(now), Duration::ZERO);
        }
        assert_eq!(pace.take_at(now), pace.interval);
        for _ in 0..1000 {
            assert_eq!(pace.take_at(now), pace.longest);
        }
        let later = now + pace.longest;
        assert_eq!(pace.take_at(later), pace.interval);
        let much_later = later + pace.interval * (pace.burst + 2);
        assert_eq!(pace.take_at(much_later), Duration::ZERO);
    }
}
