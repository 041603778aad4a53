//! `spile stats`.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use serde_json::Value;

use super::{
    args::ControlArgs,
    control,
    outcome::{Status, say_error},
};
use crate::client::control::{Command, ask};

/// How long the server may take: its master never does anything for long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Prints the document.
pub(super) fn run(args: &ControlArgs) -> Status {
    let sockets = match control::sockets(args) {
        Ok(sockets) => sockets,
        Err(status) => return status,
    };
    // As it comes, for what another version of spile says is worth reading too.
    match ask::<Value>(&sockets, Command::Stats, PATIENCE) {
        Ok(stats) => match print(&stats) {
            Ok(()) => Status::Success,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::Failure,
            Err(error) => {
                let what = format!("cannot print: {}", crate::config::plain(&error));
                say_error(&what, "check where standard output goes");
                Status::Failure
            }
        },
        Err(error) => control::say(&error),
    }
}

fn print(stats: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        serde_json::to_writer_pretty(&mut out, stats)?;
    } else {
        serde_json::to_writer(&mut out, stats)?;
    }
    out.write_all(b"\n")?;
    out.flush()
}
