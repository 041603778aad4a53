//! Keeps connections away from the numbers of standard input, output and error.
//!
//! An application may close those, and the kernel gives the lowest number that is free: a client would then receive
//! what is written to the log.

use std::{
    fs::OpenOptions,
    os::fd::{AsRawFd, IntoRawFd, OwnedFd},
};

/// The first number that stands for nothing.
const FIRST: i32 = 3;

/// The same under a number that stands for nothing. What it has left becomes `/dev/null`, once and for all.
pub(crate) fn apart_from(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST {
        return Ok(fd);
    }
    let apart = rustix::io::fcntl_dupfd_cloexec(&fd, FIRST)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let mut standard = fd;
    // Without descriptors its number is free again, for the next connection to come here.
    if null.is_ok_and(|null| rustix::io::dup2(&null, &mut standard).is_ok()) {
        let name = ["input", "output", "error"].get(standard.as_raw_fd().unsigned_abs() as usize);
        tracing::warn!(
            "the application has closed standard {}: it is /dev/null from now on",
            name.unwrap_or(&"files")
        );
        // It stays open: nobody closes standard files.
        let _ = standard.into_raw_fd();
    }
    Ok(apart)
}
