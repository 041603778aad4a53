//! What spile was asked to do: one typed [`Config`].
//!
//! Values come in layers, each replacing the one before it, option by option: the defaults, the file
//! named by `--config`, the environment (`SPILE_…`), the command line. An option that may be repeated
//! is replaced as a whole, never joined.
//!
//! # Layout
//!
//! - [`options`]: the table of all options, from which the command line, the variables and the file's keys come.
//! - `layer`, `environment`, `file`: values as text, with the place each came from; `list`: several in one text.
//! - `foreign`: the options of other servers, and what they are here.
//! - `reader`: lays them over one another, parses one option's values, and collects every [`Mistake`].
//! - `env_file`: the file of variables that `--env-file` names.
//! - `load`: which options there are, and how they hang together; `loaded`: what they come from, and what comes of
//!   them.
//! - `address`, `socket_mode`, `tls`, `owner`, `app`, `python_app`, `mount`, `log`, `number`, `value`: the types, each with
//!   its parser. `app_kind` knows the URLs of applications, `app_error` what can be wrong with their names.
//! - `near`: what a misspelt word was to be.
//! - `control`: where the control socket is.
//! - `python`: which interpreter runs the Python applications.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod access_log_format;
mod address;
mod app;
mod app_error;
mod app_kind;
#[cfg(feature = "cli")]
mod control;
mod env_file;
mod environment;
mod file;
pub(crate) mod foreign;
mod layer;
mod list;
mod load;
mod loaded;
mod log;
mod mistake;
mod mount;
mod near;
mod number;
pub mod options;
mod owner;
mod python;
mod python_app;
mod reader;
mod seconds;
mod socket_mode;
mod tls;
mod value;

#[cfg(feature = "cli")]
pub(crate) use crate::address::is_public;
pub use crate::address::{AddressError, Network, NetworkError, SocketAddress};
#[cfg(feature = "cli")]
pub(crate) use crate::plain::plain;
pub use access_log_format::{AccessLogFormat, AccessLogFormatError, FormatString, LogPart};
pub use app::AppSpec;
pub use app_error::AppError;
#[cfg(feature = "cli")]
pub use control::ControlPath;
pub use layer::{Given, Layer};
pub use loaded::{Loaded, Origins, Sources};
pub use log::{AccessLog, LogFormat, LogLevel, WordError, descriptor};
pub use mistake::{Cure, Mistake, Place};
pub use mount::{Mount, MountOptionError};
pub use number::NumberError;
#[cfg(feature = "cli")]
pub(crate) use number::seconds;
#[cfg(feature = "cli")]
pub use owner::ResolveError;
pub use owner::{Owner, OwnerError};
#[cfg(feature = "cli")]
pub(crate) use owner::{group_id, user_entry, user_id};
pub use python::{Found, Interpreter, InterpreterError, Probe, ProbeError};
pub use python_app::{Callable, PythonApp, PythonTarget};
pub use socket_mode::{ModeError, SocketMode};
pub use tls::TlsFiles;

