//! Which numbers the descriptors of connections have. Low ones are left to applications: select(2) takes none from
//! 1024 on.

use std::{
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::process::{Resource, getrlimit, setrlimit};

/// The first number that select(2) does not take.
const BEYOND_SELECT: RawFd = 1024;

/// So many connections may have low numbers. Moving one costs two system calls, which few connections never need.
const LOW: usize = 256;

/// Moves descriptors of connections out of the way, and raises the limit on their numbers when it has to.
pub(crate) struct OpenFiles {
    /// The soft limit at the start, if it may be raised.
    found: Option<u64>,
    is_raised: AtomicBool,
}

impl OpenFiles {
    /// `may_raise` is [`Limits::raise_open_files`](crate::server::Limits::raise_open_files).
    pub(crate) fn new(may_raise: bool) -> Self {
        let found = getrlimit(Resource::Nofile).current;
        Self {
            found: found.filter(|_| may_raise),
            is_raised: AtomicBool::new(false),
        }
    }

    /// Returns the descriptor with a high number when many connections are `held`, or as it is where none is allowed.
    pub(crate) fn placed(&self, fd: OwnedFd, held: usize) -> OwnedFd {
        if held <= LOW || fd.as_raw_fd() >= BEYOND_SELECT {
            return fd;
        }
        self.raise();
        rustix::io::fcntl_dupfd_cloexec(&fd, BEYOND_SELECT).unwrap_or(fd)
    }

    /// Raises the soft limit of open files to the hard one, unless somebody has changed it since the start. Returns
    /// whether there is more room than before.
    pub(crate) fn raise(&self) -> bool {
        if self.found.is_none() || self.is_raised.load(Ordering::Relaxed) {
            return false;
        }
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current != self.found || limit.current == limit.maximum {
            return false;
        }
        limit.current = limit.maximum;
        let is_raised = setrlimit(Resource::Nofile, limit).is_ok();
        self.is_raised.store(is_raised, Ordering::Relaxed);
        is_raised
    }
}
