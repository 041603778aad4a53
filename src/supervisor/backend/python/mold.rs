//! The Python process that imports the applications and forks workers.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustix::{io::FdFlags, process::Signal};
use tokio::time::Instant;

use super::channel::{Channel, Inherited, Order, Report, Setup};
use crate::{
    config::{Config, Interpreter},
    server::Listener,
    supervisor::{
        error::SupervisorError,
        sockets::inherited,
        stats::scoreboard::Scoreboard,
        system::{
            credentials::SealedCredentials,
            open_files::with_found,
            privileges,
            process::send,
            sandbox::{self, Parent, Sandbox},
            systemd,
        },
    },
};

/// How long a mold may take to run what the import has registered for its end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The interpreter and the descriptors that a mold is started with.
#[derive(Clone)]
pub(in crate::supervisor) struct Inheritance {
    pub(in crate::supervisor) interpreter: Rc<Interpreter>,
    pub(in crate::supervisor) listeners: Vec<Arc<Listener>>,
    /// The certificate and the key of the listeners.
    pub(in crate::supervisor) credentials: Option<Rc<SealedCredentials>>,
    /// The end of the pipe that shows when the master has gone.
    pub(in crate::supervisor) lifeline: Rc<OwnedFd>,
}

/// A mold, and the channel to it and to the workers it has forked.
pub(in crate::supervisor) struct Mold {
    pid: u32,
    /// Dropped, it tells the mold to end.
    channel: Option<Channel>,
    /// Orders that it had no room for.
    unsent: VecDeque<Order>,
    deadline: Option<Instant>,
    /// With `--sandbox`, the thread that has started it.
    _parent: Option<Parent>,
}

