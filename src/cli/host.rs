//! The program that the command line runs in, and the configuration as that gives it.

use std::{ffi::OsString, path::PathBuf};

use crate::config::{Config, Layer, Loaded, Sources};

/// The program that runs this one.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The Python interpreter it is, `sys.executable`: the one to serve applications with unless another is asked
    /// for. `None` for the `spile` binary.
    pub python: Option<PathBuf>,
    /// The command that starts this program again, without its arguments: what an upgrade runs. Empty for the file
    /// that this process was started from.
    pub command: Vec<OsString>,
}

/// Reads the configuration, mistakes and all. Relative paths mean `directory`.
pub(super) fn load(command_line: Layer, host: &Host, directory: PathBuf) -> Loaded {
    Config::load(Sources {
        host_python: host.python.clone(),
        ..sources(command_line, directory)
    })
}

/// Says where the configuration is read from.
pub(super) fn sources(command_line: Layer, directory: PathBuf) -> Sources {
    Sources {
        command_line,
        environment: Layer::environment(std::env::vars_os()),
        directory,
        host_python: None,
    }
}
