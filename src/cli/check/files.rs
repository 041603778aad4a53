use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Report;
use crate::config::{
    AccessLog, AddressError, AppSpec, Config, LogFormat, Mistake, Place, SocketAddress,
};
use crate::observe;
use crate::supervisor::{Sandbox, check_pidfile};

impl Report {
    /// Checks the directories and files that the options name, sockets and Python aside.
    pub(super) fn files(&mut self) {
        let config = &self.config;
        let format = match config.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        let mut facts = vec![
            ("directory", config.chdir.display().to_string()),
            (
                "log",
                format!("{format}, {} and above", config.log_level.as_str()),
            ),
            ("access log", access_log(config)),
        ];
        if let Some(pidfile) = &config.pidfile {
            facts.push(("pid file", pidfile.display().to_string()));
        }
        if let Some(control) = &config.control {
            facts.push(("control", control.display().to_string()));
        }
        if let Some(sandbox) = Sandbox::of(config) {
            facts.push((
                "may write",
                format!("{}, and nowhere else", sandbox.described()),
            ));
        }
        if !config.touch_reload.is_empty() {
            let files = config.touch_reload.iter().map(|file| file.display());
            let files: Vec<_> = files.map(|file| file.to_string()).collect();
            facts.push(("reload for", files.join(", ")));
        }
        if !config.env.is_empty() {
            // Names alone: values may be secrets.
            let names: Vec<_> = config.env.keys().map(String::as_str).collect();
            facts.push(("environment", names.join(", ")));
        }
        let mut mistakes = Vec::new();

        // A reload may not find the directory of the start any more, where nothing need be looked for.
        if self.origins.has("chdir") || config.chdir.exists() {
            let place = self.origins.of("chdir", 0);
            mistakes.extend(directory(place, &config.chdir));
        }
        for (index, entry) in config.pythonpath.iter().enumerate() {
            mistakes.extend(directory(self.origins.of("pythonpath", index), entry));
        }
        for (index, mount) in config.mounts.iter().enumerate() {
            if let AppSpec::Static(files) = &mount.app {
                mistakes.extend(directory(self.origins.mount(index), files));
            }
        }
        if let Some(pidfile) = config.pidfile.as_ref().filter(|it| !is_held(it)) {
            let place = self.origins.of("pidfile", 0);
            let other = check_pidfile(pidfile).err();
            let other = other.map(|error| Mistake::at(place.clone(), &error));
            mistakes.extend(other.or_else(|| writable(place, pidfile)));
        }
        if let Some(control) = &config.control {
            mistakes.extend(socket_file(self.origins.of("control", 0), control));
        }
        for (index, file) in config.touch_reload.iter().enumerate() {
            // It may come later, its directory is watched.
            let parent = file.parent().unwrap_or(file);
            mistakes.extend(directory(self.origins.of("touch-reload", index), parent));
        }
        let place = self.origins.of("access-log", 0);
        match &config.access_log {
            AccessLog::File(log) => mistakes.extend(writable(place, log)),
            AccessLog::Descriptor(..) => mistakes.extend(open(place, &config.access_log)),
            AccessLog::Off | AccessLog::Stdout => {}
        }
        mistakes.extend(self.sandbox());
        mistakes.extend(self.out_of_reach());
        mistakes.extend(self.in_two_roles());
        self.facts.extend(facts);
        self.mistakes.extend(mistakes);
    }
}

fn access_log(config: &Config) -> String {
    match &config.access_log_format {
        Some(format) if config.access_log != AccessLog::Off => {
            format!("{}, {format}", config.access_log)
        }
        _ => config.access_log.to_string(),
    }
}

/// What keeps a directory from being entered and read.
fn directory(place: Place, path: &Path) -> Option<Mistake> {
    let shown = path.display();
    let (what, cure) = if !path.exists() {
        (
            format!("`{shown}` does not exist"),
            "make it, or name another directory",
        )
    } else if !path.is_dir() {
        (
            format!("`{shown}` is not a directory"),
            "name the directory it is in",
        )
    } else if access(path, Access::READ_OK | Access::EXEC_OK).is_err() {
        (
            format!("this user may not read `{shown}`"),
            "run spile as a user who may, or change its permissions",
        )
    } else {
        return None;
    };
    Some(Mistake {
        place,
        what,
        cure: cure.to_owned(),
    })
}

