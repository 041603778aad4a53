//! The soft limit of open files that spile was started with, which applications and their children are to have.

use std::{io, sync::OnceLock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static FOUND: OnceLock<Option<u64>> = OnceLock::new();

/// Raises this process's soft limit to the hard one: every socket and every worker takes descriptors of the master,
/// and the usual 1024 is there for select(2) alone.
pub(in crate::supervisor) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    FOUND.get_or_init(|| limit.current);
    set(Rlimit {
        current: limit.maximum,
        ..limit
    });
}

/// Starts a process with the limit that was found, unless somebody has changed this process's since.
pub(in crate::supervisor) fn with_found<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let raised = getrlimit(Resource::Nofile);
    let found = FOUND.get().filter(|_| raised.current == raised.maximum);
    let Some(&current) = found else {
        return spawn();
    };
    set(Rlimit { current, ..raised });
    let spawned = spawn();
    set(raised);
    spawned
}

fn set(limit: Rlimit) {
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
