//! `spile reload`.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{args::ControlArgs, control, outcome::Status};
use crate::client::control::{Command, Reloaded, ask};

/// An import takes as long as it takes: whoever waits may stop, and the reload goes on.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks for the reload and waits for its end.
pub(super) fn run(args: &ControlArgs) -> Status {
    let sockets = match control::sockets(args) {
        Ok(sockets) => sockets,
        Err(status) => return status,
    };
    match ask(&sockets, Command::Reload, PATIENCE) {
        Ok(Reloaded {
            generation,
            seconds,
        }) => {
            // When standard output is gone, so is whoever would read it.
            let _ = writeln!(
                io::stdout().lock(),
                "reloaded in {seconds:.2} s: generation {generation}"
            );
            Status::Success
        }
        Err(error) => control::say(&error),
    }
}
