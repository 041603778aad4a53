//! What the gathered bodies of requests may take of memory, all of them together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes that are shared out to bodies as they arrive.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    left: AtomicUsize,
}

impl BodyMemory {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(bytes),
        })
    }

    /// A share for one body, of nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

/// One body's part; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<BodyMemory>,
    bytes: usize,
}

impl Share {
    /// Makes it so many bytes, if there are as many left.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self
            .memory
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(more)
            });
        if taken.is_ok() {
            self.bytes += more;
        }
        taken.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_take_no_more_than_there_is_and_give_it_back() {
        let memory = BodyMemory::new(100);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.grow_to(60) && one.grow_to(60));
        assert!(!other.grow_to(41) && other.grow_to(40));
        assert!(!one.grow_to(61));
        drop(other);
        assert!(one.grow_to(100));
        drop(one);
        assert!(memory.share().grow_to(100));
    }
}
