//! Descriptors that are known by their numbers.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

use rustix::io::FdFlags;

/// Returns a copy of a descriptor that the process which started this one has left open for it. The copy is closed on
/// exec; the original stays as it is.
///
/// # Errors
/// No such descriptor is open, or there is no room for one more.
#[allow(unsafe_code)]
pub(crate) fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is from the options or from a message of the process that started this one. What it left open
    // belongs to no value here, so nothing closes it meanwhile. A mistaken number is that of nothing (EBADF), or of
    // something that this process has opened at its start and keeps.
    unsafe { duplicate(fd) }
}

/// Tells whether programs that this one starts inherit a descriptor. Those that it was itself started with are such,
/// and those that spile opens never.
///
/// # Errors
/// No such descriptor is open.
#[allow(unsafe_code)]
pub(crate) fn is_inheritable(fd: RawFd) -> io::Result<bool> {
    check(fd)?;
    // SAFETY: as in `inherited`; the flags are read, and nothing is changed.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(!rustix::io::fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC))
}

/// Returns a copy of a descriptor that something else than Rust owns, such as a Python object. The copy is closed on
/// exec; the original stays as it is.
///
/// # Errors
/// No such descriptor is open, or there is no room for one more.
///
/// # Safety
/// Nothing closes the descriptor during the call, and its owner may be shared with: what is done to the copy, such as
/// moving its position, happens to the original.
#[allow(unsafe_code)]
pub unsafe fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: it is not -1, and the caller sees to it that the descriptor stays open for the borrow, which ends here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 0)?)
}

fn check(fd: RawFd) -> io::Result<()> {
    if fd < 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a descriptor is never negative",
        ));
    }
    Ok(())
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
        let copy = inherited(original.as_raw_fd()).unwrap();
        assert!(!is_inheritable(original.as_raw_fd()).unwrap());
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
            inherited(-1).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        // No process has so many.
        assert!(inherited(RawFd::MAX).is_err());
    }
}
