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
//! - `native`: serving without Python, in one process.
//! - `listen_queue`: how many connections wait to be accepted.
//! - `scaler`: how many workers there should be, when that depends on the load.
//! - [`scoreboard`]: what each worker does and has done, in memory that all of them share.

mod backoff;
mod channel;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the master does not look at it yet")
)]
mod listen_queue;
mod master;
mod mold;
mod native;
mod pidfile;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the master does not ask it yet")
)]
mod scaler;
pub mod scoreboard;
mod signals;
// Nobody watches yet.
#[cfg_attr(not(test), allow(dead_code))]
mod watch;
mod worker;

use std::{io, process::ExitStatus};

use thiserror::Error;

use crate::{
    config::{Config, InterpreterError, ProbeError, ResolveError, SocketAddress},
    observe::log,
    server::{BindError, Binding, Limits, Listener},
};

use pidfile::Pidfile;

pub use channel::{Inherited, Order, Report, Setup};
pub use native::handler as native_handler;
pub use watch::WatchError;
pub use worker::WorkerRuntime;

/// Serves what the configuration says until a signal stops it: TERM lets requests finish, INT and QUIT do not.
///
/// # Errors
/// See [`SupervisorError`].
pub fn serve(config: &Config) -> Result<Ending, SupervisorError> {
    if config.python_apps().next().is_some() {
        log::name_process("master");
    }
    log::init(config.log_format, config.log_level);
    tracing::info!("spile {}", env!("CARGO_PKG_VERSION"));
    if config.python_apps().next().is_some() {
        master::run(config)
    } else {
        native::run(config)
    }
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
    /// `--socket-owner` names nobody.
    #[error(transparent)]
    Owner(#[from] ResolveError),
    /// There is no Python to run.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The Python that is there will not do.
    #[error(transparent)]
    Python(#[from] ProbeError),
    /// The applications could not be imported; the mold has said why.
    #[error("the applications were not imported: the mold ended with {status}")]
    Import {
        /// How the mold ended.
        status: ExitStatus,
    },
    /// The pid file cannot be written.
    #[error("cannot write the pid file {path}: {source}", path = path.display())]
    Pidfile {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Files cannot be watched for `--reload` or `--touch-reload`.
    #[error(transparent)]
    Watch(#[from] WatchError),
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
}

/// Binds, says what is where, and writes the pid file.
fn prepare(config: &Config) -> Result<(Vec<Listener>, Option<Pidfile>), SupervisorError> {
    raise_descriptor_limit();
    let listeners = bind(config)?;
    for mount in &config.mounts {
        tracing::info!("mounted at {}: {}", mount.path(), mount.app);
    }
    let pidfile = config.pidfile.as_deref().map(Pidfile::write).transpose()?;
    Ok((listeners, pidfile))
}

fn bind(config: &Config) -> Result<Vec<Listener>, SupervisorError> {
    let owner = config
        .socket_owner
        .as_ref()
        .map(|owner| owner.resolve())
        .transpose()?;
    let mut listeners = Vec::new();
    for address in &config.sockets {
        let mut binding = Binding::new(address.clone());
        binding.mode = config.socket_mode.map(|mode| mode.bits());
        binding.owner = owner.unwrap_or_default();
        binding.backlog = config.backlog;
        let listener = Listener::bind(&binding)?;
        tracing::info!(
            "listening on {} (nginx: uwsgi_pass {};)",
            listener.address(),
            as_nginx_has_it(listener.address())
        );
        listeners.push(listener);
    }
    Ok(listeners)
}

/// nginx would take a relative path from a directory of its own.
fn as_nginx_has_it(address: &SocketAddress) -> SocketAddress {
    match address {
        SocketAddress::Unix(path) => {
            SocketAddress::Unix(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        SocketAddress::Tcp(..) => address.clone(),
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        vars_size: config.max_vars_size,
        in_flight: config.max_in_flight,
        read_timeout: config.read_timeout,
        graceful_timeout: config.graceful_timeout,
        request_timeout: Some(config.request_timeout).filter(|it| !it.is_zero()),
        ..Limits::default()
    }
}

/// Every connection is a descriptor, and the usual soft limit of 1024 is there for select(2) alone.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
