//! `--pidfile`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process,
};

use rustix::fs::FlockOperation;
use thiserror::Error;

use crate::config::Cure;

/// More bytes than any pid file has.
const LONGEST: usize = 64;

/// A file with the master's process id, there as long as the master is.
///
/// The master holds a lock on it (flock(2)), so that a file of a process that is gone is told from one of a process
/// that runs, whatever has been given the same number since. A new master is given the descriptor and with it the
/// lock: it can write its own number there without being allowed to open the file.
#[derive(Debug)]
pub(in crate::supervisor) struct Pidfile {
    path: PathBuf,
    file: File,
}

impl Pidfile {
    /// Makes the file, or replaces one whose master is gone.
    ///
    /// # Errors
    /// [`PidfileError::Running`] if its master runs, [`PidfileError::NotAPidfile`] if it holds anything but a
    /// process id.
    pub(in crate::supervisor) fn write(path: &Path) -> Result<Self, PidfileError> {
        let failed = |source| PidfileError::Write {
            path: path.to_owned(),
            source,
        };
        loop {
            let made = match OpenOptions::new().read(true).write(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
                Err(error) => Err(error),
                Ok(file) if holds_something_else(&file) => {
                    return Err(PidfileError::NotAPidfile {
                        path: path.to_owned(),
                    });
                }
                Ok(file) => match lock(&file) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Err(PidfileError::Running {
                            path: path.to_owned(),
                            pid: fs::read_to_string(path).unwrap_or_default().trim().into(),
                        });
                    }
                    Err(error) => Err(error),
                    // Its master may have removed it between the two.
                    Ok(()) if is_at(&file, path) => Ok(Some(file)),
                    Ok(()) => Ok(None),
                },
            };
            if let Some(file) = made.map_err(failed)? {
                let pidfile = Self {
                    path: path.to_owned(),
                    file,
                };
                pidfile.put_pid().map_err(failed)?;
                return Ok(pidfile);
            }
        }
    }

    /// The file of the master before this one, which it still is until [`Self::take_over`].
    pub(in crate::supervisor) fn handed_over(path: PathBuf, fd: OwnedFd) -> Self {
        Self {
            path,
            file: fd.into(),
        }
    }

    /// Makes it this process's.
    ///
    /// # Errors
    /// It cannot be written.
    pub(in crate::supervisor) fn take_over(&self) -> Result<(), PidfileError> {
        self.put_pid().map_err(|source| PidfileError::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Whether somebody has removed the file.
    pub(in crate::supervisor) fn is_gone(&self) -> bool {
        fs::symlink_metadata(&self.path).is_err_and(|it| it.kind() == io::ErrorKind::NotFound)
    }

    pub(in crate::supervisor) fn path(&self) -> &Path {
        &self.path
    }

    /// In one write, so that nobody reads half a number.
    fn put_pid(&self) -> io::Result<()> {
        let text = pid_line();
        let long = usize::try_from(self.file.metadata()?.len()).unwrap_or_default();
        let blank = "\n".repeat(long.min(32).saturating_sub(text.len()));
        self.file
            .write_all_at((text.clone() + &blank).as_bytes(), 0)?;
        self.file
            .set_len(u64::try_from(text.len()).unwrap_or_default())
    }
}

/// Refuses a file that is there, can be read, and is not a pid file: it would be overwritten.
///
/// # Errors
/// [`PidfileError::NotAPidfile`].
pub(crate) fn check_pidfile(path: &Path) -> Result<(), PidfileError> {
    // Opening a named pipe would wait for its writer.
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file());
    let file = File::open(path).ok().filter(|_| is_file);
    if file.is_some_and(|file| holds_something_else(&file)) {
        return Err(PidfileError::NotAPidfile {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Why the pid file cannot be this process's.
#[derive(Debug, Error)]
pub enum PidfileError {
    /// The pid file cannot be written.
    #[error("cannot write the pid file {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The pid file is there, and is something else.
    #[error("`{path}` holds something other than a process id", path = path.display())]
    NotAPidfile {
        /// The file.
        path: PathBuf,
    },
    /// The master that has written the pid file runs.
    #[error("process {pid} runs with the pid file {path}", path = path.display())]
    Running {
        /// The file.
        path: PathBuf,
        /// What is in it.
        pid: String,
    },
}

impl Cure for PidfileError {
    fn cure(&self) -> String {
        match self {
            Self::Write { .. } => {
                "choose a --pidfile in a directory that this user may write to".to_owned()
            }
            Self::NotAPidfile { .. } => {
                "name another file, or remove this one: only pid files are replaced".to_owned()
            }
            Self::Running { pid, .. } => {
                format!("stop it (kill {pid}), or choose another --pidfile")
            }
        }
    }
}

impl AsFd for Pidfile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let text = pid_line();
        let mut found = vec![0; text.len()];
        let read = self.file.read_exact_at(&mut found, 0);
        if read.is_err() || found != text.as_bytes() {
            // It is the master's that comes after this one.
            return;
        }
        // A user who may not remove files in that directory leaves an empty one.
        if !is_at(&self.file, &self.path) || fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

/// Whether a file holds anything but a process id. A master that may not remove its file leaves it empty.
fn holds_something_else(file: &File) -> bool {
    let mut found = [0; LONGEST];
    // What cannot be read cannot be locked or written either, and that error says more.
    let length = file.read_at(&mut found, 0).unwrap_or_default();
    let text = found.get(..length).map(std::str::from_utf8);
    let text = text.and_then(Result::ok).map(str::trim);
    length == LONGEST || !text.is_some_and(|it| it.is_empty() || it.parse::<u32>().is_ok())
}

fn pid_line() -> String {
    format!("{}\n", process::id())
}

fn lock(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(
        file,
        FlockOperation::NonBlockingLockExclusive,
    )?)
}

/// A new file, locked and complete before it has its name; `None` if the name was taken meanwhile.
fn create(path: &Path) -> io::Result<Option<File>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)?;
    lock(file.as_file())?;
    file.write_all(pid_line().as_bytes())?;
    match file.persist_noclobber(path) {
        Ok(file) => Ok(Some(file)),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(failed) => Err(failed.error),
    }
}

/// Whether `file` is what `path` names.
fn is_at(file: &File, path: &Path) -> bool {
    let ids = |found: &fs::Metadata| (found.dev(), found.ino());
    matches!(
        (file.metadata(), fs::metadata(path)),
        (Ok(open), Ok(named)) if ids(&open) == ids(&named)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spile.pid");
        (directory, path)
    }

    #[test]
    fn a_file_of_a_process_that_is_gone_is_replaced_and_removed_at_the_end() {
        let (directory, path) = place();
        // Longer than any number, and the number of a process that runs, but is not a master.
        fs::write(
            &path,
            format!("{:>40}\n", std::os::unix::process::parent_id()),
        )
        .unwrap();
        let pidfile = Pidfile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), pid_line());
        drop(pidfile);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_holds_anything_else_is_left_alone() {
        let (_directory, path) = place();
        fs::write(&path, "1\nand more text\n").unwrap();
        let error = Pidfile::write(&path).unwrap_err();
        assert!(matches!(error, PidfileError::NotAPidfile { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\nand more text\n");
    }

    #[test]
    fn a_file_of_a_live_master_is_an_error_with_its_number() {
        let (_directory, path) = place();
        let live = Pidfile::write(&path).unwrap();
        let error = Pidfile::write(&path).unwrap_err();
        let own = process::id().to_string();
        assert!(
            matches!(&error, PidfileError::Running { pid, .. } if *pid == own),
            "{error}"
        );
        drop(live);
        Pidfile::write(&path).unwrap();
    }

    #[test]
    fn it_is_the_old_master_s_until_the_new_one_takes_over() {
        let (_directory, path) = place();
        let old = Pidfile::write(&path).unwrap();
        // As if another process had written it.
        fs::write(&path, "1\n").unwrap();
        let copy = || old.as_fd().try_clone_to_owned().unwrap();
        drop(Pidfile::handed_over(path.clone(), copy()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        let new = Pidfile::handed_over(path.clone(), copy());
        drop(old);
        new.take_over().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), pid_line());
        assert!(matches!(
            Pidfile::write(&path),
            Err(PidfileError::Running { .. })
        ));
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn somebody_else_s_file_is_left_alone() {
        let (_directory, path) = place();
        let pidfile = Pidfile::write(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, pid_line()).unwrap();
        drop(pidfile);
        assert!(path.exists());
    }
}
