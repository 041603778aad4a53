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
//! - `activation`: sockets that systemd has made.
//! - `inherited`: what a process was given when it was started.
//! - `error`: what can go wrong, and what to do about it.
//! - `launch`: what a server is started with.
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
mod error;
mod exporter;
mod files;
mod first;
mod found_limit;
mod generation;
mod handover;
mod inherited;
mod kept;
mod launch;
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

use rustix::fs::Mode;

use crate::observe::log;

pub use channel::{Inherited, Order, Report, Setup, Why};
pub(crate) use closed::{CLOSED_CURE, closed_to_others};
pub use credentials::CredentialsError;
pub(crate) use credentials::{doubts, read as read_credentials};
pub use error::SupervisorError;
pub use inherited::{ActivationError, Unfit};
pub use launch::{Ending, Launch};
pub use native::handler as native_handler;
pub use pidfile::PidfileError;
pub(crate) use pidfile::check_pidfile;
pub(crate) use prepare::{PUBLIC, PUBLIC_CURE};
pub(crate) use privileges::Identity;
pub use privileges::PrivilegeError;
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
