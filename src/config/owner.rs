use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Cure;

/// The owner of a unix socket's file, written `USER`, `USER:GROUP` or `:GROUP`; names or numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// The user; `None` leaves it.
    pub user: Option<String>,
    /// The group; `None` leaves it.
    pub group: Option<String>,
}

impl FromStr for Owner {
    type Err = OwnerError;

    fn from_str(text: &str) -> Result<Self, OwnerError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = (!user.is_empty()).then(|| user.to_owned());
        match group {
            Some(group) if group.is_empty() || group.contains(':') => Err(OwnerError {
                text: text.to_owned(),
            }),
            None if user.is_none() => Err(OwnerError {
                text: text.to_owned(),
            }),
            _ => Ok(Self {
                user,
                group: group.map(str::to_owned),
            }),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user.as_deref().unwrap_or_default())?;
        self.group
            .as_ref()
            .map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

impl TryFrom<String> for Owner {
    type Error = OwnerError;

    fn try_from(text: String) -> Result<Self, OwnerError> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

/// A text that is no [`Owner`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not USER, USER:GROUP or :GROUP")]
pub struct OwnerError {
    /// The text.
    pub text: String,
}

impl Cure for OwnerError {
    fn cure(&self) -> String {
        "name the user and group that nginx runs as, for example www-data:www-data".to_owned()
    }
}

#[cfg(feature = "cli")]
impl Owner {
    /// Looks the names up in the system's databases (getpwnam(3), getgrnam(3)): the user's and the group's numeric
    /// ids, as chown(2) takes them. A number is taken as it is, whether or not it has a name.
    ///
    /// # Errors
    ///
    /// When a name is not there, or the database cannot be read.
    pub fn resolve(&self) -> Result<(Option<u32>, Option<u32>), ResolveError> {
        let user = self.user.as_deref().map(user_id).transpose()?;
        let group = self.group.as_deref().map(group_id).transpose()?;
        Ok((user, group))
    }
}

#[cfg(feature = "cli")]
pub(crate) fn user_id(name: &str) -> Result<u32, ResolveError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    user_entry(name)?.map_or_else(
        || Err(ResolveError::NoUser(name.to_owned())),
        |user| Ok(user.uid.as_raw()),
    )
}

/// What the system's database says about a user, given by name or number.
#[cfg(feature = "cli")]
pub(crate) fn user_entry(name: &str) -> Result<Option<nix::unistd::User>, ResolveError> {
    use nix::unistd::{Uid, User};
    let found = match name.parse() {
        Ok(id) => User::from_uid(Uid::from_raw(id)),
        Err(_) => User::from_name(name),
    };
    found.map_err(|error| ResolveError::Database {
        name: name.to_owned(),
        error: error.desc(),
    })
}

#[cfg(feature = "cli")]
pub(crate) fn group_id(name: &str) -> Result<u32, ResolveError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(ResolveError::NoGroup(name.to_owned())),
        Err(error) => Err(ResolveError::Database {
            name: name.to_owned(),
            error: error.desc(),
        }),
    }
}

/// The reason why an [`Owner`] has no ids.
#[cfg(feature = "cli")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No user of that name.
    #[error("there is no user `{0}` on this machine")]
    NoUser(String),
    /// No group of that name.
    #[error("there is no group `{0}` on this machine")]
    NoGroup(String),
    /// The database could not be asked.
    #[error("cannot look `{name}` up: {error}")]
    Database {
        /// The name.
        name: String,
        /// What the system said.
        error: &'static str,
    },
}

#[cfg(feature = "cli")]
impl Cure for ResolveError {
    fn cure(&self) -> String {
        match self {
            Self::NoUser(_) => "use a user that `getent passwd` lists, or a numeric id".to_owned(),
            Self::NoGroup(_) => "use a group that `getent group` lists, or a numeric id".to_owned(),
            Self::Database { .. } => "give a numeric id".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_and_written_back() {
        for text in ["www-data", "www-data:adm", ":adm", "33:33"] {
            assert_eq!(
                text.parse::<Owner>().map(|owner| owner.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", ":", "www-data:", "a:b:c"] {
            assert_eq!(
                text.parse::<Owner>(),
                Err(OwnerError {
                    text: text.to_owned()
                })
            );
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn names_are_looked_up_and_numbers_are_not() {
        let resolve = |text: &str| text.parse::<Owner>().unwrap().resolve();
        assert_eq!(resolve("root:root"), Ok((Some(0), Some(0))));
        assert_eq!(resolve(":4294967000"), Ok((None, Some(4_294_967_000))));
        assert_eq!(
            resolve("no-such-user"),
            Err(ResolveError::NoUser("no-such-user".to_owned()))
        );
        assert_eq!(
            resolve("0:no-such-group"),
            Err(ResolveError::NoGroup("no-such-group".to_owned()))
        );
    }
}
