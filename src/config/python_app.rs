use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::AppError;
use super::app_kind::{KINDS, instead};

/// Where a Python application is and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonApp {
    /// The module or file to load.
    pub target: PythonTarget,
    /// Its name in there; may be dotted, `site.app`. `application` unless something else was written.
    pub callable: String,
    /// Whether the name is a factory: called once without arguments, it returns the application.
    pub call: bool,
}

/// What a Python application is loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PythonTarget {
    /// A file. Anything with a slash, or ending in `.py`.
    File(PathBuf),
    /// A module by its dotted name.
    Module(String),
}

impl FromStr for PythonApp {
    type Err = AppError;

    fn from_str(text: &str) -> Result<Self, AppError> {
        if let Some((kind, rest)) = without_slashes(text) {
            let (kind, rest) = (kind.to_owned(), rest.to_owned());
            return Err(if instead(&kind).is_some() {
                AppError::NotServedYet { kind }
            } else {
                AppError::NoSlashes { kind, rest }
            });
        }
        let whole_is_file =
            text.ends_with(".py") || (text.contains('/') && !after_colon_is_callable(text));
        let (target, callable) = match text.rsplit_once(':') {
            Some((target, callable)) if !whole_is_file => (target, callable),
            _ => (text, "application"),
        };
        if target.is_empty() {
            return Err(AppError::Empty);
        }
        let (callable, call) = match callable.strip_suffix("()") {
            Some(factory) => (factory, true),
            None => (callable, false),
        };
        let target = target_of(target)?;
        if !is_dotted_name(callable) {
            return Err(match callable.split_once('(') {
                Some((factory, _)) if is_dotted_name(factory) => AppError::Arguments {
                    callable: callable.to_owned(),
                },
                _ => AppError::BadCallable {
                    callable: callable.to_owned(),
                },
            });
        }
        Ok(Self {
            target,
            callable: callable.to_owned(),
            call,
        })
    }
}

/// The kind and the rest of what was surely meant to be a URL: `static:app` is Python, `static:/srv/public` cannot be.
fn without_slashes(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.split_once(':')?;
    let callable = rest.split_once('(').map_or(rest, |(name, _)| name);
    let is_python = is_dotted_name(callable) && !rest.ends_with(".py");
    let is_kind = KINDS.contains(&kind) || instead(kind).is_some();
    (is_kind && !is_python).then_some((kind, rest))
}

fn target_of(text: &str) -> Result<PythonTarget, AppError> {
    if text.contains('/') || text.ends_with(".py") {
        return if text.ends_with('/') {
            Err(AppError::Directory {
                path: text.to_owned(),
            })
        } else {
            Ok(PythonTarget::File(text.into()))
        };
    }
    if !is_dotted_name(text) {
        return Err(if text.contains(':') {
            AppError::Colons {
                text: text.to_owned(),
            }
        } else {
            AppError::BadModule {
                module: text.to_owned(),
            }
        });
    }
    Ok(PythonTarget::Module(text.to_owned()))
}

/// Whether `text`, which has a slash, goes on after the path: `dir/file.py:name`, not `a:b/file`.
fn after_colon_is_callable(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(_, rest)| !rest.contains('/'))
}

/// Whether `text` is Python identifiers joined by dots.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|name| {
        name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && name
                .chars()
                .all(|char| char.is_alphanumeric() || char == '_')
    })
}

impl fmt::Display for PythonApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            PythonTarget::File(path) => write!(f, "{}", path.display())?,
            PythonTarget::Module(module) => f.write_str(module)?,
        }
        write!(f, ":{}{}", self.callable, if self.call { "()" } else { "" })
    }
}
