//! spile's Python side: WSGI applications, and the extension module `spile._spile`.
//!
//! # Layout
//! - `wsgi`: a WSGI callable as a [`spile::app::BlockingApplication`].
//! - `worker`: what a worker process does from its fork to its end.
//! - `interrupt`: an exception in a thread whose request takes too long.
//! - `descriptor`: copies of what Python objects own.
//! - `gil`: letting go of the interpreter's lock around a wait.
//! - `process`: what Python's standard library has no call for.
//!
//! The Python package `spile` beside this crate holds the rest: the console script, the mold, and the finding of
//! applications.

mod descriptor;
mod gil;
mod interrupt;
mod process;
mod worker;
mod wsgi;

/// The extension module.
// Not tried without the interpreter's lock.
#[pyo3::pymodule(gil_used = true)]
mod _spile {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::process::end_with_parent;
    #[pymodule_export]
    use super::worker::Worker;
    #[pymodule_export]
    use super::wsgi::{FileWrapper, check_head};

    /// The version, the same as the package's.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Writes lines to the log, as spile's own are written: see `spile::observe::log::write_lines`.
    #[pyfunction]
    fn write_to_log(py: Python<'_>, lines: &str, process: &str, json: bool) {
        let format = if json {
            spile::config::LogFormat::Json
        } else {
            spile::config::LogFormat::Text
        };
        py.detach(|| spile::observe::log::write_lines(lines, Some(process), format));
    }

    /// Runs the command line and returns its exit status. `python` is the interpreter that serves Python
    /// applications unless the command line names another.
    #[pyfunction]
    fn main(
        py: Python<'_>,
        arguments: Vec<std::ffi::OsString>,
        python: Option<std::path::PathBuf>,
    ) -> u8 {
        let command = python.iter().flat_map(|python| {
            let begin = "import sys; sys.path = [it for it in sys.path if it]; \
                         from spile.__main__ import main; main()";
            [python.as_os_str().to_owned(), "-c".into(), begin.into()]
        });
        let host = spile::cli::Host {
            command: command.collect(),
            python,
        };
        py.detach(|| spile::cli::main_in(arguments, host).code())
    }
}
