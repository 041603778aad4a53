//! The workers' counters and running requests, in memory that the master shares with all of them.
//!
//! A worker writes without waiting for anybody, the master reads without asking anybody, and what a worker has
//! written stays when it dies. There are no locks: counters are atomic, and the text of what a lane runs stands
//! between two readings of a sequence number (a seqlock), so that a reader sees all of it or knows that it did not.
//!
//! # Layout
//! - [`Scoreboard`]: made by the master, opened by the workers; a [`Writer`] writes one slot of it.
//! - [`Layout`]: how many slots, lanes and mounts, and where they stand.
//! - [`Recorder`]: what the server counts, written to a slot.
//! - [`Snapshot`]: a slot at one moment.
//! - `memory`: the memory itself; `shared`: its words; `seqlock`: how a lane is written and read.

mod layout;
mod memory;
mod recorder;
mod seqlock;
mod shared;
mod snapshot;
mod writer;

use std::{
    array, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use thiserror::Error;

use layout::{cell, lane};
use memory::Memory;
use shared::{Shared, counts, load, now};

pub use layout::{BUCKETS, Layout};
pub use recorder::Recorder;
pub use snapshot::{LaneSnapshot, RunningRequest, Snapshot};
pub use writer::Writer;

/// How often a lane is read again that is being written. Writing takes well below a microsecond, unless the writer
/// lost its processor, or its life, in the middle.
const TRIES: usize = 100;

/// A scoreboard: one slot a worker.
#[derive(Clone, Debug)]
pub struct Scoreboard(Arc<Shared>);

/// Why a scoreboard is of no use to this process.
#[derive(Debug, Error, PartialEq, Eq)]
enum ScoreboardError {
    #[error("a scoreboard of {slots} slots with {lanes} lanes each is too large")]
    TooLarge { slots: usize, lanes: usize },
    #[error("the shared memory begins with {found:x?}, not {expected:x?}: it has another layout")]
    Foreign { found: [u64; 4], expected: [u64; 4] },
    #[error("the scoreboard has {slots} slots: there is no slot {slot}")]
    NoSlot { slot: usize, slots: usize },
}

impl Scoreboard {
    /// Makes an empty one. Its descriptor is closed on exec unless that is changed.
    ///
    /// # Errors
    /// The layout is too large, or the system refused memory.
    pub fn create(layout: Layout) -> io::Result<Self> {
        let memory = Memory::create(words(&layout)?)?;
        for (word, value) in memory.words().iter().zip(layout.header()) {
            word.store(value, Ordering::Relaxed);
        }
        Ok(Self(Arc::new(Shared { memory, layout })))
    }

    /// Maps one that another process has made.
    ///
    /// # Errors
    /// The descriptor is no scoreboard of this layout, or cannot be mapped.
    pub fn open(fd: OwnedFd, layout: Layout) -> io::Result<Self> {
        let memory = Memory::open(fd, words(&layout)?)?;
        let expected = layout.header();
        let found = array::from_fn(|index| load(memory.words(), index));
        if found != expected {
            let error = ScoreboardError::Foreign { found, expected };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(Self(Arc::new(Shared { memory, layout })))
    }

    /// Returns its sizes.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// A worker's way to write its slot.
    ///
    /// # Errors
    /// There is no such slot.
    pub fn writer(&self, slot: usize) -> io::Result<Writer> {
        let layout = &self.0.layout;
        let words = layout.slot(slot).ok_or_else(|| {
            let slots = layout.slots;
            let error = ScoreboardError::NoSlot { slot, slots };
            io::Error::new(io::ErrorKind::InvalidInput, error)
        })?;
        Ok(Writer {
            shared: self.0.clone(),
            slot: words,
        })
    }

    /// Empties a slot for its next worker. The one before has to be gone.
    pub fn clear(&self, slot: usize) {
        for word in self.0.slot(slot) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Reads a slot. All values are zero when there is no such slot.
    #[must_use]
    pub fn read(&self, slot: usize) -> Snapshot {
        let words = self.0.slot(slot);
        let layout = &self.0.layout;
        let now = now();
        let lanes = (0..layout.lanes).filter_map(|number| words.get(layout.lane(number)?));
        let lanes: Vec<_> = lanes.map(|words| read_lane(words, now)).collect();
        Snapshot {
            mounts: (0..=layout.mounts.len())
                .map(|mount| counts(words, layout.requests(mount).start))
                .collect(),
            request_bytes: load(words, cell::REQUEST_BYTES),
            response_bytes: load(words, cell::RESPONSE_BYTES),
            refused: counts(words, cell::REFUSED),
            latency: counts(words, cell::LATENCY),
            latency_sum: Duration::from_nanos(load(words, cell::LATENCY_SUM)),
            in_flight: load(words, cell::IN_FLIGHT),
            access_log_dropped: load(words, cell::ACCESS_LOG_DROPPED),
            busy: lanes.iter().map(|lane| lane.busy).sum(),
            lanes,
        }
    }
}

impl AsFd for Scoreboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.memory.as_fd()
    }
}

/// Reads a lane. One whose writer never finishes, as when it has died meanwhile, counts as idle.
fn read_lane(words: &[AtomicU64], now: u64) -> LaneSnapshot {
    if let [sequence, ..] = words {
        for _ in 0..TRIES {
            let lane = seqlock::try_read(sequence, || counts::<{ lane::WORDS }>(words, 0));
            if let Some(lane) = lane {
                return as_snapshot(&lane, now);
            }
            thread::yield_now();
        }
    }
    LaneSnapshot {
        running: None,
        busy: Duration::from_nanos(load(words, lane::BUSY)),
        requests: load(words, lane::REQUESTS),
    }
}

fn as_snapshot(lane: &[u64; lane::WORDS], now: u64) -> LaneSnapshot {
    let [_, since, busy, requests, length, text @ ..] = lane;
    let elapsed = if *since == 0 {
        0
    } else {
        now.saturating_sub(*since)
    };
    LaneSnapshot {
        running: (*since != 0).then(|| RunningRequest {
            request: printable(text, *length),
            elapsed: Duration::from_nanos(elapsed),
        }),
        busy: Duration::from_nanos(busy + elapsed),
        requests: *requests,
    }
}

/// A client chose these bytes: what could do something to a terminal or a log is escaped.
fn printable(text: &[u64], length: u64) -> String {
    let bytes: Vec<u8> = text.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let whole = bytes.get(..length);
    let mut printable = String::new();
    for chunk in whole.unwrap_or(&bytes).utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\'' | '"' => printable.push(character),
                _ => printable.extend(character.escape_debug()),
            }
        }
        printable.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    if whole.is_none() {
        printable.push('…');
    }
    printable
}

fn words(layout: &Layout) -> io::Result<usize> {
    layout.words().ok_or_else(|| {
        let error = ScoreboardError::TooLarge {
            slots: layout.slots,
            lanes: layout.lanes,
        };
        io::Error::new(io::ErrorKind::InvalidInput, error)
    })
}

#[cfg(test)]
mod tests;
