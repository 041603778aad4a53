//! Log lines about files that are there and cannot be opened. Clients can ask for them as often as they like.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::io::Errno;

/// So many lines are written in an [`INTERVAL`].
const LINES: u32 = 10;

const INTERVAL: Duration = Duration::from_secs(60);

/// Writes the lines, and keeps back those that are too many.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    since: Option<Instant>,
    lines: u32,
}

impl Complaints {
    /// Says why the file cannot be had, unless there is none. The error comes back, as one of a missing file where the
    /// client has asked for what no file can be.
    pub(super) fn about(&self, path: &Path, error: io::Error) -> io::Error {
        match Errno::from_io_error(&error) {
            // The name; a socket, or a device without a driver.
            Some(Errno::NAMETOOLONG | Errno::LOOP | Errno::NXIO) => {
                return io::ErrorKind::NotFound.into();
            }
            _ if is_usual(&error) => return error,
            _ => {}
        }
        if let Some(more) = self.room(Instant::now()) {
            let cure = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "let the user that spile runs as read the file and enter its directories"
                }
                _ => "see what the system is short of, such as file descriptors (ulimit -n)",
            };
            tracing::error!(cure, "cannot open {path:?}: {error}{more}");
        }
        error
    }

    /// Tells whether there may be one more line, and its end.
    fn room(&self, now: Instant) -> Option<&'static str> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |since| now.duration_since(since) >= INTERVAL;
        if said.since.is_none_or(is_over) {
            *said = Said {
                since: Some(now),
                lines: 0,
            };
        }
        said.lines = said.lines.saturating_add(1);
        match said.lines {
            ..LINES => Some(""),
            LINES => Some(" (no more such lines for a minute)"),
            _ => None,
        }
    }
}

/// Tells whether the path leads to no file: none is there, or it cannot be a path.
fn is_usual(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_few_lines_a_minute() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let lines = |at| (0..100).filter_map(|_| complaints.room(at)).count();
        assert_eq!(lines(start), 10);
        assert_eq!(lines(start + Duration::from_secs(59)), 0);
        assert_eq!(lines(start + Duration::from_secs(60)), 10);
    }
}
