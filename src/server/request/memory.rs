//! The memory that bodies of requests are gathered in: bounded for all of them together, and used again.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, time::sleep};

use crate::server::{
    limits::{BODIES_IN_MEMORY, IDLE_BODY_MEMORY, IDLE_BODY_TIME},
    sync::lock,
};

/// A buffer has at least this capacity, and grows by at least so much.
const LEAST: usize = 64 * 1024;

/// A buffer whose capacity is more than this many times that of the body is left for larger ones.
const MOST_SPARE: usize = 4;

/// The buffers for bodies. What a buffer has taken of memory counts, not what its body will have.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    state: Mutex<State>,
    runtime: Handle,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of the buffers that bodies have.
    used: usize,
    /// Buffers that no body has: mapping memory anew for each costs more than to copy the body. Those given back last
    /// stand last.
    idle: Vec<Idle>,
    /// Whether a task will free what stays idle.
    is_watched: bool,
}

#[derive(Debug)]
struct Idle {
    bytes: Vec<u8>,
    since: Instant,
}

impl BodyMemory {
    /// `runtime` frees buffers that no body has needed for some time.
    pub(crate) fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            runtime,
        })
    }

    /// Returns an empty buffer for a body of that length; `None` when that is more than half of the memory that is
    /// left, so that one large body does not send many small ones to the disk.
    pub(crate) fn buffer(self: &Arc<Self>, length: u64) -> Option<BodyBuffer> {
        let length = usize::try_from(length).ok()?;
        let mut state = lock(&self.state);
        if length > BODIES_IN_MEMORY.saturating_sub(state.used) / 2 {
            return None;
        }
        let bytes = if let Some(bytes) = state.reuse(length) {
            state.used += bytes.len();
            bytes
        } else {
            drop(state);
            let mut bytes = Vec::new();
            // Not touched before bytes come: a length that a client only announces takes nothing.
            let capacity = length.max(LEAST).next_power_of_two();
            bytes.try_reserve_exact(capacity).ok()?;
            bytes
        };
        Some(BodyBuffer {
            bytes,
            filled: 0,
            memory: self.clone(),
        })
    }

    /// Counts bytes for a buffer that grows, if there are as many left.
    fn take(&self, more: usize) -> bool {
        let mut state = lock(&self.state);
        let used = state.used + more;
        if used > BODIES_IN_MEMORY {
            return false;
        }
        state.used = used;
        let freed = state.shrink_idle(BODIES_IN_MEMORY - used);
        drop(state);
        drop(freed);
        true
    }

    fn give_back(self: &Arc<Self>, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        state.used = state.used.saturating_sub(bytes.len());
        state.idle.push(Idle {
            bytes,
            since: Instant::now(),
        });
        let most = IDLE_BODY_MEMORY.min(BODIES_IN_MEMORY.saturating_sub(state.used));
        let freed = state.shrink_idle(most);
        let watch = !std::mem::replace(&mut state.is_watched, true);
        drop(state);
        drop(freed);
        if watch {
            self.runtime.spawn(free_idle(Arc::downgrade(self)));
        }
    }

    /// Frees what has been idle for so long; whether something is left.
    fn free_older(&self, age: Duration) -> bool {
        let mut state = lock(&self.state);
        let (kept, freed): (Vec<_>, Vec<_>) = state
            .idle
            .drain(..)
            .partition(|idle| idle.since.elapsed() < age);
        state.idle = kept;
        state.is_watched = !state.idle.is_empty();
        let is_watched = state.is_watched;
        drop(state);
        drop(freed);
        is_watched
    }
}

impl State {
    /// Takes the idle buffer that fits best, of several the one that was used last: it is in the processor's caches.
    fn reuse(&mut self, length: usize) -> Option<Vec<u8>> {
        let most = length.max(LEAST).saturating_mul(MOST_SPARE);
        let fits = (0..).zip(&self.idle).filter(|(_, idle)| {
            let capacity = idle.bytes.capacity();
            length <= capacity && capacity <= most
        });
        let (at, _) = fits.min_by_key(|(at, idle)| (idle.bytes.capacity(), Reverse(*at)))?;
        Some(self.idle.remove(at).bytes)
    }

    /// Takes out idle buffers until the others have no more than `most` bytes.
    fn shrink_idle(&mut self, most: usize) -> Vec<Idle> {
        let mut total = 0;
        let fit = self.idle.iter().rev().take_while(|idle| {
            total += idle.bytes.len();
            total <= most
        });
        let kept = fit.count();
        let kept = self.idle.split_off(self.idle.len() - kept);
        std::mem::replace(&mut self.idle, kept)
    }
}

