//! Time in which this process did not run: somebody had stopped it, or its container or machine was paused.
//!
//! Such time counts for no time-out that would end a request or a process. It shows by a look at the clock that comes
//! much later than it was due.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// How often time-outs of a second and more are looked at.
const SECOND: Duration = Duration::from_secs(1);

/// Looks at the clock at regular times, and finds those that it has missed.
#[derive(Debug)]
pub(crate) struct Looks {
    interval: Duration,
    last: Instant,
}

impl Looks {
    /// They are to be no longer apart than `interval`.
    pub(crate) fn every(interval: Duration) -> Self {
        Self {
            interval,
            last: Instant::now(),
        }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Looks: the time that nobody ran, if so much has passed that others were missed in between.
    pub(crate) fn look(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.last, now));
        (passed > self.interval * 2).then(|| passed - self.interval)
    }
}

/// How often a time-out has to be looked at, so that frozen time costs no more than a part of it.
pub(crate) fn interval_of(limit: Duration) -> Duration {
    (limit / 4).clamp(Duration::from_millis(50), SECOND)
}

/// Waits for a future, for as long as this process runs for `limit`.
pub(crate) async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = run_for(limit) => None,
    }
}

async fn run_for(limit: Duration) {
    let interval = interval_of(limit);
    let mut left = limit;
    while !left.is_zero() {
        // One that ends late counts no more than one that does not.
        let part = left.min(interval);
        sleep(part).await;
        left -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_comes_much_too_late_counts_as_one_that_does_not() {
        let mut looks = Looks::every(SECOND);
        let start = looks.last;
        let mut look = |seconds| looks.look(start + SECOND.mul_f64(seconds));
        assert_eq!(look(1.0), None);
        assert_eq!(look(2.9), None);
        assert_eq!(look(12.9), Some(SECOND * 9));
        assert_eq!(look(13.9), None);
    }

    #[tokio::test]
    async fn a_time_out_is_as_long_as_it_says() {
        let (start, limit) = (Instant::now(), Duration::from_millis(120));
        assert_eq!(timeout(limit, std::future::pending::<()>()).await, None);
        assert!(start.elapsed() >= limit);
        assert_eq!(timeout(limit, async { 1 }).await, Some(1));
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Some(1));
    }
}
