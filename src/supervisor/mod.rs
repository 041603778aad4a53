//! The processes: a master that never runs an application, a mold that imports it once, workers that serve.
//!
//! # Layout
//! - [`serve`]: what `spile serve` does; binds, then lets `master` or `native` run.
//! - `master`: keeps as many workers as were asked for.
//! - `mold`: starts the Python process that imports the applications and forks.
//! - `channel`: what the three say to each other.
//! - `worker`: a worker's runtime, between its fork and its end.
//! - `backoff`: how long to wait for a worker that keeps dying.
//! - `signals`: the signals that ask for a stop.
//! - `watch`: files whose change asks for a reload.
//! - `admin`: what an operator's programs ask by: the `control` socket, and the `exporter` for Prometheus.
//! - `files`: what the server is found by, should somebody remove it.
//! - `notify`: what systemd is told.
//! - `activation`: sockets that systemd, or the master before an upgrade, has made.
//! - `cure`: what to do about what can go wrong.
//! - `credentials`: the certificate and the key of TLS, and how the processes that serve come by them.
//! - `first`: the first process of a container, after an upgrade.
//! - `found_limit`: how many files applications may open.
//! - `handover`: how one master hands its sockets to the next.
//! - `closed`: unix sockets that only their owner may connect to.
//! - `privileges`: the user and group that the processes run as.
//! - `sandbox`: what applications may do to the rest of the system.
//! - `pidfile`: the master's process id, for others to find.
//! - `kept`: options that a reload leaves as they were.
//! - `native`: serving without Python, in one process.
//! - `listening`: the sockets of an address, of which a host name has several.
//! - `listen_queue`: how many connections wait to be accepted.
//! - `scaler`: how many workers there should be, when that depends on the load.
//! - [`scoreboard`]: what each worker does and has done, in memory that all of them share.

mod activation;
mod admin;
mod backoff;
mod channel;
mod closed;
mod control;
mod credentials;
mod cure;
mod exporter;
mod files;
mod first;
mod found_limit;
mod generation;
mod handover;
mod kept;
mod ledger;
mod listen_queue;
mod listening;
mod master;
mod mold;
mod native;
mod notify;
mod pidfile;
mod prepare;
mod privileges;
mod process;
mod requests;
mod sandbox;
mod scaler;
pub mod scoreboard;
mod signals;
mod tally;
mod upgrade;
mod watch;
mod worker;

use std::{ffi::OsString, io, path::PathBuf, process::ExitStatus};

use thiserror::Error;

use crate::{
    config::{Config, InterpreterError, Mistake, ProbeError, ResolveError},
    observe::log,
    server::{AllowFrom, BindError, Limits},
};

use rustix::{
    fs::Mode,
    process::{Resource, getrlimit},
};

pub use activation::{ActivationError, Unfit};
pub use channel::{Inherited, Order, Report, Setup, Why};
pub(crate) use closed::{CLOSED_CURE, closed_to_others};
pub use credentials::CredentialsError;
pub(crate) use credentials::{doubts, read as read_credentials};
pub use native::handler as native_handler;
pub(crate) use pidfile::check_pidfile;
pub(crate) use prepare::{PUBLIC, PUBLIC_CURE};
pub(crate) use privileges::Identity;
pub use privileges::PrivilegeError;
use process::described;
pub(crate) use sandbox::Sandbox;
pub use sandbox::SandboxError;
pub(crate) use signals::unblock as unblock_signals;
pub use watch::WatchError;
pub use worker::WorkerRuntime;

/// Serves what the configuration says until a signal stops it: TERM lets requests finish, INT and QUIT do not.
///
/// # Errors
/// See [`SupervisorError`].
pub fn serve(launch: Launch) -> Result<Ending, SupervisorError> {
    let config = &launch.config;
    if let Some(umask) = config.umask {
        rustix::process::umask(Mode::from_raw_mode(umask.bits()));
    }
    if config.python_apps().next().is_some() {
        log::name_process("master");
    }
    log::init(config.log_format, config.log_level);
    tracing::info!("spile {}", env!("CARGO_PKG_VERSION"));
    for doubt in &launch.doubts {
        tracing::warn!(cure = doubt.cure, "{doubt}");
    }
    if config.python_apps().next().is_some() {
        master::run(launch)
    } else {
        native::run(&launch)
    }
}

