//! What threads and tasks wait for each other with.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use rustix::event::EventfdFlags;
use tokio::time::timeout;

use super::net::fd::abort_if_closed_under_us;

/// What waits for a lane, and an event that is readable as long as something does.
pub(super) struct Queue<T> {
    waiting: Mutex<VecDeque<T>>,
    event: Event,
}

impl<T> Queue<T> {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            waiting: Mutex::default(),
            event: Event::counting()?,
        })
    }

    pub(super) fn push(&self, item: T) {
        let mut waiting = lock(&self.waiting);
        waiting.push_back(item);
        self.event.raise();
    }

    /// The oldest one. Each push is taken by one lane.
    pub(super) fn pop(&self) -> Option<T> {
        let mut waiting = lock(&self.waiting);
        let item = waiting.pop_front()?;
        // Both under the lock: a count ahead of the queue would keep every lane awake.
        self.event.lower();
        Some(item)
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }
}

/// An eventfd: readable once raised.
pub(super) struct Event(OwnedFd);

impl Event {
    pub(super) fn new() -> io::Result<Self> {
        Self::with(EventfdFlags::empty())
    }

    /// Lowered as often as it was raised.
    fn counting() -> io::Result<Self> {
        Self::with(EventfdFlags::SEMAPHORE)
    }

    fn with(flags: EventfdFlags) -> io::Result<Self> {
        Ok(Self(rustix::event::eventfd(
            0,
            flags | EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    pub(super) fn raise(&self) {
        // One whose counter is at its end is raised.
        if let Err(error) = rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            abort_if_closed_under_us(error);
        }
    }

    pub(super) fn lower(&self) {
        // Lowered already is as good.
        if let Err(error) = rustix::io::read(&self.0, &mut [0u8; 8]) {
            abort_if_closed_under_us(error);
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Locks, and takes what a panicking thread left as it is: every holder leaves it whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None` when the time is up. No timer is made unless the future has to wait.
pub(super) async fn timeout_from_first_wait<F: Future>(
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut first = true;
    let tried = poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        // Polled again below, with the timer.
        Poll::Pending if std::mem::take(&mut first) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    match tried {
        Some(output) => Some(output),
        None => timeout(limit, future).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn an_empty_queue_wakes_nobody() {
        const ITEMS: usize = 20_000;
        let queue = Queue::new().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| (0..ITEMS).for_each(|item| queue.push(item)));
            let mut taken = 0;
            while taken < ITEMS {
                taken += usize::from(queue.pop().is_some());
            }
        });
        let mut event = [PollFd::new(queue.event(), PollFlags::IN)];
        let readable = poll(
            &mut event,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .unwrap();
        assert_eq!(readable, 0, "the event is still raised");
    }
}
