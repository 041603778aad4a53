//! Words that one thread writes and any number of processes read, without a lock.
//!
//! A sequence number is odd while the words are written, and higher afterwards. A reader that finds it odd or changed
//! has read a mixture, and tries again.

// Model-checked in tests/model.
#[cfg(model)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(model))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Lets `store` write the words, relaxed. One thread at a time may call this for a sequence number.
pub(super) fn write(sequence: &AtomicU64, store: impl FnOnce()) {
    let before = sequence.load(Ordering::Relaxed);
    sequence.store(before.wrapping_add(1), Ordering::Relaxed);
    // A reader that sees anything of what follows sees the sequence number odd.
    fence(Ordering::Release);
    store();
    sequence.store(before.wrapping_add(2), Ordering::Release);
}

/// Returns what `load` has read of the words, relaxed, unless they were written meanwhile.
pub(super) fn try_read<T>(sequence: &AtomicU64, load: impl FnOnce() -> T) -> Option<T> {
    let before = sequence.load(Ordering::Acquire);
    if before % 2 != 0 {
        return None;
    }
    let read = load();
    // Nothing above is read after this.
    fence(Ordering::Acquire);
    (sequence.load(Ordering::Relaxed) == before).then_some(read)
}
