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
//! - `host`: the program that the command line runs in, and its configuration.
//! - `outcome`: how a command ends, and what it says of that.
//!
//! Exit status: 0 when all went well or help was asked for; 1 when something failed while running; 2 for mistakes
//! in options or configuration.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::supervisor::unblock_signals;

mod args;
mod check;
mod control;
mod directory;
mod hints;
mod host;
mod outcome;
mod reload;
mod request;
mod serve;
mod stats;
#[cfg(feature = "top")]
mod top;

use args::{Cli, Command};
use host::load;
use outcome::fail;

pub use host::Host;
pub use outcome::Status;

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
