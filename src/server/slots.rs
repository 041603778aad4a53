//! How many connections a server holds at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::sync::Event;

/// Counts the connections that are held, and says when there is room for more and when none is left.
pub(super) struct Slots {
    held: AtomicUsize,
    limit: usize,
    room: Event,
    /// Somebody waits until no connection is left.
    is_awaited: AtomicBool,
    idle: Notify,
}

impl Slots {
    /// Makes room for `limit` connections.
    pub(super) fn new(limit: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            held: AtomicUsize::new(0),
            limit,
            room: Event::new()?,
            is_awaited: AtomicBool::new(false),
            idle: Notify::new(),
        }))
    }

    /// Takes a place for one more connection, beyond the limit too.
    pub(super) fn enter(self: &Arc<Self>) -> Slot {
        self.held.fetch_add(1, Ordering::Relaxed);
        Slot(Hold::Alone(self.clone()))
    }

    /// How many connections are held.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether as many connections are held as may be.
    pub(super) fn is_full(&self) -> bool {
        self.held() >= self.limit
    }

    /// Becomes readable when a full server has room again.
    pub(super) fn room(&self) -> &Event {
        &self.room
    }

    /// Waits until no connection is left.
    pub(super) async fn emptied(&self) {
        // Set before the count is read, and the count lowered before this is read: one of the two sees the other.
        self.is_awaited.store(true, Ordering::SeqCst);
        loop {
            let changed = self.idle.notified();
            if self.held.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }

    fn leave(&self) {
        let held = self.held.fetch_sub(1, Ordering::SeqCst);
        if held >= self.limit {
            self.room.raise();
        }
        if held == 1 && self.is_awaited.load(Ordering::SeqCst) {
            self.idle.notify_waiters();
        }
    }
}

/// One of the connections a server holds; given back when dropped.
pub(super) struct Slot(Hold);

enum Hold {
    Alone(Arc<Slots>),
    #[cfg(feature = "tls")]
    Shared(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Slot>),
}

impl Slot {
    /// The same place, for two: it is given back when both are dropped.
    #[cfg(feature = "tls")]
    pub(super) fn shared(self) -> (Self, Self) {
        let slot = Arc::new(self);
        (Self(Hold::Shared(slot.clone())), Self(Hold::Shared(slot)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        match &self.0 {
            Hold::Alone(slots) => slots.leave(),
            #[cfg(feature = "tls")]
            Hold::Shared(_) => {}
        }
    }
}
