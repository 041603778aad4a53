use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AppError, AppSpec, Cure};

/// An application and the paths it answers: its prefix, and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Starts with a slash and ends without one; empty for the root. What SCRIPT_NAME will be.
    pub prefix: String,
    /// The application.
    pub app: AppSpec,
}

impl Mount {
    /// Makes an application at the root.
    pub fn root(app: AppSpec) -> Self {
        Self {
            prefix: String::new(),
            app,
        }
    }

    /// Returns the prefix as people write it: `/` for the root.
    pub fn path(&self) -> &str {
        if self.prefix.is_empty() {
            "/"
        } else {
            &self.prefix
        }
    }
}

/// Reads `PREFIX=APP`. A slash at the prefix's end makes no difference; `/` or nothing is the root.
impl FromStr for Mount {
    type Err = MountOptionError;

    fn from_str(text: &str) -> Result<Self, MountOptionError> {
        let Some((prefix, app)) = text.split_once('=') else {
            return Err(MountOptionError::NoEquals {
                text: text.to_owned(),
            });
        };
        if !prefix.is_empty() && !prefix.starts_with('/') {
            return Err(MountOptionError::NoSlash {
                prefix: prefix.to_owned(),
            });
        }
        let app = app.parse().map_err(|error| MountOptionError::App {
            prefix: prefix.to_owned(),
            error,
        })?;
        Ok(Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            app,
        })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.path(), self.app)
    }
}

/// The reason why a text is no [`Mount`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountOptionError {
    /// No `=`.
    #[error("`{text}` is not PREFIX=APP")]
    NoEquals {
        /// The whole text.
        text: String,
    },
    /// The prefix is not a path.
    #[error("the prefix `{prefix}` does not start with a slash")]
    NoSlash {
        /// The prefix.
        prefix: String,
    },
    /// The application is wrong.
    #[error("`{prefix}`: {error}")]
    App {
        /// Where it was to be mounted.
        prefix: String,
        /// What is wrong with it.
        error: AppError,
    },
}

impl Cure for MountOptionError {
    fn cure(&self) -> String {
        match self {
            Self::NoEquals { .. } => {
                "write the path, an equals sign and the application: /shop=shop.wsgi:app".to_owned()
            }
            Self::NoSlash { prefix } => format!("write /{prefix}=…"),
            Self::App { error, .. } => error.cure(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for (text, prefix, path) in [
            ("/a=echo://", "/a", "/a"),
            ("/a/=echo://", "/a", "/a"),
            ("/=echo://", "", "/"),
            ("=echo://", "", "/"),
        ] {
            let mount: Mount = text.parse().expect(text);
            assert_eq!(
                (mount.prefix.as_str(), mount.path(), &mount.app),
                (prefix, path, &AppSpec::Echo)
            );
        }
    }

    #[test]
    fn what_is_no_mount_says_why() {
        let own = str::to_owned;
        for (text, error) in [
            (
                "app:app",
                MountOptionError::NoEquals {
                    text: own("app:app"),
                },
            ),
            (
                "shop=app:app",
                MountOptionError::NoSlash {
                    prefix: own("shop"),
                },
            ),
            (
                "/shop=",
                MountOptionError::App {
                    prefix: own("/shop"),
                    error: AppError::Empty,
                },
            ),
        ] {
            assert_eq!(text.parse::<Mount>(), Err(error), "{text}");
        }
    }
}
