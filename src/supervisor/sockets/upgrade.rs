//! Starting the program anew, with the sockets handed over.

use std::{
    io,
    process::{self, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{pipe::PipeFlags, process::Signal};
use tokio::net::unix::pipe;

use super::{
    first_process::{Successors, is_first},
    prepare::Prepared,
};
use crate::supervisor::{
    launch::Launch,
    system::{open_files::with_found, process::send, systemd::Notify},
};

/// A new master that is starting.
pub(in crate::supervisor) struct Upgrade {
    pid: u32,
    ready: pipe::Receiver,
    /// In the first process of a container, which stays.
    successors: Option<Successors>,
    /// When it has taken long enough to be told of, until that was done.
    overdue: Option<Instant>,
}

/// How long a new master may take without a word about it.
const LONG: Duration = Duration::from_secs(60);

impl Upgrade {
    /// Starts it. It inherits what was prepared, and says through a pipe when it serves.
    ///
    /// # Errors
    /// The system refused a pipe or the process.
    pub(in crate::supervisor) fn start(launch: &Launch, prepared: &Prepared) -> io::Result<Self> {
        let (program, arguments) = launch
            .command
            .split_first()
            .ok_or_else(|| io::Error::other("nobody knows what this program was started with"))?;
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        // Where that name leads by now; it may lead nowhere, and the directory not be needed.
        if launch.directory.is_dir() {
            command.current_dir(&launch.directory);
            command.env("PWD", &launch.directory);
        }
        let successors = is_first().then(Successors::new).transpose()?;
        let inheritable = prepared.hand_over(&mut command, &theirs, successors.as_ref())?;
        let child = with_found(|| command.spawn())?;
        drop(inheritable);
        Ok(Self {
            pid: child.id(),
            ready: pipe::Receiver::from_owned_fd(ours)?,
            successors,
            overdue: Some(Instant::now() + LONG),
        })
    }

    pub(in crate::supervisor) fn pid(&self) -> u32 {
        self.pid
    }

    /// Says what becomes of this process, for whoever watches it.
    pub(in crate::supervisor) fn tell_watchers(&self, notify: &Notify) {
        let (old, new) = (process::id(), self.pid);
        if self.successors.is_some() {
            tracing::info!(
                "process {old} stays when process {new} serves, and passes signals on to it"
            );
        } else if !notify.is_heard() {
            tracing::warn!(
                cure = "under supervisord, runit, s6, or the init of a container, which would start it again or end, \
                        reload (HUP) in place of this; under systemd have Type=notify-reload or Type=notify",
                "process {old} ends when process {new} serves: whatever has started it, and waits for it, takes that for \
                 the end of the server"
            );
        }
    }

    /// The masters that this process stays for, if it is the first of a container.
    pub(in crate::supervisor) fn into_successors(self) -> Option<Successors> {
        let mut successors = self.successors?;
        successors.add(self.pid);
        Some(successors)
    }

    /// Waits until it serves. That it has ended is seen elsewhere.
    pub(in crate::supervisor) async fn ready(&mut self) {
        loop {
            let mut said = [0];
            let is_readable = self.ready.readable().await;
            match is_readable.and_then(|()| self.ready.try_read(&mut said)) {
                Ok(1..) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Says once that it takes long.
    pub(in crate::supervisor) fn tell_if_overdue(&mut self) {
        if self.overdue.take_if(|at| *at <= Instant::now()).is_some() {
            tracing::warn!(
                "the new master (process {pid}) does not serve after {LONG:?}, and this one goes on\n  hint: \
                 `kill {pid}` gives it up",
                pid = self.pid
            );
        }
    }

    /// Ends it.
    pub(in crate::supervisor) fn give_up(self) {
        send(self.pid, Signal::TERM);
    }
}

/// Waits until a new master serves; for ever without one.
pub(in crate::supervisor) async fn serves(upgrade: Option<&mut Upgrade>) {
    match upgrade {
        Some(upgrade) => upgrade.ready().await,
        None => std::future::pending().await,
    }
}
