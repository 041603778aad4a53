//! The first process of a container, whose end is the container's end: after an upgrade it stays.
//!
//! It passes signals on to the master that serves, collects what has ended, and ends as that master does. How far it
//! is from being a master itself by then does not matter: another upgrade is that master's to make.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{self, ExitStatus},
};

use rustix::{
    pipe::PipeFlags,
    process::{Pid, Signal, test_kill_process},
};

use crate::supervisor::{
    error::SupervisorError,
    master::signals::{Request, Requests},
    system::process::{next_ended, send},
};

/// Whether this process is the first of its container.
pub(in crate::supervisor) fn is_first() -> bool {
    process::id() == 1
}

/// The masters that have come after the first process.
pub(in crate::supervisor) struct Successors {
    /// Each of them writes its process here once it serves.
    told: OwnedFd,
    tell: OwnedFd,
    /// The masters that run; the last of them serves.
    running: Vec<u32>,
    /// How the one that served last has ended.
    outcome: Option<(u32, ExitStatus)>,
}

impl Successors {
    /// # Errors
    /// The system refused a pipe.
    pub(in crate::supervisor) fn new() -> io::Result<Self> {
        let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            told,
            tell,
            running: Vec::new(),
            outcome: None,
        })
    }

    /// Returns the end of the pipe that a master inherits, for [`say_here`].
    pub(in crate::supervisor) fn tell(&self) -> BorrowedFd<'_> {
        self.tell.as_fd()
    }

    /// Adds a master that serves, and may have said so.
    pub(in crate::supervisor) fn add(&mut self, pid: u32) {
        self.hear();
        if !self.running.contains(&pid) {
            self.running.push(pid);
        }
    }

    /// Passes on to the master that serves what this process was asked by a signal.
    pub(in crate::supervisor) fn pass_on(&mut self, request: Request) {
        self.hear();
        if let (Some(signal), Some(&pid)) = (signal_of(request), self.running.last()) {
            send(pid, signal);
        }
    }

    /// Notes the end of a child, if it was a master.
    pub(in crate::supervisor) fn ended(&mut self, pid: u32, status: ExitStatus) {
        self.hear();
        if self.running.last() == Some(&pid) {
            self.outcome = Some((pid, status));
        }
        self.running.retain(|it| *it != pid);
    }

    /// Stays until the last master has ended.
    ///
    /// # Errors
    /// That master has failed.
    pub(in crate::supervisor) async fn keep(
        mut self,
        requests: &mut Requests,
    ) -> Result<(), SupervisorError> {
        while !self.are_gone() {
            match requests.next().await {
                Request::Child => self.reap(),
                request => self.pass_on(request),
            }
        }
        match self.outcome {
            Some((pid, status)) if !status.success() => {
                Err(SupervisorError::Successor { pid, status })
            }
            _ => Ok(()),
        }
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = next_ended() {
            self.ended(pid, status);
        }
    }

    /// Whether all have ended. One that another master has reaped is found missing here.
    fn are_gone(&mut self) -> bool {
        self.reap();
        self.hear();
        self.running.retain(|&pid| exists(pid));
        self.running.is_empty()
    }

    fn hear(&mut self) {
        let mut said = [0; 4];
        while let Ok(4) = rustix::io::read(&self.told, &mut said) {
            let pid = u32::from_ne_bytes(said);
            self.running.retain(|it| *it != pid);
            self.running.push(pid);
        }
    }
}

/// Tells the first process, by what was inherited of it, that this one serves.
pub(in crate::supervisor) fn say_here(tell: &OwnedFd) {
    // It has room for thousands.
    let _ = rustix::io::write(tell, &process::id().to_ne_bytes());
}

fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

fn signal_of(request: Request) -> Option<Signal> {
    Some(match request {
        Request::Stop => Signal::TERM,
        Request::StopAtOnce => Signal::QUIT,
        Request::Reload => Signal::HUP,
        Request::ReopenLogs => Signal::USR1,
        Request::Upgrade => Signal::USR2,
        Request::MoreWorkers => Signal::TTIN,
        Request::FewerWorkers => Signal::TTOU,
        Request::Child => return None,
    })
}