/// What is served, and how to come by it again.
pub struct Launch {
    /// The configuration.
    pub config: Config,
    /// What may be a mistake in it: the log says so.
    pub doubts: Vec<Mistake>,
    /// Reads the configuration again, for a reload.
    pub reload: Box<dyn Fn() -> Result<Config, Vec<Mistake>>>,
    /// The command that starts this program again, with all its arguments, for an upgrade.
    pub command: Vec<OsString>,
    /// The directory it was started in, by a name that may lead to another one by then.
    pub directory: PathBuf,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every request was answered.
    Finished,
    /// Some were cut off: the graceful time-out was over, or a quick stop was asked for.
    CutOff,
}

/// Why nothing can be served, or no more.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// A socket cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket cannot be made by the user that this process has become.
    #[error("{error}, as {user}")]
    NotRoot {
        /// What the system refused.
        error: BindError,
        /// Who this process is.
        user: String,
    },
    /// The control socket that was asked for cannot be made.
    #[error("no control socket: {0}")]
    Control(#[source] BindError),
    /// The metrics cannot be answered where it was asked for.
    #[error("no metrics: {0}")]
    Metrics(#[source] BindError),
    /// `--socket-owner` names nobody.
    #[error(transparent)]
    Owner(#[from] ResolveError),
    /// The sockets that were passed cannot be used.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// TLS cannot be spoken with the files that were named.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// spile cannot become whom `--user` and `--group` name.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// What `--sandbox` asks for cannot be done.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// There is no Python to run.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The Python that is there will not do.
    #[error(transparent)]
    Python(#[from] ProbeError),
    /// The mold or a worker has said why it cannot serve the applications.
    #[error("{}", .0.what)]
    Application(Why),
    /// The mold has ended without a word before the applications were imported.
    #[error("the applications were not imported: the mold {}", process::described(*.status))]
    Import {
        /// How the mold ended.
        status: ExitStatus,
    },
    /// Workers end before they serve, and say nothing.
    #[error("new workers end before they serve: the last one, process {pid}, {}", process::described(*.status))]
    Stillborn {
        /// The last one.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// The mold has ended after the import, and no worker has served.
    #[error("no worker serves yet, and the mold {}", described(*.status))]
    Unserved {
        /// How the mold ended.
        status: ExitStatus,
    },
    /// The pid file cannot be written.
    #[error("cannot write the pid file {path}: {source}", path = path.display())]
    Pidfile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The pid file is there, and is something else.
    #[error("`{path}` holds something other than a process id", path = path.display())]
    NotAPidfile {
        /// The file.
        path: PathBuf,
    },
    /// Files cannot be watched for `--reload` or `--touch-reload`.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The master that has written the pid file runs.
    #[error("process {pid} runs with the pid file {path}", path = path.display())]
    Running {
        /// The file.
        path: PathBuf,
        /// What is in it.
        pid: String,
    },
    /// The memory that workers report in cannot be made.
    #[error("cannot share memory with the workers, by memfd_create(2): {0}")]
    SharedMemory(#[source] io::Error),
    /// The master that has come after this one, the first process of a container, has failed.
    #[error("the new master (process {pid}) {how}", how = described(*.status))]
    Successor {
        /// The master.
        pid: u32,
        /// How it has ended.
        status: ExitStatus,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl SupervisorError {
    /// Gives an I/O error its place.
    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Names the user who may not bind a socket, in place of root, who might.
    fn for_want_of_root(self, identity: Option<&Identity>) -> Self {
        match (self, identity) {
            (Self::Bind(error), Some(identity)) if error.is_forbidden() => Self::NotRoot {
                error,
                user: identity.described(),
            },
            (other, _) => other,
        }
    }
}

/// Three quarters of the files that this process may open: clients that say nothing are not to keep the application
/// from opening its own.
fn most_connections() -> usize {
    let files = getrlimit(Resource::Nofile).maximum;
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.map_or(usize::MAX, |files| (files - files / 4).max(1))
}

fn limits(config: &Config) -> Limits {
    Limits {
        allow_from: AllowFrom::new(config.allow_from.iter().copied()),
        vars_size: config.max_vars_size,
        vars: config.max_vars,
        body_size: Some(config.max_body).filter(|it| *it > 0),
        in_flight: config.max_in_flight.min(most_connections()),
        raise_open_files: true,
        read_timeout: config.read_timeout,
        graceful_timeout: config.graceful_timeout,
        request_timeout: Some(config.request_timeout).filter(|it| !it.is_zero()),
        ..Limits::default()
    }
}