impl Mold {
    /// Starts one. It reports [`Report::Imported`] when it can fork. `replaces` is [`Setup::replaces`].
    pub(in crate::supervisor) async fn start(
        config: &Config,
        inheritance: &Inheritance,
        scoreboard: &Scoreboard,
        replaces: bool,
    ) -> Result<Self, SupervisorError> {
        let Inheritance {
            interpreter,
            listeners,
            credentials,
            lifeline,
        } = inheritance;
        let (channel, theirs) =
            Channel::pair().map_err(SupervisorError::io("cannot make a channel"))?;
        let mut inherited = vec![theirs.as_fd(), lifeline.as_fd(), scoreboard.as_fd()];
        inherited.extend(credentials.iter().map(|credentials| credentials.as_fd()));
        inherited.extend(listeners.iter().map(|listener| listener.as_fd()));
        for fd in &inherited {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())
                .map_err(io::Error::from)
                .map_err(SupervisorError::io("cannot hand a socket on"))?;
        }
        let mut command = Command::new(&interpreter.path);
        for name in systemd::VARIABLES.iter().chain(&inherited::VARIABLES) {
            command.env_remove(name);
        }
        let sandbox = Sandbox::of(config);
        if let Some(sandbox) = &sandbox {
            // Named, so that nobody looks for another place: SQLite would take /var/tmp.
            command.env(sandbox::TEMPORARY, sandbox.temporary());
        }
        command
            // Not with -m: the application's directory may have a module named like one of Python's.
            .args([
                "-c",
                "import sys; sys.path = [it for it in sys.path if it]; from spile._mold import main; main()",
            ])
            .arg(theirs.as_raw_fd().to_string())
            .envs(privileges::environment(config))
            .envs(&config.env)
            .stdin(Stdio::null())
            // A Ctrl-C in the terminal is the master's to act on.
            .process_group(0);
        // The directory of the start may have been removed, and nothing of it be needed.
        if config.chdir.is_dir() {
            command.current_dir(&config.chdir);
        }
        let started = spawn(command, sandbox.as_ref());
        for fd in &inherited {
            // Only molds are started from here, so a flag that stays off would hurt nobody.
            let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
        let (child, parent) = started?;
        let setup = Setup {
            config: config.clone(),
            listeners: listeners
                .iter()
                .map(|listener| Inherited {
                    fd: listener.as_raw_fd(),
                    address: listener.address().clone(),
                })
                .collect(),
            credentials: credentials.as_ref().map(|it| it.as_fd().as_raw_fd()),
            lifeline: lifeline.as_raw_fd(),
            scoreboard: scoreboard.as_fd().as_raw_fd(),
            slots: scoreboard.layout().slots,
            replaces,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        channel
            .send(&setup)
            .await
            .map_err(SupervisorError::io("cannot tell the mold what to do"))?;
        Ok(Self {
            // It is waited for with all other children.
            pid: child.id(),
            channel: Some(channel),
            unsent: VecDeque::new(),
            deadline: None,
            _parent: parent,
        })
    }

    pub(in crate::supervisor) fn pid(&self) -> u32 {
        self.pid
    }

    /// Has one more worker forked.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it has to be heard first.
    pub(in crate::supervisor) fn fork(&self, worker: usize, slot: usize) -> io::Result<()> {
        self.try_send(&Order::Fork { worker, slot })
    }

    /// Has it close the sockets: it forks no more.
    pub(in crate::supervisor) fn release(&mut self) {
        self.unsent.push_back(Order::Release);
        self.flush();
    }

    /// Has it close what the application itself listens on. [`Report::Parted`] follows.
    ///
    /// # Errors
    /// As [`Self::fork`].
    pub(in crate::supervisor) fn part(&self) -> io::Result<()> {
        self.try_send(&Order::Part)
    }

    /// The next thing that the mold or a worker says. Pending, too, when nobody is left to say anything: the ends of
    /// processes are seen elsewhere.
    pub(in crate::supervisor) fn poll_report(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Report>> {
        match &self.channel {
            Some(channel) => channel.poll_report(context),
            None => Poll::Pending,
        }
    }

    /// Reads the reports that wait in the channel.
    pub(in crate::supervisor) fn unheard(&self) -> Vec<Report> {
        let next = || self.channel.as_ref()?.try_report().ok().flatten();
        std::iter::from_fn(next).collect()
    }

    /// Ends it: it sees the end of the channel and runs what the import has registered for its end, in bounded time.
    pub(in crate::supervisor) fn end(&mut self) {
        if self.channel.take().is_some() {
            self.end_within(Duration::ZERO);
        }
    }

    /// Has it killed if it has not ended in this time and what it may take for its own end, or before if that was
    /// said before.
    pub(in crate::supervisor) fn end_within(&mut self, time: Duration) {
        let deadline = Instant::now() + time + PATIENCE;
        self.deadline = Some(self.deadline.map_or(deadline, |it| it.min(deadline)));
    }

    /// Returns the channel when the mold has ended: its workers have the other end.
    pub(in crate::supervisor) fn into_channel(self) -> Option<Channel> {
        self.channel
    }

    /// Ends it at once.
    pub(in crate::supervisor) fn kill(&self) {
        send(self.pid, Signal::KILL);
    }

    /// When it is killed, if it has not ended by then.
    pub(in crate::supervisor) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Has a time in which the master did not run count for nothing.
    pub(in crate::supervisor) fn leave_out(&mut self, frozen: Duration) {
        self.deadline = self.deadline.map(|it| it + frozen);
    }

    pub(in crate::supervisor) fn kill_if_due(&mut self) {
        self.flush();
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            self.deadline = None;
            self.kill();
        }
    }

    fn flush(&mut self) {
        while let Some(order) = self.unsent.front() {
            match self.try_send(order) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A mold that cannot be told has gone, and its copies with it.
                _ => self.unsent.pop_front(),
            };
        }
    }

    fn try_send(&self, order: &Order) -> io::Result<()> {
        match &self.channel {
            Some(channel) => channel.try_send(order),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Asks the interpreter whether it will do, in the sandbox too.
pub(in crate::supervisor) fn probe(
    interpreter: &Interpreter,
    config: &Config,
) -> Result<(), SupervisorError> {
    let probe = || interpreter.probe(config)?.verify(interpreter);
    match Sandbox::of(config) {
        Some(sandbox) => sandbox.run(probe)?.0?,
        None => probe()?,
    }
    Ok(())
}

/// Starts the interpreter, in the sandbox from its first instruction: packages of a virtual environment may run code
/// before anything is imported.
fn spawn(
    mut command: Command,
    sandbox: Option<&Sandbox>,
) -> Result<(Child, Option<Parent>), SupervisorError> {
    let failed = SupervisorError::io("cannot start the Python interpreter");
    let Some(sandbox) = sandbox else {
        return Ok((with_found(|| command.spawn()).map_err(failed)?, None));
    };
    let (started, gap, parent) = sandbox.start(move || with_found(|| command.spawn()))?;
    let child = started.map_err(failed)?;
    match gap {
        Some(gap) => gap.warn(),
        None => tracing::info!("sandbox: writing is allowed to {}", sandbox.described()),
    }
    Ok((child, Some(parent)))
}
