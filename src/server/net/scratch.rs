//! A buffer for each thread, in which received bytes land first: a silent connection holds none.

use std::cell::RefCell;

/// How much is received at a time: as much as one buffer of nginx's by far, and any usual body.
const CHUNK: usize = 64 * 1024;

/// So many are read in a row before others get their turn.
pub(crate) const CHUNKS_A_TURN: usize = 16;

/// Lends this thread's buffer of 64 KiB, whose content means nothing. It may not be asked for within `use_it`.
pub(crate) fn with_scratch<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| use_it(scratch))
}

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}