/// Everything `spile serve` needs to know.
///
/// Paths are absolute, except those of unix sockets: these stay as they were written, because a
/// socket's path may be 107 bytes at most and a short relative one may be the only one that fits.
/// They mean the directory spile was started in, so the process that binds must not have left it.
///
/// Serialised, durations are seconds, and addresses, modes, owners and log targets are the text an
/// option takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The applications and where each is mounted; APP first, at the root. Never empty, no prefix twice.
    pub mounts: Vec<Mount>,
    /// Where to listen. Never empty.
    pub sockets: Vec<SocketAddress>,
    /// Whether `sockets` is the default: then sockets that systemd passes take its place.
    pub default_socket: bool,
    /// Permissions of unix sockets; `None` leaves what the umask gives.
    pub socket_mode: Option<SocketMode>,
    /// Owner and group of unix sockets; `None` leaves them as created.
    pub socket_owner: Option<Owner>,
    /// Whose connections are taken over TCP; empty for everybody's.
    pub allow_from: Vec<Network>,
    /// Length of each socket's listen queue. The kernel lowers it to `net.core.somaxconn`.
    pub backlog: u32,
    /// What TCP sockets speak TLS with; without, they do not.
    pub tls: Option<TlsFiles>,
    /// Worker processes, at least 1; with `workers_max` those to begin with.
    pub workers: usize,
    /// The fewest workers, when their number follows the load.
    pub workers_min: usize,
    /// The most workers. Their number follows the load when it is more than `workers_min`.
    pub workers_max: usize,
    /// Threads a worker runs Python on, at least 1.
    pub threads: usize,
    /// The directory applications run in. A relative APP, `--mount` or `--pythonpath` means it.
    pub chdir: PathBuf,
    /// Directories searched for modules before `chdir`.
    pub pythonpath: Vec<PathBuf>,
    /// The virtual environment to serve Python from.
    pub venv: Option<PathBuf>,
    /// The interpreter asked for by `--python`.
    pub python: Option<PathBuf>,
    /// The interpreter spile itself was started by, when it comes from the wheel.
    pub host_python: Option<PathBuf>,
    /// Variables added to the applications' process environment.
    pub env: BTreeMap<String, String>,
    /// The files that some of them come from.
    pub env_files: Vec<PathBuf>,
    /// Whether each worker imports the applications itself.
    pub lazy: bool,
    /// Paths that are requested in the mold before it forks.
    pub warmup: Vec<String>,
    /// Whether to reload when the source of an imported module changes.
    pub reload: bool,
    /// Files to reload for when they are touched.
    pub touch_reload: Vec<PathBuf>,
    /// Where the master writes its process id.
    pub pidfile: Option<PathBuf>,
    /// The control socket asked for by `--control`.
    pub control: Option<PathBuf>,
    /// The user to become once the sockets are bound.
    pub user: Option<String>,
    /// The group to become.
    pub group: Option<String>,
    /// The umask to set.
    pub umask: Option<SocketMode>,
    /// Whether applications may write to a few places only.
    pub sandbox: bool,
    /// Files and directories that they may write to then.
    pub sandbox_write: Vec<PathBuf>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least important messages to log.
    pub log_level: LogLevel,
    /// Where one line a request goes.
    pub access_log: AccessLog,
    /// How such a line looks; `None` leaves it to `log_format`.
    pub access_log_format: Option<AccessLogFormat>,
    /// Where Prometheus is answered.
    pub metrics: Option<SocketAddress>,
    /// The time a client may take to send its request: the variables, and each wait for more of the body.
    #[serde(with = "seconds")]
    pub read_timeout: Duration,
    /// The time running requests get to finish after a request to stop.
    #[serde(with = "seconds")]
    pub graceful_timeout: Duration,
    /// The time an application may take to answer; zero for any.
    #[serde(with = "seconds")]
    pub request_timeout: Duration,
    /// How long a worker may live; zero for ever.
    #[serde(with = "seconds")]
    pub max_worker_lifetime: Duration,
    /// Requests after which a worker is replaced; 0 for none.
    pub max_requests: u64,
    /// How many more, at most, for each worker at random.
    pub max_requests_jitter: u64,
    /// Resident memory beyond which a worker is replaced, in MiB; 0 for none.
    pub max_rss: u64,
    /// Resident memory beyond which a worker is killed, in MiB; 0 for none.
    pub max_rss_kill: u64,
    /// The largest block of variables taken, in bytes; 65535 at most, the protocol's own limit.
    pub max_vars_size: usize,
    /// The most variables of a request.
    pub max_vars: usize,
    /// The largest body of a request, in bytes; 0 for any.
    pub max_body: u64,
    /// Connections a worker holds at the same time, at least 1.
    pub max_in_flight: usize,
}

impl Config {
    /// Where `spile serve` listens, and `spile request` asks, when no address is given.
    pub const DEFAULT_SOCKET: &'static str = "127.0.0.1:3031";

    /// Returns the directories Python applications are looked for in before the interpreter's own `sys.path`, in order:
    /// `--pythonpath`, then `--chdir`.
    pub fn search_path(&self) -> impl Iterator<Item = &PathBuf> {
        self.pythonpath.iter().chain(std::iter::once(&self.chdir))
    }

    /// Tells whether whoever reaches a TCP socket is served: neither are their networks named nor is a certificate
    /// asked for.
    #[cfg(feature = "cli")]
    pub(crate) fn takes_anybody(&self) -> bool {
        let asks = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        self.allow_from.is_empty() && !asks
    }

    /// Tells whether the number of workers follows the load.
    #[must_use]
    pub fn is_adaptive(&self) -> bool {
        self.workers_max > self.workers_min
    }

    /// Returns the Python applications among the mounts. When there is none, nothing needs an interpreter.
    pub fn python_apps(&self) -> impl Iterator<Item = &PythonApp> {
        self.mounts.iter().filter_map(|mount| match &mount.app {
            AppSpec::Wsgi(app) => Some(app),
            _ => None,
        })
    }
}

impl Default for Config {
    /// One worker with one thread on [`Config::DEFAULT_SOCKET`], no application yet, in the root directory.
    fn default() -> Self {
        Self {
            mounts: Vec::new(),
            sockets: vec![SocketAddress::Tcp("127.0.0.1".to_owned(), 3031)],
            default_socket: true,
            socket_mode: None,
            socket_owner: None,
            allow_from: Vec::new(),
            backlog: 4096,
            tls: None,
            workers: 1,
            workers_min: 1,
            workers_max: 1,
            threads: 1,
            chdir: PathBuf::from("/"),
            pythonpath: Vec::new(),
            venv: None,
            python: None,
            host_python: None,
            env: BTreeMap::new(),
            env_files: Vec::new(),
            lazy: false,
            warmup: Vec::new(),
            reload: false,
            touch_reload: Vec::new(),
            pidfile: None,
            control: None,
            user: None,
            group: None,
            umask: None,
            sandbox: false,
            sandbox_write: Vec::new(),
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            access_log: AccessLog::Off,
            access_log_format: None,
            metrics: None,
            read_timeout: Duration::from_secs(60),
            graceful_timeout: Duration::from_secs(30),
            request_timeout: Duration::ZERO,
            max_worker_lifetime: Duration::ZERO,
            max_requests: 0,
            max_requests_jitter: 0,
            max_rss: 0,
            max_rss_kill: 0,
            max_vars_size: 65535,
            max_vars: 1024,
            max_body: 0,
            max_in_flight: 16384,
        }
    }
}
