//! `--pidfile`.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use super::SupervisorError;

/// A file with the master's process id, there as long as the master is.
#[derive(Debug)]
pub(super) struct Pidfile(PathBuf);

impl Pidfile {
    pub(super) fn write(path: &Path) -> Result<Self, SupervisorError> {
        match fs::write(path, format!("{}\n", process::id())) {
            Ok(()) => Ok(Self(path.to_owned())),
            Err(source) => Err(SupervisorError::Pidfile {
                path: path.to_owned(),
                source,
            }),
        }
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // Somebody else's by now, or gone: nothing to do about either.
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == process::id().to_string()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}
