//! A buffer for each thread, in which received bytes land first: a silent connection holds none.

use std::cell::RefCell;

/// How much is received at a time, where it goes through a thread's buffer.
const CHUNK: usize = 64 * 1024;

/// So many are read in a row before others get their turn.
pub(crate) const CHUNKS_A_TURN: usize = 16;

/// Lends 64 KiB of this thread's buffer, whose content means nothing. It may not be asked for within `use_it`.
pub(crate) fn with_scratch<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    with_large_scratch(|scratch| use_it(scratch.get_mut(..CHUNK).unwrap_or_default()))
}

/// Lends all of it, 256 KiB, for what goes to a disk.
pub(crate) fn with_large_scratch<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| use_it(scratch))
}

thread_local! {
    // The system gives memory only for what is used.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 4 * CHUNK].into());
}
