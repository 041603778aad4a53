//! What a lane says of each request: what it runs, to the scoreboard; that it was the last, to the master.

use std::{
    os::fd::OwnedFd,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    channel::{Report, report},
    scoreboard::Writer,
};
use crate::{app::Environ, config::Config, server::Board};

/// A worker's slot of the scoreboard, and how many requests it has left.
pub(super) struct Tally {
    slot: Writer,
    /// 0 is reached once: from there it wraps to a number that is not reached again.
    left: AtomicU64,
    channel: Arc<OwnedFd>,
}

impl Tally {
    pub(super) fn new(config: &Config, slot: Writer, channel: Arc<OwnedFd>) -> Self {
        let left = match config.max_requests {
            0 => u64::MAX,
            most => most + fastrand::u64(0..=config.max_requests_jitter),
        };
        Self {
            slot,
            left: AtomicU64::new(left),
            channel,
        }
    }
}

impl Board for Tally {
    fn began(&self, lane: usize, environ: &Environ) {
        let method = environ.get("REQUEST_METHOD").unwrap_or(b"GET");
        let path = environ
            .get("REQUEST_URI")
            .or_else(|| environ.get("PATH_INFO"));
        self.slot.began(lane, method, path.unwrap_or_default());
    }

    fn ended(&self, lane: usize) {
        self.slot.ended(lane);
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            report(&self.channel, &Report::Enough { pid: process::id() });
        }
    }
}