/// What keeps a unix socket from being bound; that it is there already does not.
fn socket_file(place: Place, path: &Path) -> Option<Mistake> {
    let text = path.to_string_lossy();
    if text.len() > SocketAddress::MAX_PATH {
        let error = AddressError::PathTooLong {
            len: text.len(),
            path: text.into_owned(),
        };
        return Some(Mistake::at(place, &error));
    }
    writable(place, path)
}

/// Tells whether a pid file is this master's already, or of the one that this one is started to follow. It is open
/// then, and the user that the master has become need not be allowed to open it again.
fn is_held(pidfile: &Path) -> bool {
    let text = std::fs::read_to_string(pidfile).unwrap_or_default();
    let masters = [std::process::id(), std::os::unix::process::parent_id()];
    text.trim().parse().is_ok_and(|pid| masters.contains(&pid))
}

/// What keeps a file from being written or made.
fn writable(place: Place, path: &Path) -> Option<Mistake> {
    let parent = path
        .parent()
        .map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let shown = path.display();
    let (what, cure) = if path.is_dir() {
        (format!("`{shown}` is a directory"), "name a file in it")
    } else if path.exists() {
        if access(path, Access::WRITE_OK).is_ok() {
            return None;
        }
        (
            format!("this user may not write to `{shown}`"),
            "run spile as a user who may, or name another file",
        )
    } else if !parent.is_dir() {
        (
            format!("`{}` is not a directory", parent.display()),
            "make it, or name a file in another",
        )
    } else if !is_writable_directory(&parent) {
        (
            format!("this user may not make files in `{}`", parent.display()),
            "run spile as a user who may, or name a file in another directory",
        )
    } else {
        return None;
    };
    Some(Mistake {
        place,
        what,
        cure: cure.to_owned(),
    })
}

/// What keeps the access log from being written to a descriptor.
fn open(place: Place, log: &AccessLog) -> Option<Mistake> {
    let error = observe::AccessLog::try_open(log).err()?;
    Some(Mistake {
        place,
        what: error.to_string(),
        cure: "have it opened by what starts spile, or name a file".to_owned(),
    })
}

pub(super) fn is_writable_directory(path: &Path) -> bool {
    access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mistake: Option<Mistake>) -> String {
        mistake
            .map(|mistake| mistake.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_directory_must_be_one() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("file");
        std::fs::write(&file, "").unwrap();
        let check = |path: &Path| said(directory(Place::CommandLine("chdir"), path));
        assert_eq!(check(here.path()), "");
        assert_eq!(
            check(&file),
            format!("--chdir: `{}` is not a directory", file.display())
        );
        let none = here.path().join("none");
        assert_eq!(
            check(&none),
            format!("--chdir: `{}` does not exist", none.display())
        );
    }

    #[test]
    fn a_file_to_write_needs_its_directory() {
        let here = tempfile::tempdir().unwrap();
        let check = |path: &Path| said(writable(Place::CommandLine("pidfile"), path));
        let file = here.path().join("pid");
        assert_eq!(check(&file), "");
        std::fs::write(&file, "").unwrap();
        assert_eq!(check(&file), "");
        assert_eq!(
            check(here.path()),
            format!("--pidfile: `{}` is a directory", here.path().display())
        );
        let none = here.path().join("none");
        let expected = format!("--pidfile: `{}` is not a directory", none.display());
        assert_eq!(check(&none.join("pid")), expected);
    }

    #[test]
    fn a_pid_file_is_held_by_this_master_or_the_one_before() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("pid");
        assert!(!is_held(&file));
        for (pid, held) in [
            (std::process::id(), true),
            (std::os::unix::process::parent_id(), true),
            (1, std::os::unix::process::parent_id() == 1),
        ] {
            std::fs::write(&file, format!("{pid}\n")).unwrap();
            assert_eq!(is_held(&file), held);
        }
    }
}
