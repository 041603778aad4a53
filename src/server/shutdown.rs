//! How a server stops: it accepts no more, then its lanes return.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use super::sync::Event;

/// How far a stop has come.
pub(super) struct Stop {
    draining: AtomicBool,
    begun: Notify,
    leaving: AtomicBool,
    over: Notify,
    /// Readable when the lanes are to return.
    pub(super) leave: Event,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            draining: AtomicBool::new(false),
            begun: Notify::new(),
            leaving: AtomicBool::new(false),
            over: Notify::new(),
            leave: Event::new()?,
        })
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn has_to_leave(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(super) fn begin_leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.leave.raise();
        self.over.notify_waiters();
    }

    pub(super) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.begun.notify_waiters();
    }

    /// Waits until no more is accepted.
    pub(super) async fn draining(&self) {
        let begun = self.begun.notified();
        if !self.is_draining() {
            begun.await;
        }
    }

    /// Waits until nothing is waited for any more.
    pub(super) async fn leaving(&self) {
        let over = self.over.notified();
        if !self.has_to_leave() {
            over.await;
        }
    }

    /// Waits until the server stops, and then for as long as a connection may still stay silent.
    pub(super) async fn silent_for_too_long(&self) {
        self.draining().await;
        sleep(SILENCE).await;
    }
}

/// How long a stopping server waits for the first byte of a connection: nginx sends it with the next system call.
const SILENCE: Duration = Duration::from_secs(1);
