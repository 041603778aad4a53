//! The signals that ask for a stop, with gunicorn's meanings.

use std::io;

use nix::sys::signal::SigSet;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

/// Undoes what whoever started this process has blocked, and has it hear of its children's ends, which are not told to
/// a process that ignores them. Other signals that are ignored, as HUP by nohup(1), get handlers where they mean
/// something to spile; the mold gives all of them back their default actions, for applications.
///
/// To be called before any thread is started.
pub(crate) fn unblock() {
    // It fails for arguments that are none of this.
    let _ = SigSet::empty().thread_set_mask();
    // A handler stays when its runtime has gone.
    if let Ok(runtime) = Builder::new_current_thread().enable_io().build() {
        let _context = runtime.enter();
        let _ = signal(SignalKind::child());
    }
}

/// Watches for them; before, they would just kill.
pub(in crate::supervisor) struct Signals {
    /// TERM: requests may finish.
    pub(in crate::supervisor) graceful: Signal,
    /// INT, QUIT: they may not.
    pub(in crate::supervisor) quick: Quick,
}

pub(in crate::supervisor) struct Quick {
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    pub(in crate::supervisor) fn watch() -> io::Result<Self> {
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
    pub(in crate::supervisor) async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
