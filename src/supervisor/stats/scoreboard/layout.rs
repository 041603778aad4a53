//! Where on a scoreboard everything stands, in words of 64 bits.

use std::ops::Range;

use crate::server::{REFUSAL_REASONS, STATUS_CLASSES};

/// The longest durations of the buckets of the histogram, in seconds; one more bucket has no end.
pub const BUCKETS: [f64; 17] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// The sizes of a scoreboard. All processes that share one have to give the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many workers at most, those included that start while the ones before them leave. A slot that was
    /// never used takes no memory.
    pub slots: usize,
    /// Lanes of a worker.
    pub lanes: usize,
    /// The prefixes of the applications, `/` for the root.
    pub mounts: Vec<String>,
}

/// Two cache lines: what different processes write never shares one, nor a pair that is fetched together.
const SLOT_ALIGNMENT: usize = 16;

/// The first words of the memory say whose it is.
pub(super) const HEADER: usize = SLOT_ALIGNMENT;

/// In the first word of a header: "spile" and the version of this layout.
const MAGIC: u64 = u64::from_be_bytes(*b"spile\0\0\x03");

/// Words of a slot before its lanes.
pub(super) mod cell {
    use super::{BUCKETS, REFUSAL_REASONS};

    pub(in super::super) const REQUEST_BYTES: usize = 0;
    pub(in super::super) const RESPONSE_BYTES: usize = 1;
    pub(in super::super) const IN_FLIGHT: usize = 2;
    pub(in super::super) const ACCESS_LOG_DROPPED: usize = 3;
    /// In nanoseconds.
    pub(in super::super) const LATENCY_SUM: usize = 4;
    pub(in super::super) const LATENCY: usize = 5;
    pub(in super::super) const REFUSED: usize = LATENCY + BUCKETS.len() + 1;
    /// By mount, then by class of status.
    pub(in super::super) const REQUESTS: usize = REFUSED + REFUSAL_REASONS.len();
}

/// Words of a lane: three cache lines. The first is the sequence number of the others.
pub(super) mod lane {
    /// Nanoseconds of CLOCK_MONOTONIC; 0 when nothing runs.
    pub(in super::super) const SINCE: usize = 1;
    /// Nanoseconds.
    pub(in super::super) const BUSY: usize = 2;
    pub(in super::super) const REQUESTS: usize = 3;
    /// Bytes of the text before it was cut.
    pub(in super::super) const LENGTH: usize = 4;
    pub(in super::super) const TEXT: usize = 5;
    pub(in super::super) const WORDS: usize = 24;
    /// Bytes of text that fit.
    pub(in super::super) const TEXT_SIZE: usize = (WORDS - TEXT) * 8;
}

impl Layout {
    /// Returns the words of the header.
    pub(super) fn header(&self) -> [u64; 4] {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        [
            MAGIC,
            number(self.slots),
            number(self.lanes),
            number(self.mounts.len()),
        ]
    }

    /// Of the whole memory; `None` when no memory could be so large.
    pub(super) fn words(&self) -> Option<usize> {
        let lanes = self.lanes.checked_mul(lane::WORDS)?;
        lanes.checked_add(self.lanes_start() + SLOT_ALIGNMENT)?;
        self.slots
            .checked_mul(self.slot_words())?
            .checked_add(self.slots_start())
    }

    /// The word of what was logged of a mount's responses, which all slots share; `None` when there is no such mount.
    pub(super) fn corrections(&self, mount: usize) -> Option<usize> {
        (mount < self.mounts.len()).then_some(HEADER + mount)
    }

    /// The words of one slot; `None` when there is no such slot.
    pub(super) fn slot(&self, number: usize) -> Option<Range<usize>> {
        let start =
            self.slots_start() + self.slot_words() * (number < self.slots).then_some(number)?;
        Some(start..start + self.slot_words())
    }

    /// The words of one lane, within its slot; `None` when there is no such lane.
    pub(super) fn lane(&self, number: usize) -> Option<Range<usize>> {
        let start = self.lanes_start() + lane::WORDS * (number < self.lanes).then_some(number)?;
        Some(start..start + lane::WORDS)
    }

    /// Where requests of one mount are counted, within a slot. The mount after the last is for requests that
    /// none was mounted for.
    pub(super) fn requests(&self, mount: usize) -> Range<usize> {
        let start = cell::REQUESTS + mount * STATUS_CLASSES.len();
        start..start + STATUS_CLASSES.len()
    }

    /// The number of a mount by its prefix; the empty one is no mount.
    pub(super) fn mount(&self, prefix: &str) -> Option<usize> {
        if prefix.is_empty() {
            return Some(self.mounts.len());
        }
        self.mounts.iter().position(|mount| mount == prefix)
    }

    fn slots_start(&self) -> usize {
        (HEADER + self.mounts.len()).next_multiple_of(SLOT_ALIGNMENT)
    }

    fn slot_words(&self) -> usize {
        (self.lanes_start() + self.lanes * lane::WORDS).next_multiple_of(SLOT_ALIGNMENT)
    }

    fn lanes_start(&self) -> usize {
        self.requests(self.mounts.len())
            .end
            .next_multiple_of(SLOT_ALIGNMENT)
    }
}
