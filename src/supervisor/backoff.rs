//! How long to wait for a worker that keeps dying.

use std::time::Duration;

/// A worker that lived this long has not died at once.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause before one place's next worker: none after the first death, then half a second, doubled each time up
/// to 30 s, until one lives for five seconds.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The pause after a worker that lived for so long.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        let pause = match self.next {
            Some(pause) if lived < LONG_ENOUGH => pause,
            _ => {
                self.next = Some(FIRST);
                return Duration::ZERO;
            }
        };
        self.next = Some((pause * 2).min(LONGEST));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_a_long_life_ends_them() {
        let mut backoff = Backoff::default();
        let at_once = Duration::from_millis(10);
        let pauses: Vec<_> = (0..9).map(|_| backoff.after(at_once).as_millis()).collect();
        assert_eq!(
            pauses,
            [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
        );
        assert_eq!(backoff.after(LONG_ENOUGH), Duration::ZERO);
        assert_eq!(backoff.after(at_once), FIRST);
    }
}
