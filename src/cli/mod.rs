//! The command line: what the `spile` binary and the Python wheel's console script share.
//!
//! # Layout
//!
//! - `args`: what can be written on it. The options of `serve` and `check` come from
//!   [`config::options`](crate::config::options).
//! - `hints`: what the options of other servers are called here.
//! - `serve`, `check`, `request`, `stats`, `reload`, `top`: one file or folder a subcommand.
//! - `control`: how the last three find the server.
//! - `directory`: what relative paths mean.
//!
//! Exit status: 0 when all went well or help was asked for; 1 when something failed while running; 2 for mistakes
//! in options or configuration.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Config, Layer, Loaded, LogFormat, Mistake, Sources};
use crate::observe::log;
use crate::supervisor::unblock_signals;

mod args;
mod check;
mod control;
mod directory;
mod hints;
mod reload;
mod request;
mod serve;
mod stats;
#[cfg(feature = "top")]
mod top;

use args::{Cli, Command};

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

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All went well, or a stop was asked for.
    Success,
    /// Something failed while it ran.
    Failure,
    /// There are mistakes in options or configuration.
    Mistake,
}

impl Status {
    /// The process's exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Mistake => 2,
        }
    }
}

/// Runs the command line: `args` with the program's name first. Never exits the process itself.
pub fn main<I>(args: I) -> ExitCode
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    ExitCode::from(main_in(args, Host::default()).code())
}

/// As [`main`], for a program that is not the `spile` binary.
pub fn main_in<I>(args: I, host: Host) -> Status
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(answer) => {
            let answer = hints::add(answer, &args);
            // Help that cannot be written has nowhere else to go.
            let _ = answer.print();
            return if answer.use_stderr() {
                Status::Mistake
            } else {
                Status::Success
            };
        }
    };
    unblock_signals();
    match cli.command {
        Command::Serve(options) => serve::run(options.0, &host, args),
        Command::Check(options) => match directory::of_the_start() {
            Ok(directory) => check::run(load(options.0, &host, directory)),
            Err(error) => fail(&error),
        },
        Command::Request(args) => request::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Reload(args) => reload::run(&args),
        #[cfg(feature = "top")]
        Command::Top(args) => top::run(args),
    }
}

fn load(command_line: Layer, host: &Host, directory: PathBuf) -> Loaded {
    Config::load(Sources {
        host_python: host.python.clone(),
        ..sources(command_line, directory)
    })
}

fn sources(command_line: Layer, directory: PathBuf) -> Sources {
    Sources {
        command_line,
        environment: Layer::environment(std::env::vars_os()),
        directory,
        host_python: None,
    }
}

fn fail(error: &io::Error) -> Status {
    let what = format!(
        "cannot start in the current directory: {}",
        crate::config::plain(error)
    );
    say_error(
        &what,
        "start spile in a directory that exists, that this user may read and whose path is UTF-8",
    );
    Status::Failure
}

/// Says the mistakes and gives the status for them.
fn refuse(mistakes: &[Mistake]) -> Status {
    for mistake in mistakes {
        say_error(&mistake.to_string(), &mistake.cure);
    }
    Status::Mistake
}

/// Says an error and what to do about it.
fn say_error(what: &str, cure: &str) {
    say("error", what, cure);
}

/// The same of what may be a mistake.
fn say_warning(what: &str, cure: &str) {
    say("warning", what, cure);
}

fn say(how: &str, what: &str, cure: &str) {
    let lines = format!("{how}: {what}\n  hint: {cure}\n");
    log::write_lines(&lines, None, LogFormat::Text);
}
