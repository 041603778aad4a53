//! Logs that connections cannot be accepted, and that they can again.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

use super::sync::lock;

/// The log says at most once in this time that no connection can be accepted.
const QUIET: Duration = Duration::from_secs(10);

/// The log says at most once in this time that a server is full: one may be full for long, with short breaks.
const FULL_QUIET: Duration = Duration::from_secs(60);

/// Remembers whether lanes find no descriptor or no memory for a connection. The log says so once, and once that it is
/// over.
#[derive(Default)]
pub(super) struct AcceptErrors {
    /// Set while accepting fails. A lane reads it for each connection.
    is_on: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    full: Option<Instant>,
    begun: Option<Instant>,
    told: Option<Instant>,
    /// Whether its beginning was told, and so its end will be.
    is_known: bool,
}

impl AcceptErrors {
    /// Notes that a connection could not be accepted.
    pub(super) fn failed(&self, error: Errno) {
        let mut times = lock(&self.times);
        let now = Instant::now();
        times.begun.get_or_insert(now);
        self.is_on.store(true, Ordering::Relaxed);
        if !times.is_known && times.told.is_none_or(|told| now - told >= QUIET) {
            times.told = Some(now);
            times.is_known = true;
            drop(times);
            tracing::error!(
                %error,
                cure = cure(error),
                "no connection can be accepted: they wait in the listen queue until one can"
            );
        }
    }

    /// Notes that the server holds as many connections as it may.
    pub(super) fn is_full(&self, limit: usize) {
        let mut times = lock(&self.times);
        if times.full.is_none_or(|told| told.elapsed() >= FULL_QUIET) {
            times.full = Some(Instant::now());
            drop(times);
            tracing::warn!(
                cure = "allow more by --max-in-flight, and by LimitNOFILE= in a unit or ulimit -n: a quarter of the \
                        open files is the application's",
                "{limit} connections are held, as many as may be: others wait in the listen queue"
            );
        }
    }

    /// Notes that a connection was accepted.
    pub(super) fn succeeded(&self) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut times = lock(&self.times);
        self.is_on.store(false, Ordering::Relaxed);
        let begun = times.begun.take();
        if std::mem::take(&mut times.is_known) {
            drop(times);
            let seconds = begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
            tracing::info!("connections are accepted again, after {seconds:.1} s");
        }
    }
}

/// What an operator can do about it, where that is known.
fn cure(error: Errno) -> Option<String> {
    match error {
        Errno::MFILE => {
            let limit = getrlimit(Resource::Nofile).current;
            let limit = limit.map_or_else(String::new, |limit| format!("of {limit} "));
            Some(format!(
                "raise this process's limit {limit}open files (LimitNOFILE= in a unit, ulimit -n), or lower \
                 --max-in-flight"
            ))
        }
        Errno::NFILE => Some("raise the system's limit of open files (sysctl fs.file-max)".into()),
        Errno::NOBUFS | Errno::NOMEM => Some("the system has no memory left".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_until_it_is_over_and_not_at_once_again() {
        let accept_errors = AcceptErrors::default();
        let is_known = || lock(&accept_errors.times).is_known;
        accept_errors.failed(Errno::MFILE);
        assert!(is_known());
        accept_errors.succeeded();
        assert!(!is_known());
        accept_errors.failed(Errno::MFILE);
        assert!(!is_known(), "told again within {QUIET:?}");
        accept_errors.is_full(1);
        let told = lock(&accept_errors.times).full;
        accept_errors.is_full(1);
        assert_eq!(lock(&accept_errors.times).full, told);
    }
}
