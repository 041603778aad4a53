//! Standard error, where what is said must not wait for ever.
//!
//! A pipe that nobody reads is full at some time, and write(2) waits then. So into pipes and sockets goes what there is
//! room for: a line waits for [`PATIENCE`], and while there is still no room the next ones are dropped at once, and
//! counted. Others have the descriptor as well, so it is not made non-blocking: that would hold for them too. Files and
//! terminals are written to as ever.

use std::{
    io::{self, IoSlice, Write},
    os::fd::{AsFd, BorrowedFd},
    process,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat},
    io::{Errno, ReadWriteFlags, pwritev2, retry_on_intr},
    net::{SendFlags, send},
};

/// How long the first line waits for a reader that is behind.
const PATIENCE: Duration = Duration::from_secs(1);
/// So much fits into a pipe that poll(2) calls writable (PIPE_BUF of pipe(7) on Linux).
const PIPE_BUF: usize = 4096;

/// Writes whole lines, or drops and counts them. `note` makes the line that tells of so many dropped ones: it comes
/// before the next one for which there is room.
///
/// # Errors
/// The system refuses to write, as on a full disk.
pub(super) fn write(lines: &str, note: impl FnOnce(u64) -> String) -> io::Result<()> {
    let stderr = io::stderr();
    let Some(kind) = Kind::of(stderr.as_fd()) else {
        return stderr.lock().write_all(lines.as_bytes());
    };
    let mut outlet = OUTLET.lock().unwrap_or_else(PoisonError::into_inner);
    outlet.of_this_process();
    outlet.write(stderr.as_fd(), kind, lines, note)
}

static OUTLET: Mutex<Outlet> = Mutex::new(Outlet::NEW);

/// What fills up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipe,
    Socket,
}

impl Kind {
    /// `None` for what takes everything or refuses it.
    fn of(fd: BorrowedFd<'_>) -> Option<Self> {
        match FileType::from_raw_mode(fstat(fd).ok()?.st_mode) {
            FileType::Fifo => Some(Self::Pipe),
            FileType::Socket => Some(Self::Socket),
            _ => None,
        }
    }

    /// Writes what there is room for; the descriptor is writable.
    fn write(self, fd: BorrowedFd<'_>, text: &[u8]) -> rustix::io::Result<usize> {
        if self == Self::Socket {
            return send(fd, text, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        // In one piece if it fits, so that lines of other processes do not come in between.
        match pwritev2(fd, &[IoSlice::new(text)], u64::MAX, ReadWriteFlags::NOWAIT) {
            // Linux before 6.4. Another process may fill the pipe first, and this one waits.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                rustix::io::write(fd, first_piece(text))
            }
            written => written,
        }
    }
}

/// Whole lines if possible, and never more than fits.
fn first_piece(text: &[u8]) -> &[u8] {
    let Some(piece) = text.get(..PIPE_BUF) else {
        return text;
    };
    let end = piece.iter().rposition(|byte| *byte == b'\n');
    end.and_then(|end| piece.get(..=end)).unwrap_or(piece)
}

/// What is known of standard error.
#[derive(Debug)]
struct Outlet {
    process: u32,
    /// A line has waited for room in vain, and there has been none since.
    full: bool,
    /// Part of a line was written, and no more.
    torn: bool,
    /// Lines that were dropped and not told of yet.
    lost: u64,
}

impl Outlet {
    const NEW: Self = Self {
        process: 0,
        full: false,
        torn: false,
        lost: 0,
    };

    /// A process that was forked has lost nothing yet: its parent tells of what is its own.
    fn of_this_process(&mut self) {
        let process = process::id();
        if self.process != process {
            *self = Self {
                process,
                full: self.full,
                ..Self::NEW
            };
        }
    }

    fn write(
        &mut self,
        fd: BorrowedFd<'_>,
        kind: Kind,
        lines: &str,
        note: impl FnOnce(u64) -> String,
    ) -> io::Result<()> {
        if self.lost > 0 && self.put(fd, kind, &note(self.lost))? {
            self.lost = 0;
        }
        if self.lost > 0 || !self.put(fd, kind, lines)? {
            self.lost += 1;
        }
        Ok(())
    }

