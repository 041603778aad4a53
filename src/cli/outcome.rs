//! How a command ends, and what it says of that on standard error.

use std::io;

use crate::{
    config::{self, LogFormat, Mistake},
    observe::log,
};

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
    /// Returns the process's exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Mistake => 2,
        }
    }
}

/// Says why there is no directory to start in.
pub(super) fn fail(error: &io::Error) -> Status {
    let what = format!(
        "cannot start in the current directory: {}",
        config::plain(error)
    );
    say_error(
        &what,
        "start spile in a directory that exists, that this user may read and whose path is UTF-8",
    );
    Status::Failure
}

/// Says the mistakes and gives the status for them.
pub(super) fn refuse(mistakes: &[Mistake]) -> Status {
    for mistake in mistakes {
        say_error(&mistake.to_string(), &mistake.cure);
    }
    Status::Mistake
}

/// Says an error and what to do about it.
pub(super) fn say_error(what: &str, cure: &str) {
    say("error", what, cure);
}

/// Says what may be a mistake, and what to do about it.
pub(super) fn say_warning(what: &str, cure: &str) {
    say("warning", what, cure);
}

fn say(how: &str, what: &str, cure: &str) {
    let lines = format!("{how}: {what}\n  hint: {cure}\n");
    log::write_lines(&lines, None, LogFormat::Text);
}
