//! The memory of a scoreboard with its layout, and how its words are read and written.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use super::{layout::Layout, memory::Memory};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) memory: Memory,
    pub(super) layout: Layout,
}

impl Shared {
    pub(super) fn slot(&self, number: usize) -> &[AtomicU64] {
        let words = self.layout.slot(number);
        words
            .and_then(|words| self.memory.words().get(words))
            .unwrap_or_default()
    }
}

/// Nanoseconds of the clock that all processes of a machine share.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::try_from(time).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn load(words: &[AtomicU64], index: usize) -> u64 {
    words
        .get(index)
        .map_or(0, |word| word.load(Ordering::Relaxed))
}

pub(super) fn store(words: &[AtomicU64], index: usize, value: u64) {
    if let Some(word) = words.get(index) {
        word.store(value, Ordering::Relaxed);
    }
}

pub(super) fn counts<const N: usize>(words: &[AtomicU64], start: usize) -> [u64; N] {
    array::from_fn(|index| load(words, start + index))
}