    /// Tells whether there was room for all of it.
    fn put(&mut self, fd: BorrowedFd<'_>, kind: Kind, lines: &str) -> io::Result<bool> {
        // What comes next is not to look like the end of a line that was cut off.
        let before = if self.torn { "\n" } else { "" };
        let text = [before, lines].concat();
        let mut rest = text.as_bytes();
        let mut since = Instant::now();
        while !rest.is_empty() {
            let patience = if self.full { Duration::ZERO } else { PATIENCE };
            let patience = patience.saturating_sub(since.elapsed());
            if !has_room(fd, patience)? {
                self.full = true;
                return Ok(false);
            }
            match kind.write(fd, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let (done, left) = rest.split_at(written.min(rest.len()));
                    self.torn = !done.ends_with(b"\n");
                    self.full = false;
                    rest = left;
                    since = Instant::now();
                }
                Err(Errno::INTR) => {}
                // Another process was faster.
                Err(Errno::AGAIN) if !patience.is_zero() => {}
                Err(Errno::AGAIN) => {
                    self.full = true;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

fn has_room(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let patience = Timespec::try_from(patience).unwrap_or_default();
    let ready = retry_on_intr(|| {
        let mut wanted = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        poll(&mut wanted, Some(&patience))
    })?;
    Ok(ready > 0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use rustix::pipe::pipe;

    use super::*;

    fn note(lost: u64) -> String {
        format!("{lost} lost\n")
    }

    /// A reader, and a writer that is full.
    fn full(kind: Kind) -> (OwnedFd, OwnedFd, Outlet) {
        let (reader, writer) = match kind {
            Kind::Pipe => pipe().unwrap(),
            Kind::Socket => {
                let (one, other) = UnixStream::pair().unwrap();
                (one.into(), other.into())
            }
        };
        assert_eq!(Kind::of(writer.as_fd()), Some(kind));
        let mut outlet = Outlet::NEW;
        let line = "x".repeat(PIPE_BUF - 1) + "\n";
        while outlet.lost == 0 {
            outlet.write(writer.as_fd(), kind, &line, note).unwrap();
        }
        (reader, writer, outlet)
    }

    fn drain(reader: &OwnedFd) -> Vec<u8> {
        let mut all = Vec::new();
        while has_data(reader.as_fd()) {
            let mut some = [0; PIPE_BUF];
            let read = rustix::io::read(reader, &mut some).unwrap();
            all.extend_from_slice(&some[..read]);
        }
        all
    }

    fn has_data(fd: BorrowedFd<'_>) -> bool {
        let mut wanted = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        poll(&mut wanted, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn what_is_full_costs_one_wait_and_the_lines_are_counted() {
        for kind in [Kind::Pipe, Kind::Socket] {
            let (reader, writer, mut outlet) = full(kind);
            let before = Instant::now();
            for _ in 0..100 {
                outlet.write(writer.as_fd(), kind, "line\n", note).unwrap();
            }
            assert!(before.elapsed() < PATIENCE, "{kind:?}");
            assert_eq!(outlet.lost, 101);
            let torn = !drain(&reader).ends_with(b"\n");
            outlet.write(writer.as_fd(), kind, "again\n", note).unwrap();
            let before = if torn { "\n" } else { "" };
            let expected = format!("{before}101 lost\nagain\n");
            assert_eq!(drain(&reader), expected.as_bytes(), "{kind:?}");
            assert_eq!(outlet.lost, 0);
        }
    }

    #[test]
    fn a_line_that_is_longer_than_a_pipe_is_whole_for_who_reads() {
        let (reader, writer) = pipe().unwrap();
        let lines = "y".repeat(1 << 20) + "\n";
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            std::fs::File::from(reader)
                .read_to_string(&mut text)
                .map(|_| text)
        });
        let mut outlet = Outlet::NEW;
        outlet
            .write(writer.as_fd(), Kind::Pipe, &lines, note)
            .unwrap();
        drop(writer);
        assert!(reading.join().unwrap().unwrap() == lines);
        assert_eq!(outlet.lost, 0);
    }

    #[test]
    fn a_piece_for_an_old_kernel_fits_and_ends_with_a_line_if_one_ends_in_it() {
        assert_eq!(first_piece(b"a\nb\n"), b"a\nb\n");
        let long = "x".repeat(PIPE_BUF);
        assert_eq!(
            first_piece(format!("{long}x\n").as_bytes()),
            long.as_bytes()
        );
        assert_eq!(first_piece(format!("a\n{long}\n").as_bytes()), b"a\n");
    }
}
