//! The signals that ask for a stop, with gunicorn's meanings.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Watches for them; before, they would just kill.
pub(super) struct Signals {
    /// TERM: requests may finish.
    pub(super) graceful: Signal,
    /// INT, QUIT: they may not.
    pub(super) quick: Quick,
}

pub(super) struct Quick {
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    pub(super) fn watch() -> io::Result<Self> {
        Ok(Self {
            graceful: signal(SignalKind::terminate())?,
            quick: Quick {
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
            },
        })
    }
}

impl Quick {
    pub(super) async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
