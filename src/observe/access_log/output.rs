//! Where the access log's lines go.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::fs::FileTypeExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, OFlags, fcntl_getfl, fstat},
    io::Errno,
};

use crate::{
    config::descriptor,
    server::{self, is_inheritable},
};

/// So much goes into a pipe without lines of other processes in between (PIPE_BUF of pipe(7) on Linux).
const PIPE_BUF: usize = 4096;

/// An open file, pipe or device.
pub(super) struct Output {
    fd: OwnedFd,
    /// `None` for standard output.
    path: Option<PathBuf>,
    /// Whether it was opened by its path, and can be so again.
    opened: bool,
    /// The most bytes of whole lines that one call may write.
    most: usize,
    /// Part of a line was written, and then the disk was full.
    torn: bool,
}

/// The reason why nothing was written.
pub(super) enum Refused {
    /// A pipe is full, and was it for as long as one was willing to wait.
    NotYet,
    /// The system refused it.
    Failed(io::Error),
}

impl Output {
    pub(super) fn stdout() -> io::Result<Self> {
        Self::new(io::stdout().as_fd().try_clone_to_owned()?, None, false)
    }

    pub(super) fn file(path: &Path) -> io::Result<Self> {
        match meant(path) {
            Some(fd) => Self::descriptor(fd, path),
            None => Self::new(open(path)?, Some(path.to_owned()), true),
        }
    }

    /// Takes a descriptor that this process was started with, which `path` means.
    pub(super) fn descriptor(fd: RawFd, path: &Path) -> io::Result<Self> {
        Self::new(inherited(fd)?, Some(path.to_owned()), false)
    }

    fn new(fd: OwnedFd, path: Option<PathBuf>, opened: bool) -> io::Result<Self> {
        let regular = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::RegularFile;
        Ok(Self {
            fd,
            path,
            opened,
            most: if regular { usize::MAX } else { PIPE_BUF },
            torn: false,
        })
    }

    /// What to call it in the log.
    pub(super) fn name(&self) -> String {
        let path = self.path.as_ref().map(|path| path.display().to_string());
        path.unwrap_or_else(|| "standard output".to_owned())
    }

    /// Opens the file by its path again. If that fails, the one that was open stays, and so does a descriptor.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match &self.path {
            Some(path) if self.opened => *self = Self::file(path)?,
            _ => {}
        }
        Ok(())
    }

    /// Writes as many of the lines as one call can; how many bytes that were.
    pub(super) fn write(&mut self, lines: &[u8], patience: Duration) -> Result<usize, Refused> {
        let patience = Timespec::try_from(patience).ok();
        match poll(
            &mut [PollFd::new(&self.fd, PollFlags::OUT)],
            patience.as_ref(),
        ) {
            Ok(0) | Err(Errno::INTR) => return Err(Refused::NotYet),
            Ok(_) => {}
            Err(error) => return Err(Refused::Failed(error.into())),
        }
        if self.torn {
            // What comes next is not to look like the end of that line. If this fails, so does what follows.
            let _ = rustix::io::write(&self.fd, b"\n");
        }
        let lines = whole_lines(lines, self.most);
        match rustix::io::write(&self.fd, lines) {
            Ok(written) => {
                let end = written.checked_sub(1).and_then(|last| lines.get(last));
                self.torn = end.is_some_and(|byte| *byte != b'\n');
                Ok(written)
            }
            // Standard output may be shared with somebody who made it so.
            Err(Errno::AGAIN | Errno::INTR) => Err(Refused::NotYet),
            Err(error) => Err(Refused::Failed(error.into())),
        }
    }
}

/// Returns the descriptor that a path means, as container images have it: `/var/log/app/access.log -> /dev/stdout`.
fn meant(path: &Path) -> Option<RawFd> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Some(fd) = descriptor(&path) {
            return Some(fd);
        }
        let target = fs::read_link(&path).ok()?;
        path = path.parent().map_or(target.clone(), |it| it.join(&target));
    }
    None
}

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A copy of a descriptor that this process was started with.
fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    let not_open = || io::Error::other(format!("descriptor {fd} is not open for writing"));
    let copy = server::inherited(fd).map_err(|_| not_open())?;
    let mode = fcntl_getfl(&copy)? & OFlags::RWMODE;
    // The number may be that of something spile has opened itself.
    if mode == OFlags::RDONLY || !is_inheritable(fd)? {
        return Err(not_open());
    }
    Ok(copy)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    // A named pipe that nobody reads cannot be opened for writing alone, or only by waiting for a reader. Linux
    // opens it for both at once (fifo(7)); the lines wait in it then, as in a file.
    let pipe = path
        .metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo());
    let file = OpenOptions::new()
        .read(pipe)
        .append(true)
        .create(!pipe)
        .open(path)?;
    Ok(file.into())
}

/// As many lines as `most` has room for, at least one.
fn whole_lines(lines: &[u8], most: usize) -> &[u8] {
    let end = |part: &[u8]| part.iter().rposition(|byte| *byte == b'\n');
    let first = || lines.iter().position(|byte| *byte == b'\n');
    let last = match lines.get(..most) {
        None => return lines,
        Some(part) => end(part).or_else(first),
    };
    last.and_then(|last| lines.get(..=last)).unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_writes_whole_lines() {
        assert_eq!(whole_lines(b"a\nbc\nd\n", usize::MAX), b"a\nbc\nd\n");
        assert_eq!(whole_lines(b"a\nbc\nd\n", 7), b"a\nbc\nd\n");
        assert_eq!(whole_lines(b"a\nbc\nd\n", 6), b"a\nbc\n");
        assert_eq!(whole_lines(b"a\nbc\nd\n", 4), b"a\n");
        assert_eq!(whole_lines(b"long\nd\n", 3), b"long\n");
    }
}
