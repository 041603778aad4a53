//! The file that a unix socket is bound to.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

#[cfg(feature = "cli")]
use std::os::{
    fd::AsRawFd,
    unix::fs::{PermissionsExt, chown},
};

#[cfg(feature = "cli")]
use rustix::fs::{Mode, OFlags};

/// A file's device and inode.
pub type FileId = (u64, u64);

/// Whether a listening socket is found by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketFileState {
    /// As far as this process can see.
    Reachable,
    /// Somebody has removed its file: nobody can connect any more.
    Gone,
    /// Another file has its name: whoever connects reaches somebody else.
    Replaced,
}

/// The file of a unix socket, known by its inode: another server may have taken the name since.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: FileId,
    /// The process that removes it: not one that was forked, nor one before or after an upgrade.
    owner: AtomicU32,
}

/// The number of no process.
const NOBODY: u32 = 0;

impl SocketFile {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: file_id(path)?,
            owner: AtomicU32::new(process::id()),
        })
    }

    /// A file that another process removes, for now.
    pub(crate) fn of_another(path: &Path, id: FileId) -> Self {
        Self {
            path: path.to_owned(),
            id,
            owner: AtomicU32::new(NOBODY),
        }
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// What has become of it.
    pub(crate) fn file_state(&self) -> SocketFileState {
        match file_id(&self.path) {
            Ok(id) if id == self.id => SocketFileState::Reachable,
            Ok(_) => SocketFileState::Replaced,
            Err(error) if error.kind() == io::ErrorKind::NotFound => SocketFileState::Gone,
            // Who cannot look does not know better.
            Err(_) => SocketFileState::Reachable,
        }
    }

    /// Gives it other permission bits.
    #[cfg(feature = "cli")]
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = fs::Permissions::from_mode(mode);
        self.held(|path| fs::set_permissions(path, mode))
    }

    /// Gives it another user and group.
    #[cfg(feature = "cli")]
    pub(crate) fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        self.held(|path| chown(path, user, group))
    }

    /// Changes this very file, whatever has its name by then: root is not led to another.
    #[cfg(feature = "cli")]
    fn held(&self, change: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        let found = fs::metadata(&path)?;
        if (found.dev(), found.ino()) != self.id {
            return Err(io::Error::other("another file has its name"));
        }
        change(&path)
    }

    /// Removed with this value from now on.
    pub(crate) fn own(&self) {
        self.owner.store(process::id(), Ordering::Relaxed);
    }

    /// Left alone from now on.
    pub(crate) fn forget(&self) {
        self.owner.store(NOBODY, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self.owner.load(Ordering::Relaxed) == process::id()
            && file_id(&self.path).is_ok_and(|id| id == self.id);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
