//! The input of a start, and the outcome of serving.

use std::{ffi::OsString, fmt, path::PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::{
    config::{Config, Mistake},
    server::{AllowFrom, Limits},
};

/// The configuration to serve, and the ways to read it and start the program again.
pub struct Launch {
    /// The configuration.
    pub config: Config,
    /// Likely mistakes in it, which the log names.
    pub doubts: Vec<Mistake>,
    /// Reads the configuration again, for a reload.
    pub reload: Box<dyn Fn() -> Result<Config, Vec<Mistake>>>,
    /// The command that starts this program again, with all its arguments, for an upgrade.
    pub command: Vec<OsString>,
    /// The directory it was started in, by a name that may lead to another one by then.
    pub directory: PathBuf,
}

impl fmt::Debug for Launch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Launch")
            .field("config", &self.config)
            .field("doubts", &self.doubts)
            .finish_non_exhaustive()
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

/// Three quarters of the files that this process may open: clients that say nothing are not to keep the application
/// from opening its own.
fn most_connections() -> usize {
    let files = getrlimit(Resource::Nofile).maximum;
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.map_or(usize::MAX, |files| (files - files / 4).max(1))
}

/// The limits of a server with this configuration.
pub(in crate::supervisor) fn limits(config: &Config) -> Limits {
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
