//! One line a request: in the formats that web servers write, in one of the operator's, or as a JSON object.

mod line;
mod output;
mod writer;

use std::{
    cell::RefCell,
    fmt,
    fs::OpenOptions,
    io,
    os::unix::fs::fchown,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{
    config::{self, Config},
    server::{Answered, Observer},
};
use line::Line;
use output::Output;
use writer::Writer;

/// Writes a line for each request, on a thread of its own.
///
/// The thread that answered makes the line and leaves it in a queue; it never waits for the disk. When the queue is
/// full, lines are dropped and counted.
pub struct AccessLog {
    line: Line,
    writer: Writer,
}

impl AccessLog {
    /// How long the end of a process may wait for [`AccessLog::flush`].
    pub const AT_THE_END: Duration = writer::AT_THE_END;

    /// Tells whether this process may write to the log that the configuration asks for.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn try_open(log: &config::AccessLog) -> io::Result<()> {
        output(log).map(drop)
    }

    /// Opens the log that the configuration asks for; `None` when it is off. Several processes may append to one
    /// file: no line of theirs is torn. It has to be called after a fork: it starts a thread.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread not be started.
    pub fn open(config: &Config) -> io::Result<Option<Self>> {
        let Some(output) = output(&config.access_log)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            line: Line::new(config.access_log_format.as_ref(), config.log_format),
            writer: Writer::start(output)?,
        }))
    }

    /// Makes a file that is not there yet, for this user and group if they are given. Who may make files in its
    /// directory does so before becoming a user who may not.
    ///
    /// # Errors
    /// The file cannot be made, or not be given away.
    pub fn make_file(path: &Path, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let made = OpenOptions::new().append(true).create_new(true).open(path);
        match made.and_then(|file| fchown(&file, user, group)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(naming(path)(error)),
            _ => Ok(()),
        }
    }

    /// Opens the file anew by its path, after what is queued has been written to the old one. It returns at once.
    /// If the file cannot be opened, the old one is kept and the log says so. A descriptor stays as it is.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// Waits until what is queued is written, but no longer than `patience`; whether it is written.
    ///
    /// To be called before a process ends, since lines may be queued for a moment.
    pub fn flush(&self, patience: Duration) -> bool {
        self.writer.flush(patience)
    }

    /// How many lines were lost: dropped because the disk was slow, or refused by it.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.lost()
    }
}

fn output(log: &config::AccessLog) -> io::Result<Option<Output>> {
    Ok(Some(match log {
        config::AccessLog::Off => return Ok(None),
        config::AccessLog::Stdout => Output::stdout()?,
        config::AccessLog::Descriptor(path, fd) => {
            Output::descriptor(*fd, path).map_err(naming(path))?
        }
        config::AccessLog::File(path) => Output::file(path).map_err(naming(path))?,
    }))
}

/// Says which file it was: an [`io::Error`] does not.
fn naming(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Observer for AccessLog {
    fn answered(&self, answered: &Answered<'_>) {
        thread_local! {
            static MADE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        MADE.with_borrow_mut(|made| {
            made.clear();
            self.line.write(answered, SystemTime::now(), made);
            self.writer.push(made);
            made.shrink_to(LINE_KEPT);
        });
    }
}

/// What a thread keeps for its next line: enough for nearly all of them, in bytes.
const LINE_KEPT: usize = 4096;

impl fmt::Debug for AccessLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AccessLog").finish_non_exhaustive()
    }
}
