//! How a worker writes its slot.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    layout::{cell, lane},
    seqlock,
    shared::{Shared, load, now, store},
};
use crate::protocol::Corrections;

/// Writes one slot. Each lane is to be written by one thread at a time.
#[derive(Clone, Debug)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    /// The words of its slot.
    pub(super) slot: Range<usize>,
}

impl Writer {
    /// A lane calls an application now. What does not fit of method and path is cut.
    pub fn began(&self, lane: usize, method: &[u8], path: &[u8]) {
        let mut text = [0; lane::TEXT_SIZE];
        let mut length = 0;
        for part in [method, b" ", path] {
            let room = text.get_mut(length..).unwrap_or_default();
            for (to, from) in room.iter_mut().zip(part) {
                *to = *from;
            }
            length += part.len();
        }
        self.write_lane(lane, |words| {
            store(words, lane::SINCE, now());
            store(words, lane::LENGTH, length as u64);
            let text = text.chunks_exact(8).take(length.div_ceil(8));
            for (word, bytes) in words.iter().skip(lane::TEXT).zip(text) {
                let bytes = bytes.try_into().unwrap_or_default();
                word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
        });
    }

    /// The application has come back.
    pub fn ended(&self, lane: usize) {
        self.write_lane(lane, |words| {
            let since = load(words, lane::SINCE);
            if since != 0 {
                let busy = now().saturating_sub(since);
                store(words, lane::BUSY, load(words, lane::BUSY) + busy);
                store(words, lane::REQUESTS, load(words, lane::REQUESTS) + 1);
                store(words, lane::SINCE, 0);
            }
        });
    }

    /// Notes what is logged of a mount's responses, for all slots. Returns what was not noted before.
    pub fn note_corrections(&self, mount: &str, corrections: Corrections) -> Corrections {
        let layout = &self.shared.layout;
        let word = layout.mount(mount).and_then(|it| layout.corrections(it));
        let Some(word) = word.and_then(|it| self.shared.memory.words().get(it)) else {
            return corrections;
        };
        let noted = word.fetch_or(corrections.bits().into(), Ordering::Relaxed);
        corrections.without(Corrections::from_bits(noted as u16))
    }

    /// Says how many lines the access log has dropped so far.
    pub fn set_access_log_dropped(&self, lines: u64) {
        store(self.words(), cell::ACCESS_LOG_DROPPED, lines);
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        let words = self.shared.memory.words();
        words.get(self.slot.clone()).unwrap_or_default()
    }

    fn write_lane(&self, lane: usize, write: impl FnOnce(&[AtomicU64])) {
        let words = self.shared.layout.lane(lane);
        let words = words.and_then(|words| self.words().get(words));
        if let Some(words @ [sequence, ..]) = words {
            seqlock::write(sequence, || write(words));
        }
    }
}
