//! What `--user` may not reach, of what root may.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::{Report, sources};
use crate::config::{AccessLog, AppSpec, Config, Interpreter, Mistake, Origins, Place};
use crate::supervisor::Identity;

impl Report {
    /// Returns the places that the configuration names and that the user to become is kept from. Nothing unless this is
    /// root: other users' own rights are looked at with each place.
    pub(super) fn out_of_reach(&self) -> Vec<Mistake> {
        let is_root = rustix::process::geteuid().is_root();
        let Some(identity) = Identity::of(&self.config)
            .ok()
            .flatten()
            .filter(|_| is_root)
        else {
            return Vec::new();
        };
        let wanted = wanted(&self.config, &self.origins);
        let who = identity.described();
        let found = identity.on_behalf(|| {
            let mistakes = wanted.into_iter().filter_map(|it| it.refused(&who));
            mistakes.collect()
        });
        found.unwrap_or_default()
    }
}

/// A place, and what for.
struct Wanted {
    place: Place,
    path: PathBuf,
    /// The directories on the way there, from the root on.
    way: Vec<PathBuf>,
    need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Enter,
    Read,
    Run,
    Write,
}

fn wanted(config: &Config, origins: &Origins) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut want = |place, path: &Path, need| {
        // Found out as root: who may not enter a directory does not see either where links in it lead.
        let (path, way) = (path.to_owned(), way(path));
        wanted.push(Wanted {
            place,
            path,
            way,
            need,
        });
    };
    // A reload reads them again.
    for (index, file) in config.env_files.iter().enumerate() {
        want(origins.of("env-file", index), file, Need::Read);
    }
    // Without Python nobody goes there.
    if config.python_apps().next().is_some() {
        want(origins.of("chdir", 0), &config.chdir, Need::Enter);
        if let Ok(interpreter) = Interpreter::find(config) {
            let option = if origins.has("venv") {
                "venv"
            } else {
                "python"
            };
            want(origins.of(option, 0), &interpreter.path, Need::Run);
        }
    }
    for (index, mount) in config.mounts.iter().enumerate() {
        match &mount.app {
            AppSpec::Static(directory) => want(origins.mount(index), directory, Need::Enter),
            AppSpec::Wsgi(app) => {
                for file in sources::files(app, config) {
                    want(origins.mount(index), &file, Need::Read);
                }
            }
            AppSpec::Echo | AppSpec::Hello => {}
        }
    }
    if let AccessLog::File(path) = &config.access_log {
        // Root makes the file, and the directory is all that can be in the way of it.
        if let Some(directory) = path.parent().filter(|it| it.is_dir()) {
            want(origins.of("access-log", 0), directory, Need::Enter);
        }
    }
    if config.sandbox {
        for (index, path) in config.sandbox_write.iter().enumerate() {
            want(origins.of("sandbox-write", index), path, Need::Write);
        }
    }
    wanted
}

impl Wanted {
    /// What is in this thread's way.
    fn refused(self, who: &str) -> Option<Mistake> {
        let Self {
            place,
            path,
            way,
            need,
        } = self;
        let closed = way.iter().find(|it| !may(it, Need::Enter));
        let shown = path.display();
        let (what, at) = match closed {
            Some(closed) => (
                format!(
                    "{who} may not enter `{}`, and so not reach `{shown}`",
                    closed.display()
                ),
                closed.as_path(),
            ),
            None if may(&path, need) => return None,
            None => (
                format!("{who} may not {} `{shown}`", need.verb()),
                path.as_path(),
            ),
        };
        Some(Mistake {
            place,
            what,
            cure: format!(
                "give that user the right, by owner, group or mode (see ls -ld {}), or name another place",
                at.display()
            ),
        })
    }
}

/// Returns the directories that the kernel enters on the way to a path, in order, links followed. A user who may not
/// enter one of them cannot reach the path.
fn way(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut left = parts(&absolute);
    let mut links = MOST_LINKS;
    let mut at = PathBuf::new();
    let mut way = Vec::new();
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        match fs::read_link(&next) {
            Ok(target) if links > 0 => {
                links -= 1;
                // Joining what begins with the root goes back there.
                left.extend(parts(&target));
            }
            _ => {
                at = next;
                if !left.is_empty() && !way.contains(&at) {
                    way.push(at.clone());
                }
            }
        }
    }
    way
}

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

impl Need {
    fn verb(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Read => "read",
            Self::Run => "run",
            Self::Write => "write to",
        }
    }
}

/// Tells whether this thread may use a path. It says yes where the system does not tell, and where nothing is
/// there: that is a mistake of its own.
fn may(path: &Path, need: Need) -> bool {
    let right = match need {
        Need::Enter | Need::Run => Access::EXEC_OK,
        Need::Read => Access::READ_OK,
        Need::Write => Access::WRITE_OK,
    };
    let is_refused = |path: &Path| access(path, right) == Err(Errno::ACCESS);
    if !is_refused(path) {
        return true;
    }
    // Directories in it may be what is written to.
    let inside = fs::read_dir(path).ok().filter(|_| need == Need::Write);
    let mut inside = inside.into_iter().flatten().flatten();
    inside.any(|it| !is_refused(&it.path()))
}
