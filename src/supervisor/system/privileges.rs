//! `--user` and `--group`.

use std::{ffi::CString, path::PathBuf, thread};

use nix::{
    errno::Errno,
    unistd::{self, Gid, Uid},
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use thiserror::Error;

use crate::config::{Config, Cure, ResolveError, group_id, user_entry, user_id};

/// The user and the groups to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    user: Option<Account>,
    /// The group asked for, or else the user's.
    group: Gid,
    /// Whether to be in no other group.
    only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    id: Uid,
    /// Its name and home, if the number has any.
    entry: Option<(String, PathBuf)>,
}

impl Identity {
    /// Looks up the user and the group of the configuration; `None` if it names neither.
    ///
    /// # Errors
    /// The user or the group does not exist.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, PrivilegeError> {
        let group = config.group.as_deref().map(group_id).transpose()?;
        let Some(name) = &config.user else {
            return Ok(group.map(|group| Self {
                user: None,
                group: Gid::from_raw(group),
                only: true,
            }));
        };
        let id = Uid::from_raw(user_id(name)?);
        let entry = user_entry(name)?;
        let of_user = entry.as_ref().map(|entry| entry.gid.as_raw());
        let Some(gid) = group.or(of_user) else {
            return Err(PrivilegeError::NoGroup { user: name.clone() });
        };
        Ok(Some(Self {
            user: Some(Account {
                id,
                entry: entry.map(|entry| (entry.name, entry.dir)),
            }),
            group: Gid::from_raw(gid),
            only: group.is_some(),
        }))
    }

    /// The user and the group, as chown(2) takes them.
    pub(crate) fn ids(&self) -> (Option<u32>, Option<u32>) {
        let user = self.user.as_ref().map(|user| user.id.as_raw());
        (user, Some(self.group.as_raw()))
    }

    /// Whether this process is that already: there is nothing to do, and nobody has to be root for it.
    pub(crate) fn is_current(&self) -> bool {
        let ids = (Uid::current(), Uid::effective());
        let is_user = self
            .user
            .as_ref()
            .is_none_or(|user| ids == (user.id, user.id));
        is_user && !ids.1.is_root() && Gid::effective() == self.group
    }

    /// Becomes it, for good and with all threads.
    ///
    /// # Errors
    /// [`PrivilegeError::NotAllowed`] unless this process is root or is that already.
    pub(crate) fn assume(&self) -> Result<(), PrivilegeError> {
        if self.is_current() {
            return Ok(());
        }
        let group = self.group;
        match self.name() {
            Some(name) if !self.only => {
                let name = CString::new(name).unwrap_or_default();
                self.step("initgroups", unistd::initgroups(&name, group))?;
            }
            _ => self.step("setgroups", unistd::setgroups(&[group]))?,
        }
        self.step("setgid", unistd::setgid(group))?;
        if let Some(user) = &self.user {
            self.step("setuid", unistd::setuid(user.id))?;
        }
        tracing::info!("running as {}", self.described());
        Ok(())
    }

    /// Does `work`, which looks at files, on a thread that has this identity; `None` if it is root's, or the system
    /// refuses it.
    pub(crate) fn on_behalf<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Option<T> {
        let user = rustix::process::Uid::from_raw(self.user.as_ref()?.id.as_raw());
        let group = rustix::process::Gid::from_raw(self.group.as_raw());
        let groups = self.groups();
        // The C library would give it to all threads.
        let become_it = move || {
            set_thread_groups(&groups)?;
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)
        };
        if user.is_root() {
            return None;
        }
        thread::scope(|scope| {
            let became = scope.spawn(|| become_it().ok().map(|()| work()));
            became.join().ok().flatten()
        })
    }

    /// All that it is in.
    fn groups(&self) -> Vec<rustix::process::Gid> {
        let name = self.name().filter(|_| !self.only);
        let name = name.and_then(|name| CString::new(name).ok());
        let of_name = name.and_then(|name| unistd::getgrouplist(&name, self.group).ok());
        let groups = of_name.unwrap_or_else(|| vec![self.group]);
        let raw = groups.into_iter().map(Gid::as_raw);
        raw.map(rustix::process::Gid::from_raw).collect()
    }

    /// Returns the variables that a login would set.
    fn environment(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let entry = self.user.as_ref().and_then(|user| user.entry.as_ref());
        entry.map_or_else(Vec::new, |(name, home)| {
            vec![
                ("HOME", home.into()),
                ("USER", name.into()),
                ("LOGNAME", name.into()),
            ]
        })
    }

    /// `user www-data (33), group 33`.
    pub(crate) fn described(&self) -> String {
        let group = format!("group {}", self.group);
        match (&self.user, self.name()) {
            (Some(user), Some(name)) => format!("user {name} ({}), {group}", user.id),
            (Some(user), None) => format!("user {}, {group}", user.id),
            (None, _) => group,
        }
    }

    fn name(&self) -> Option<&str> {
        let entry = self.user.as_ref()?.entry.as_ref()?;
        Some(entry.0.as_str())
    }

    fn step(&self, call: &'static str, done: nix::Result<()>) -> Result<(), PrivilegeError> {
        done.map_err(|error| match error {
            Errno::EPERM => self.not_allowed(),
            error => PrivilegeError::System {
                wanted: self.described(),
                call,
                error: error.desc(),
            },
        })
    }

    pub(crate) fn not_allowed(&self) -> PrivilegeError {
        PrivilegeError::NotAllowed {
            wanted: self.described(),
            own: Uid::effective().as_raw(),
        }
    }
}

