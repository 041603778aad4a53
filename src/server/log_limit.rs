//! Log lines that peers can cause: a few of each cause a minute, and how many more there were.
//!
//! Whoever may connect could fill a disk with them otherwise.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use super::sync::lock;

/// So many lines of one cause are written in an [`INTERVAL`].
const LINES: u64 = 10;

/// Begins with the first line of a cause. When it ends, the lines that were kept back are told by one.
const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps back the lines that are too many.
#[derive(Clone)]
pub(crate) struct LogLimit {
    runtime: Handle,
    interval: Duration,
    /// As many as there are causes in the source.
    causes: Arc<Mutex<Vec<Cause>>>,
}

struct Cause {
    name: &'static str,
    since: Instant,
    lines: u64,
}

impl LogLimit {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            interval: INTERVAL,
            causes: Arc::default(),
        }
    }

    /// Writes a line, unless there were many of its cause. `cause` says to people what they have in common.
    pub(crate) fn say(&self, cause: &'static str, line: impl FnOnce()) {
        match self.note(cause, Instant::now()) {
            Note::Say => line(),
            Note::KeepBack => {}
            Note::KeepBackFirst(until) => {
                let log_limit = self.clone();
                self.runtime.spawn(async move {
                    tokio::time::sleep_until(until).await;
                    log_limit.sum_up(cause);
                });
            }
        }
    }

    /// Tells what was kept back so far.
    pub(crate) fn sum_up_all(&self) {
        let names: Vec<_> = lock(&self.causes).iter().map(|cause| cause.name).collect();
        for name in names {
            self.sum_up(name);
        }
    }

    fn note(&self, name: &'static str, now: Instant) -> Note {
        let mut causes = lock(&self.causes);
        let Some(cause) = causes.iter_mut().find(|cause| cause.name == name) else {
            causes.push(Cause {
                name,
                since: now,
                lines: 1,
            });
            return Note::Say;
        };
        if cause.lines <= LINES && now.duration_since(cause.since) >= self.interval {
            cause.since = now;
            cause.lines = 0;
        }
        cause.lines += 1;
        match cause.lines {
            ..=LINES => Note::Say,
            FIRST_TOO_MANY => Note::KeepBackFirst(cause.since + self.interval),
            _ => Note::KeepBack,
        }
    }

    fn sum_up(&self, name: &'static str) {
        if let Some((kept_back, after)) = self.take(name, Instant::now()) {
            tracing::warn!(
                "{name}: {kept_back} more in the last {} s, each without a line of its own",
                after.as_secs()
            );
        }
    }

    /// How many lines were kept back, if any, and since when the interval has lasted, which ends.
    fn take(&self, name: &'static str, now: Instant) -> Option<(u64, Duration)> {
        let mut causes = lock(&self.causes);
        let at = causes
            .iter()
            .position(|cause| cause.name == name && cause.lines > LINES)?;
        let cause = causes.swap_remove(at);
        Some((cause.lines - LINES, now.duration_since(cause.since)))
    }
}

const FIRST_TOO_MANY: u64 = LINES + 1;

/// What becomes of a line.
#[derive(Debug, PartialEq)]
enum Note {
    Say,
    KeepBack,
    /// The first to be kept back: at that instant they are to be summed up.
    KeepBackFirst(Instant),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_limit() -> LogLimit {
        LogLimit::new(Handle::current())
    }

    #[tokio::test]
    async fn ten_lines_are_said_and_the_others_counted() {
        let (log_limit, start) = (log_limit(), Instant::now());
        for _ in 0..LINES {
            assert_eq!(log_limit.note("a", start), Note::Say);
        }
        let end = start + INTERVAL;
        assert_eq!(log_limit.note("a", start), Note::KeepBackFirst(end));
        for _ in 0..1000 {
            assert_eq!(log_limit.note("a", start), Note::KeepBack);
        }
        assert_eq!(log_limit.note("another", start), Note::Say);
        assert_eq!(log_limit.take("a", end), Some((1001, INTERVAL)));
        assert_eq!(log_limit.take("a", end), None);
        assert_eq!(log_limit.note("a", end), Note::Say);
    }

    #[tokio::test]
    async fn a_few_lines_a_minute_are_all_said() {
        let (log_limit, start) = (log_limit(), Instant::now());
        for minute in 0..10 {
            for _ in 0..LINES {
                assert_eq!(log_limit.note("a", start + minute * INTERVAL), Note::Say);
            }
        }
        assert_eq!(log_limit.take("a", start + 10 * INTERVAL), None);
    }

    #[tokio::test]
    async fn they_are_summed_up_when_the_interval_ends() {
        let log_limit = LogLimit {
            interval: Duration::from_millis(50),
            ..log_limit()
        };
        let mut said = 0;
        for _ in 0..100 {
            log_limit.say("a", || said += 1);
        }
        assert_eq!(said, LINES);
        let lines = || {
            lock(&log_limit.causes)
                .first()
                .map_or(0, |cause| cause.lines)
        };
        assert_eq!(lines(), 100);
        while lines() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        log_limit.say("a", || said += 1);
        assert_eq!(said, LINES + 1);
    }
}
