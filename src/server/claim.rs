//! Who may answer a request: the application, or the watchdog when its time is up.

// Model-checked in tests/model.
#[cfg(model)]
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
#[cfg(not(model))]
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};

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
const REVOKED: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    No,
    Yes,
}

impl Claim {
    /// The application is about to send the head; `false` when the request was taken away.
    pub(super) fn begin(&self, status: u16) -> bool {
        self.status.store(status, Ordering::Relaxed);
        self.change(|state| (state != REVOKED).then_some(BEGUN))
            .is_some()
    }

    /// The application has ended; `false` when the request was taken away.
    pub(super) fn settle(&self) -> bool {
        self.change(|state| (state != REVOKED).then_some(SETTLED))
            .is_some()
    }

    pub(super) fn revoke(&self) -> Option<Begun> {
        let before = self.change(|state| matches!(state, OPEN | BEGUN).then_some(REVOKED))?;
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

    pub(super) fn is_revoked(&self) -> bool {
        self.state.load(Ordering::Acquire) == REVOKED
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