/// The variables of the applications' processes that go with the user.
pub(in crate::supervisor) fn environment(
    config: &Config,
) -> Vec<(&'static str, std::ffi::OsString)> {
    // It was found before this process became it.
    let identity = Identity::of(config).ok().flatten();
    identity.map_or_else(Vec::new, |identity| identity.environment())
}

/// Why spile cannot become whom `--user` and `--group` name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrivilegeError {
    /// There is no such user or group.
    #[error(transparent)]
    Unknown(#[from] ResolveError),
    /// A number without an entry in the user database.
    #[error("user {user} has no entry in the user database, and so no group")]
    NoGroup {
        /// The user.
        user: String,
    },
    /// Not root.
    #[error("only root may become {wanted}, and this is user {own}")]
    NotAllowed {
        /// Whom to become.
        wanted: String,
        /// Who this process is.
        own: u32,
    },
    /// The system refused.
    #[error("cannot become {wanted}: {call}: {error}")]
    System {
        /// Whom to become.
        wanted: String,
        /// What was called.
        call: &'static str,
        /// What it answered.
        error: &'static str,
    },
}

impl Cure for PrivilegeError {
    fn cure(&self) -> String {
        match self {
            Self::Unknown(error) => error.cure(),
            Self::NoGroup { .. } => "name one with --group".to_owned(),
            Self::NotAllowed { .. } => {
                "start spile as root, or as that user and without --user and --group".to_owned()
            }
            Self::System { .. } => {
                "see setuid(2) and setgroups(2); in a container, the ids have to be mapped"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, PrivilegeError> {
        Identity::of(&Config {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
            ..Config::default()
        })
    }

    #[test]
    fn the_group_is_the_user_s_unless_another_is_named() {
        assert_eq!(of(None, None), Ok(None));
        let root = of(Some("root"), None).unwrap().unwrap();
        assert_eq!(root.ids(), (Some(0), Some(0)));
        assert!(!root.only);
        assert_eq!(of(Some("0"), None).unwrap().unwrap(), root);
        let home = root.environment();
        assert_eq!(home[0], ("HOME", "/root".into()));
        let other = of(Some("root"), Some("4294967000")).unwrap().unwrap();
        assert_eq!(other.ids(), (Some(0), Some(4_294_967_000)));
        assert!(other.only);
        let group = of(None, Some("root")).unwrap().unwrap();
        assert_eq!(group.ids(), (None, Some(0)));
    }

    #[test]
    fn who_is_not_there_is_said() {
        let said = |user, group| of(user, group).unwrap_err().to_string();
        let no_group = "user 4294967000 has no entry in the user database, and so no group";
        assert_eq!(said(Some("4294967000"), None), no_group);
        let unknown = "there is no user `no-such-user` on this machine";
        assert_eq!(said(Some("no-such-user"), None), unknown);
        let unknown = "there is no group `no-such-group` on this machine";
        assert_eq!(said(None, Some("no-such-group")), unknown);
    }
}
