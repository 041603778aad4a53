//! Descriptors that come from outside Rust.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

use rustix::io::FdFlags;

/// A copy of a descriptor that is known by its number only: one that was inherited, or that Python owns.
/// The copy is closed on exec; the original stays as it is.
///
/// # Errors
/// No such descriptor is open, or there is no room for one more.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    known(fd, |fd| Ok(rustix::io::fcntl_dupfd_cloexec(fd, 0)?))
}

/// Whether programs that this one starts inherit a descriptor. Those that it was itself started with are such, and
/// those that spile opens never.
///
/// # Errors
/// No such descriptor is open.
pub fn is_inheritable(fd: RawFd) -> io::Result<bool> {
    let flags = known(fd, |fd| Ok(rustix::io::fcntl_getfd(fd)?))?;
    Ok(!flags.contains(FdFlags::CLOEXEC))
}

/// Makes one system call with a descriptor that is known by its number only.
#[allow(unsafe_code)]
fn known<T>(fd: RawFd, call: fn(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
    if fd < 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a descriptor is never negative",
        ));
    }
    // SAFETY: the number is not -1, and it is borrowed for one system call only, which checks it: a number
    // that is not open is EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    call(borrowed)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::{fd::AsRawFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn a_copy_outlives_the_original_and_is_closed_on_exec() {
        let (mut peer, original) = UnixStream::pair().unwrap();
        let copy = duplicate(original.as_raw_fd()).unwrap();
        drop(original);
        let flags = rustix::io::fcntl_getfd(&copy).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
        peer.write_all(b"x").unwrap();
        let mut read = [0];
        UnixStream::from(copy).read_exact(&mut read).unwrap();
        assert_eq!(&read, b"x");
    }

    #[test]
    fn a_number_that_is_not_open_is_an_error() {
        assert_eq!(
            duplicate(-1).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        // No process has so many.
        assert!(duplicate(RawFd::MAX).is_err());
    }
}
