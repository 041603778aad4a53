//! One request, until its answer is through.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering},
    time::Instant,
};

use super::{core::Core, counters::InFlight, hooks::Answered};
use crate::app::Environ;

/// What is remembered of a request until its answer is through.
pub(super) struct Exchange {
    /// No body is sent: the request is a HEAD.
    pub(super) head_only: bool,
    pub(super) started: Instant,
    /// The number of its mount in the router.
    pub(super) mount: Option<usize>,
    pub(super) _in_flight: InFlight,
    /// Only kept when somebody observes, or may have to name the request.
    pub(super) environ: Option<Environ>,
    /// Who may answer.
    pub(super) claim: Claim,
    /// The observer and the counters know.
    pub(super) told: AtomicBool,
}

impl Exchange {
    /// Tells the observer and the counters what became of the request.
    pub(super) fn answered(&self, core: &Core, status: u16, body_bytes: u64, complete: bool) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let duration = self.started.elapsed();
        core.counters.answered(self.mount, status);
        core.counters.duration.record(duration);
        core.counters.response_bytes.increment(body_bytes);
        if let (Some(observer), Some(environ)) = (&core.observer, &self.environ) {
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

/// Whose the answer to a request is: the application's, until its time is up.
#[derive(Default)]
pub(super) struct Claim {
    state: AtomicU8,
    late: AtomicBool,
    /// What has been sent, for whoever takes the request away.
    status: AtomicU16,
    body_bytes: AtomicU64,
}

/// Nothing of the answer was sent.
const OPEN: u8 = 0;
/// The head was sent, or is about to be.
const BEGUN: u8 = 1;
/// The application has ended the answer.
const SETTLED: u8 = 2;
/// It was taken away.
const TAKEN: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    No,
    Yes,
}

impl Claim {
    /// The application is about to send the head; `false` when the request was taken away.
    pub(super) fn begin(&self, status: u16) -> bool {
        self.status.store(status, Ordering::Relaxed);
        self.change(|state| (state != TAKEN).then_some(BEGUN))
            .is_some()
    }

    /// The application has ended; `false` when the request was taken away.
    pub(super) fn settle(&self) -> bool {
        self.change(|state| (state != TAKEN).then_some(SETTLED))
            .is_some()
    }

    pub(super) fn take(&self) -> Option<Begun> {
        let before = self.change(|state| matches!(state, OPEN | BEGUN).then_some(TAKEN))?;
        Some(if before == BEGUN {
            Begun::Yes
        } else {
            Begun::No
        })
    }

    /// Remembers how many bytes of the body were sent.
    pub(super) fn progressed(&self, body_bytes: u64) {
        self.body_bytes.store(body_bytes, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> (u16, u64) {
        (
            self.status.load(Ordering::Relaxed),
            self.body_bytes.load(Ordering::Relaxed),
        )
    }

    pub(super) fn is_taken(&self) -> bool {
        self.state.load(Ordering::Acquire) == TAKEN
    }

    pub(super) fn is_settled(&self) -> bool {
        self.state.load(Ordering::Acquire) == SETTLED
    }

    pub(super) fn is_the_applications(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), OPEN | BEGUN)
    }

    /// Remembers that its time is up.
    pub(super) fn mark_late(&self) {
        self.late.store(true, Ordering::Release);
    }

    /// Whether its time is up, and the application is told so.
    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    /// The state before the change, if that may be.
    fn change(&self, to: impl FnMut(u8) -> Option<u8>) -> Option<u8> {
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, to)
            .ok()
    }
}
