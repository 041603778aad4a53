//! One request, until its answer is through.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use super::{claim::Claim, hooks::Answered, metrics::InFlight, shared::Shared};
use crate::app::Environ;

/// What stands in logs and counters for the status of a client that has left unanswered, as in nginx's.
pub(super) const CLIENT_LEFT: u16 = 499;

/// What is remembered of a request until its answer is through.
pub(super) struct Exchange {
    /// No body is sent: the request is a HEAD.
    pub(super) head_only: bool,
    started: Instant,
    /// The number of its mount in the router.
    pub(super) mount: Option<usize>,
    _in_flight: InFlight,
    /// Only kept when somebody observes, or may have to name the request.
    environ: Option<Environ>,
    /// Who may answer.
    pub(super) claim: Claim,
    /// Set once the observer and the counters were told.
    reported: AtomicBool,
}

impl Exchange {
    /// Begins a request that was routed to the mount of this number, if to any.
    pub(super) fn new(shared: &Shared, environ: &Environ, mount: Option<usize>) -> Self {
        let is_named = shared.observer.is_some() || shared.limits.request_timeout.is_some();
        Self {
            head_only: environ.get("REQUEST_METHOD") == Some(b"HEAD"),
            started: Instant::now(),
            mount,
            _in_flight: InFlight::new(&shared.counters),
            environ: is_named.then(|| environ.clone()),
            claim: Claim::default(),
            reported: AtomicBool::new(false),
        }
    }

    /// Tells the observer and the counters what became of the request.
    pub(super) fn answered(&self, shared: &Shared, status: u16, body_bytes: u64, complete: bool) {
        if self.reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let duration = self.started.elapsed();
        shared.counters.answered(self.mount, status);
        shared.counters.duration.record(duration);
        shared.counters.response_bytes.increment(body_bytes);
        if let (Some(observer), Some(environ)) = (&shared.observer, &self.environ) {
            let answered = Answered {
                environ,
                status,
                body_bytes,
                duration,
                complete,
            };
            // The response is out, whatever the observer makes of it.
            if catch_unwind(AssertUnwindSafe(|| observer.answered(&answered))).is_err() {
                tracing::error!("the observer of answered requests panicked");
            }
        }
    }

    /// The request's method and path, as far as they were kept. What a client sends cannot look like a line of
    /// the log.
    pub(super) fn named(&self) -> String {
        let Some(environ) = &self.environ else {
            return "a request".to_owned();
        };
        let part = |name| environ.get(name).unwrap_or_default().escape_ascii();
        format!(
            "{} {}{}",
            part("REQUEST_METHOD"),
            part("SCRIPT_NAME"),
            part("PATH_INFO")
        )
    }
}