/// Frees buffers that stay idle, until there are none.
async fn free_idle(memory: Weak<BodyMemory>) {
    loop {
        sleep(IDLE_BODY_TIME).await;
        match memory.upgrade() {
            Some(memory) if memory.free_older(IDLE_BODY_TIME) => {}
            _ => return,
        }
    }
}

/// What has come of one body. Dropped, it is there for another body.
#[derive(Debug)]
pub(crate) struct BodyBuffer {
    /// All that was ever written to, by this body or by one before. Its capacity does not change.
    bytes: Vec<u8>,
    /// How much of it is this body's.
    filled: usize,
    memory: Arc<BodyMemory>,
}

impl BodyBuffer {
    /// Returns where the next bytes belong, at most so many. `None` when there is no memory left for them.
    pub(crate) fn room(&mut self, most: usize) -> Option<&mut [u8]> {
        if self.filled == self.bytes.len() {
            // Twice as much as has come.
            let spare = self.bytes.capacity() - self.filled;
            let more = self.filled.max(LEAST).min(most).min(spare);
            if !self.memory.take(more) {
                return None;
            }
            self.bytes.resize(self.filled + more, 0);
        }
        let end = self.bytes.len().min(self.filled.saturating_add(most));
        self.bytes.get_mut(self.filled..end)
    }

    /// Makes bytes that were written to the [`Self::room`] this body's.
    pub(crate) fn advance(&mut self, count: usize) {
        self.filled = self.bytes.len().min(self.filled + count);
    }
}

impl AsRef<[u8]> for BodyBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for BodyBuffer {
    fn drop(&mut self) {
        self.memory.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut BodyBuffer, mut count: usize) {
        while count > 0 {
            let room = buffer.room(count).unwrap();
            room.fill(1);
            let filled = room.len();
            buffer.advance(filled);
            count -= filled;
        }
    }

    const MIB: usize = 1 << 20;

    fn buffer(memory: &Arc<BodyMemory>, length: usize) -> Option<BodyBuffer> {
        memory.buffer(u64::try_from(length).unwrap())
    }

    #[tokio::test]
    async fn a_body_gets_half_of_what_is_left_and_all_together_no_more_than_there_is() {
        let memory = BodyMemory::new(Handle::current());
        let half = BODIES_IN_MEMORY / 2;
        assert!(buffer(&memory, half + 1).is_none());
        // What is only announced takes nothing.
        let mut bodies: Vec<_> = (0..3).map(|_| buffer(&memory, half).unwrap()).collect();
        fill(&mut bodies[0], half);
        assert!(buffer(&memory, half / 2 + 1).is_none());
        fill(&mut bodies[1], half);
        assert!(bodies[2].room(1).is_none());
        assert!(buffer(&memory, 1).is_none());
        bodies.remove(0);
        fill(&mut bodies[1], half);
        bodies.clear();
        assert!(buffer(&memory, half).is_some());
    }

    #[tokio::test]
    async fn memory_is_used_again_and_no_byte_of_another_body_shows() {
        let memory = BodyMemory::new(Handle::current());
        let mut first = buffer(&memory, MIB).unwrap();
        fill(&mut first, MIB);
        let address = first.as_ref().as_ptr();
        drop(first);
        // A small body leaves it alone.
        assert_ne!(buffer(&memory, 1).unwrap().bytes.as_ptr(), address);
        let mut second = buffer(&memory, MIB - 1).unwrap();
        assert!(second.as_ref().is_empty());
        second.room(5).unwrap().copy_from_slice(b"other");
        second.advance(5);
        assert_eq!(second.as_ref(), b"other");
        assert_eq!(second.as_ref().as_ptr(), address);
    }

    #[tokio::test]
    async fn idle_memory_is_bounded_and_given_back() {
        let memory = BodyMemory::new(Handle::current());
        let mut bodies: Vec<_> = (0..4).map(|_| buffer(&memory, 8 * MIB).unwrap()).collect();
        for body in &mut bodies {
            fill(body, 8 * MIB);
        }
        let mut large = buffer(&memory, 12 * MIB).unwrap();
        fill(&mut large, 12 * MIB);
        let idle = || {
            let state = lock(&memory.state);
            state
                .idle
                .iter()
                .map(|idle| idle.bytes.len())
                .sum::<usize>()
        };
        drop((bodies, large));
        assert!((IDLE_BODY_MEMORY / 2..=IDLE_BODY_MEMORY).contains(&idle()));
        assert!(memory.free_older(Duration::from_secs(3600)));
        assert!(idle() > 0);
        assert!(!memory.free_older(Duration::ZERO));
        assert_eq!(idle(), 0);
    }
}
