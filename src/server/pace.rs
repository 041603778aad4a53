//! How long a thread waits for a client itself.

use std::time::{Duration, Instant};

/// What a client has done so far, and how long a thread has waited for it.
#[derive(Debug)]
pub(super) struct Pace {
    grace: Duration,
    bytes_a_second: u64,
    moved: u64,
    waited: Duration,
}

impl Pace {
    /// A client may keep the thread waiting for `grace` in all, and longer the more it has sent or taken.
    pub(super) fn new(grace: Duration, bytes_a_second: u64) -> Self {
        Self {
            grace,
            bytes_a_second,
            moved: 0,
            waited: Duration::ZERO,
        }
    }

    /// Counts bytes that the client has sent or taken.
    pub(super) fn moved(&mut self, count: usize) {
        self.moved += u64::try_from(count).unwrap_or(0);
    }

    /// Returns how long the next wait may be: nothing when the client is slow.
    pub(super) fn patience(&self) -> Duration {
        let earned = self.moved.saturating_mul(1_000_000) / self.bytes_a_second;
        let allowed = self.grace + Duration::from_micros(earned);
        allowed.saturating_sub(self.waited).min(self.grace)
    }

    /// Counts the time that a wait takes.
    pub(super) fn waiting<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        let since = Instant::now();
        let outcome = wait();
        self.waited += since.elapsed();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_keeps_pace_is_waited_for_and_another_is_not() {
        let grace = Duration::from_millis(10);
        let mut pace = Pace::new(grace, 1_000_000);
        assert_eq!(pace.patience(), grace);
        pace.waited = grace;
        assert!(pace.patience().is_zero());
        pace.moved(4_000);
        assert_eq!(pace.patience(), Duration::from_millis(4));
        pace.moved(400_000);
        assert_eq!(pace.patience(), grace);
        pace.waiting(|| ());
        assert!(pace.waited >= grace);
    }
}
