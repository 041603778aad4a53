//! The processes: a master that never runs an application, a mold that imports it once, workers that serve.
//!
//! # Layout
//! - [`serve`]: what `spile serve` does.
//! - `launch`: what a server is started with; `error`: what can go wrong, and what to do about it.
//! - `master`: keeps the applications served, and does as signals and operators' programs ask.
//! - `backend`: what serves: a mold and its workers for Python, this process for applications of spile's own.
//! - `worker`: what runs in a worker.
//! - `sockets`: sockets and pid file, made, taken over or handed on.
//! - `system`: users, permissions, processes, systemd.
//! - `stats`: what is counted, and where operators ask for it.
//! - `watch`: files whose change asks for a reload.

mod backend;
mod error;
mod launch;
mod master;
mod sockets;
mod stats;
mod system;
mod watch;
mod worker;

use rustix::fs::Mode;

use crate::observe::log;
use backend::{native::Native, python::Python};

pub use backend::{
    native::handler as native_handler,
    python::channel::{Inherited, Order, Report, Setup, Why},
};
pub use error::SupervisorError;
pub use launch::{Ending, Launch};
pub(crate) use sockets::{
    closed::{CLOSED_CURE, closed_to_others},
    pidfile::check_pidfile,
    prepare::{PUBLIC, PUBLIC_CURE},
};
pub use sockets::{
    inherited::{ActivationError, Unfit},
    pidfile::PidfileError,
};
pub use stats::scoreboard;
pub use system::{
    credentials::CredentialsError, privileges::PrivilegeError, sandbox::SandboxError,
};
pub(crate) use system::{
    credentials::{doubts, read as read_credentials},
    privileges::Identity,
    sandbox::Sandbox,
};
pub use watch::WatchError;
pub use worker::runtime::WorkerRuntime;
pub(crate) use worker::signals::unblock as unblock_signals;

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
        master::run::<Python>(launch)
    } else {
        master::run::<Native>(launch)
    }
}
