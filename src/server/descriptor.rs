//! Descriptors that come from outside Rust.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

/// A copy of a descriptor that is known by its number only: one that was inherited, or that Python owns.
/// The copy is closed on exec; the original stays as it is.
///
/// # Errors
/// No such descriptor is open, or there is no room for one more.
#[allow(unsafe_code)]
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a descriptor is never negative",
        ));
    }
    // SAFETY: the number is not -1, and it is borrowed for one system call only, which checks it: a number
    // that is not open is EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 0)?)
}
