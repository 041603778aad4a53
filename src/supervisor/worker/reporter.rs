//! Reports each request of a lane: to the scoreboard that it runs, to the master that it was the last.

use std::{
    os::fd::OwnedFd,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    app::Environ,
    config::Config,
    protocol::Corrections,
    server::LaneObserver,
    supervisor::{
        backend::python::channel::{Report, report_if_there_is_room},
        stats::scoreboard::Writer,
    },
};

/// After so many more requests the master is told again that a worker has had enough. The first time it may not have
/// heard yet that the worker serves, or have left no room for the report.
const REMINDED_AFTER: u64 = 10;

/// A worker's slot of the scoreboard, and how many requests it has left.
pub(in crate::supervisor) struct LaneReporter {
    slot: Writer,
    /// Until the master is told, or told again.
    left: AtomicU64,
    channel: Arc<OwnedFd>,
}

impl LaneReporter {
    pub(in crate::supervisor) fn new(config: &Config, slot: Writer, channel: Arc<OwnedFd>) -> Self {
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

impl LaneObserver for LaneReporter {
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
            self.left.store(REMINDED_AFTER, Ordering::Relaxed);
            report_if_there_is_room(&self.channel, &Report::Enough { pid: process::id() });
        }
    }

    fn note_corrections(&self, mount: &str, corrections: Corrections) -> Corrections {
        self.slot.note_corrections(mount, corrections)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use rustix::{
        io::Errno,
        net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send},
    };

    use super::*;
    use crate::supervisor::backend::python::channel::layout;
    use crate::supervisor::scoreboard::Scoreboard;

    #[test]
    fn a_lane_waits_for_no_room_and_the_master_is_told_later() {
        let (master, worker) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        rustix::io::ioctl_fionbio(&worker, false).unwrap();
        while send(&worker, b"other", SendFlags::DONTWAIT) != Err(Errno::AGAIN) {}
        let config = Config {
            max_requests: 2,
            ..Config::default()
        };
        let scoreboard = Scoreboard::create(layout(&config, 1)).unwrap();
        let reporter = LaneReporter::new(&config, scoreboard.writer(0).unwrap(), Arc::new(worker));
        let mut packet = [0; 100];
        let mut heard = || recv(&master, &mut packet, RecvFlags::empty()).map(|(it, _)| it);
        let (done, lane) = mpsc::channel();
        thread::spawn(move || {
            reporter.ended(0);
            reporter.ended(0);
            done.send(reporter)
        });
        let reporter = lane.recv_timeout(Duration::from_secs(20)).unwrap();
        while heard().is_ok_and(|length| length == "other".len()) {}
        for _ in 0..REMINDED_AFTER {
            assert_eq!(heard(), Err(Errno::AGAIN));
            reporter.ended(0);
        }
        assert!(heard().is_ok());
    }
}
