//! Guards the server's own descriptors against applications that close or replace them.

use std::{
    fs::OpenOptions,
    os::fd::{AsRawFd, IntoRawFd, OwnedFd},
};

use rustix::io::Errno;

/// Aborts the process if a system call's error says that a descriptor of the server's own was closed or replaced.
///
/// The process could accept no more connections, and clients would wait; a master starts another worker.
pub(crate) fn abort_if_closed_under_us(error: Errno) {
    if matches!(
        error,
        Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP
    ) {
        tracing::error!(
            %error,
            cure = "look for what closes descriptors that it has not opened: os.closerange(), os.close(), os.dup2()",
            "a descriptor of the server's own was closed, or is another's now: process {} ends",
            std::process::id()
        );
        std::process::abort();
    }
}

/// The first number that is not standard input, output or error.
const FIRST: i32 = 3;

/// Duplicates a socket to a number from 3 on if it landed on 0 to 2, and opens `/dev/null` there.
///
/// The kernel gives the lowest free number. Once an application has closed standard output, a connection would get its
/// number, and the client would receive what is written to the log.
pub(crate) fn off_stdio(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST {
        return Ok(fd);
    }
    let apart = rustix::io::fcntl_dupfd_cloexec(&fd, FIRST)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let mut standard = fd;
    // If /dev/null cannot be opened the number is free again, and the next connection comes here too.
    if null.is_ok_and(|null| rustix::io::dup2(&null, &mut standard).is_ok()) {
        let name = ["input", "output", "error"].get(standard.as_raw_fd().unsigned_abs() as usize);
        tracing::warn!(
            "the application has closed standard {}: it is /dev/null from now on",
            name.unwrap_or(&"files")
        );
        // Standard files stay open for the life of the process.
        let _ = standard.into_raw_fd();
    }
    Ok(apart)
}
