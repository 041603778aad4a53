//! The Python process that imports the applications and forks workers.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::io::FdFlags;

use tokio::time::{Instant, sleep};

use super::{
    SupervisorError,
    channel::{Channel, Inherited, Order, Report, Setup},
};
use crate::{
    config::{Config, Interpreter},
    server::Listener,
};

/// A mold, and the channel to it and to the workers it has forked.
#[derive(Debug)]
pub(super) struct Mold {
    child: Child,
    channel: Channel,
}

impl Mold {
    /// Starts one. It reports [`Report::Imported`] when it can fork.
    pub(super) async fn start(
        config: &Config,
        interpreter: &Interpreter,
        listeners: &[Listener],
        lifeline: &OwnedFd,
    ) -> Result<Self, SupervisorError> {
        let (channel, theirs) =
            Channel::pair().map_err(SupervisorError::io("cannot make a channel"))?;
        let mut inherited = vec![theirs.as_fd(), lifeline.as_fd()];
        inherited.extend(listeners.iter().map(AsFd::as_fd));
        for fd in &inherited {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())
                .map_err(io::Error::from)
                .map_err(SupervisorError::io("cannot hand a socket on"))?;
        }
        let child = Command::new(&interpreter.path)
            // Not with -m: the application's directory may have a module named like one of Python's.
            .args([
                "-c",
                "import sys; sys.path = [it for it in sys.path if it]; from spile._mold import main; main()",
            ])
            .arg(theirs.as_raw_fd().to_string())
            .envs(&config.env)
            .current_dir(&config.chdir)
            .stdin(Stdio::null())
            // A Ctrl-C in the terminal is the master's to act on.
            .process_group(0)
            .spawn()
            .map_err(SupervisorError::io("cannot start the Python interpreter"))?;
        for fd in &inherited {
            // Only the mold is ever started from here, so a flag that stays off would hurt nobody.
            let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
        let setup = Setup {
            config: config.clone(),
            listeners: listeners
                .iter()
                .map(|listener| Inherited {
                    fd: listener.as_raw_fd(),
                    address: listener.address().clone(),
                })
                .collect(),
            lifeline: lifeline.as_raw_fd(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mold = Self { child, channel };
        mold.channel
            .send(&setup)
            .await
            .map_err(SupervisorError::io("cannot tell the mold what to do"))?;
        Ok(mold)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has one more worker forked.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it has to be heard first.
    pub(super) fn fork(&self, worker: usize) -> io::Result<()> {
        self.channel.try_send(&Order::Fork { worker })
    }

    /// Has it close the sockets.
    pub(super) async fn release(&self) -> io::Result<()> {
        self.channel.send(&Order::Release).await
    }

    /// The next thing that the mold or a worker says; `None` when all of them are gone.
    pub(super) async fn report(&self) -> io::Result<Option<Report>> {
        self.channel.report().await
    }

    /// What it or a worker has said and was not heard yet.
    pub(super) fn unheard(&self) -> Vec<Report> {
        std::iter::from_fn(|| self.channel.try_report().ok().flatten()).collect()
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it: it sees the end of the channel and runs what the import has registered for its end, in bounded time.
    pub(super) async fn end(self, patience: Duration) {
        let Self { mut child, channel } = self;
        drop(channel);
        let deadline = Instant::now() + patience;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        // It may be gone already.
        let _ = child.kill();
        let _ = child.wait();
    }
}
