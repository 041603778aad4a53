//! The memory behind a scoreboard: words that several processes see.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    slice,
    sync::atomic::AtomicU64,
};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};
use thiserror::Error;

const WORD: usize = size_of::<AtomicU64>();

/// Without these a process could truncate the file, and every other one would die of SIGBUS at its next access.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// A memfd of words, mapped into this process. All are 0 at first, and cost nothing before they are touched.
#[derive(Debug)]
pub(super) struct Memory {
    fd: OwnedFd,
    map: MmapRaw,
    words: usize,
}

/// Why a descriptor is no such memory.
#[derive(Debug, Error, PartialEq, Eq)]
enum NotOurs {
    #[error("the shared memory has {found} bytes, not the {expected} of this layout")]
    Size { found: i64, expected: usize },
    #[error("the shared memory is not sealed: its size could change")]
    NotSealed,
}

impl Memory {
    pub(super) fn create(words: usize) -> io::Result<Self> {
        let size = u64::try_from(bytes(words)?).map_err(io::Error::other)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("spile-scoreboard", flags)?;
        rustix::fs::ftruncate(&fd, size)?;
        rustix::fs::fcntl_add_seals(&fd, SEALS)?;
        Self::open(fd, words)
    }

    /// Maps memory that another process has created with as many words.
    pub(super) fn open(fd: OwnedFd, words: usize) -> io::Result<Self> {
        let expected = bytes(words)?;
        let found = rustix::fs::fstat(&fd)?.st_size;
        if usize::try_from(found).ok() != Some(expected) {
            return Err(invalid(NotOurs::Size { found, expected }));
        }
        if !rustix::fs::fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SEALS)) {
            return Err(invalid(NotOurs::NotSealed));
        }
        let map = MmapOptions::new().len(expected).map_raw(&fd)?;
        Ok(Self { fd, map, words })
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        let start = self.map.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: `map` is a mapping of `words * 8` bytes, readable and writable, that lives as long as `self`; it
        // begins at a page, so words are aligned. `open` has seen the file to be that long and sealed against
        // shrinking, so each byte stays backed. Every bit pattern is a valid AtomicU64, and all processes access
        // these bytes through this function alone, hence atomically.
        unsafe { slice::from_raw_parts(start, self.words) }
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bytes(words: usize) -> io::Result<usize> {
    words
        .checked_mul(WORD)
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn invalid(error: NotOurs) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads() {
        let one = Memory::create(3).unwrap();
        let other = Memory::open(one.fd.try_clone().unwrap(), 3).unwrap();
        one.words()[2].store(7, Ordering::Relaxed);
        assert_eq!(other.words()[2].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn nobody_can_take_the_memory_away() {
        let memory = Memory::create(1024).unwrap();
        assert_eq!(
            rustix::fs::ftruncate(&memory.fd, 0),
            Err(rustix::io::Errno::PERM)
        );
    }

    #[test]
    fn memory_of_another_size_or_without_seals_is_refused() {
        let memory = Memory::create(3).unwrap();
        let error = Memory::open(memory.fd.try_clone().unwrap(), 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the shared memory has 24 bytes, not the 32 of this layout"
        );
        let unsealed = tempfile::tempfile().unwrap();
        unsealed.set_len(32).unwrap();
        let error = Memory::open(unsealed.into(), 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the shared memory is not sealed: its size could change"
        );
    }
}
