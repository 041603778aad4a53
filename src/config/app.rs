use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Cure;
use super::value::below;

/// An application, as APP and `--mount` name it.
///
/// `module:callable`, `module:factory()`, `module` and `path/file.py[:callable]` are WSGI applications, as are the
/// same after `wsgi:`; `static:DIR`, `echo:` and `hello:` are spile's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppSpec {
    /// A Python application (PEP 3333).
    Wsgi(PythonApp),
    /// The files below a directory.
    Static(PathBuf),
    /// Answers with what arrived.
    Echo,
    /// Answers `hello`.
    Hello,
}

impl AppSpec {
    /// The same with relative paths taken from `directory`.
    pub(super) fn within(self, directory: &Path) -> Self {
        match self {
            Self::Wsgi(PythonApp {
                target: PythonTarget::File(path),
                callable,
                call,
            }) => Self::Wsgi(PythonApp {
                target: PythonTarget::File(below(directory, &path)),
                callable,
                call,
            }),
            Self::Static(path) => Self::Static(below(directory, &path)),
            other => other,
        }
    }
}

impl FromStr for AppSpec {
    type Err = AppError;

    fn from_str(text: &str) -> Result<Self, AppError> {
        let built_in = |app: Self, rest: &str| {
            if rest.is_empty() {
                Ok(app)
            } else {
                Err(AppError::TrailingText {
                    text: text.to_owned(),
                })
            }
        };
        match text.split_once(':') {
            Some(("wsgi", spec)) => spec.parse().map(Self::Wsgi),
            Some(("static", "")) => Err(AppError::NoDirectory),
            Some(("static", directory)) => Ok(Self::Static(directory.into())),
            Some(("echo", rest)) => built_in(Self::Echo, rest),
            Some(("hello", rest)) => built_in(Self::Hello, rest),
            _ => text.parse().map(Self::Wsgi),
        }
    }
}

impl fmt::Display for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wsgi(app) => {
                let spec = app.to_string();
                // A module named like a scheme can only be told from it by the longer form.
                let scheme = ["wsgi:", "static:", "echo:", "hello:"]
                    .iter()
                    .any(|scheme| spec.starts_with(scheme));
                write!(f, "{}{spec}", if scheme { "wsgi:" } else { "" })
            }
            Self::Static(directory) => write!(f, "static:{}", directory.display()),
            Self::Echo => f.write_str("echo:"),
            Self::Hello => f.write_str("hello:"),
        }
    }
}

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
        return Err(match text.split_once(':') {
            Some((scheme, _)) => AppError::UnknownScheme {
                scheme: scheme.to_owned(),
            },
            None => AppError::BadModule {
                module: text.to_owned(),
            },
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

/// Why a text names no application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// Nothing before the colon, or nothing at all.
    #[error("no module or file is named")]
    Empty,
    /// `static:` alone.
    #[error("`static:` names no directory")]
    NoDirectory,
    /// Something after `echo:` or `hello:`.
    #[error("nothing may follow the colon in `{text}`")]
    TrailingText {
        /// The whole text.
        text: String,
    },
    /// Two colons, and what stands first is none of spile's kinds.
    #[error("`{scheme}:` is not a kind of application spile knows")]
    UnknownScheme {
        /// What stands before the first colon.
        scheme: String,
    },
    /// Not a dotted module name.
    #[error("`{module}` is not the name of a Python module")]
    BadModule {
        /// The text.
        module: String,
    },
    /// A path that ends in a slash.
    #[error("`{path}` is a directory")]
    Directory {
        /// The path.
        path: String,
    },
    /// Not a name.
    #[error("`{callable}` is not a name in a Python module")]
    BadCallable {
        /// The text.
        callable: String,
    },
    /// A factory with arguments.
    #[error("`{callable}` calls a factory with arguments")]
    Arguments {
        /// The text.
        callable: String,
    },
}

impl Cure for AppError {
    fn cure(&self) -> String {
        match self {
            Self::Empty => "name an application: module:callable or path/file.py:callable".to_owned(),
            Self::NoDirectory => "add the directory, as in static:public".to_owned(),
            Self::TrailingText { .. } => "end it with the colon: echo: or hello:".to_owned(),
            Self::UnknownScheme { .. } => "the kinds are wsgi:, static:, echo: and hello:".to_owned(),
            Self::BadModule { module } => {
                format!("write a dotted name such as project.wsgi, or a file as ./{module}.py")
            }
            Self::Directory { path } => format!("name the file, as in {path}app.py; to serve files, static:{path}"),
            Self::BadCallable { .. } => {
                "write the application's name after the colon, as in app:application, or app:create_app() for a factory"
                    .to_owned()
            }
            Self::Arguments { .. } => {
                "a factory is called without arguments: name a function that takes none, and pass settings with --env"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, callable: &str, call: bool) -> AppSpec {
        let target = PythonTarget::Module(name.to_owned());
        AppSpec::Wsgi(PythonApp {
            target,
            callable: callable.to_owned(),
            call,
        })
    }

    fn file(path: &str, callable: &str) -> AppSpec {
        let target = PythonTarget::File(path.into());
        AppSpec::Wsgi(PythonApp {
            target,
            callable: callable.to_owned(),
            call: false,
        })
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for (text, app, written) in [
            ("app:app", module("app", "app", false), "app:app"),
            (
                "mysite.wsgi",
                module("mysite.wsgi", "application", false),
                "mysite.wsgi:application",
            ),
            (
                "app:create_app()",
                module("app", "create_app", true),
                "app:create_app()",
            ),
            (
                "app:site.make()",
                module("app", "site.make", true),
                "app:site.make()",
            ),
            ("wsgi:app:app", module("app", "app", false), "app:app"),
            (
                "wsgi:static:app",
                module("static", "app", false),
                "wsgi:static:app",
            ),
            (
                "echo",
                module("echo", "application", false),
                "wsgi:echo:application",
            ),
            ("größe:app", module("größe", "app", false), "größe:app"),
            (
                "app.py",
                file("app.py", "application"),
                "app.py:application",
            ),
            ("app.py:main", file("app.py", "main"), "app.py:main"),
            (
                "dir/site.wsgi",
                file("dir/site.wsgi", "application"),
                "dir/site.wsgi:application",
            ),
            (
                "/srv/a:b/app",
                file("/srv/a:b/app", "application"),
                "/srv/a:b/app:application",
            ),
            (
                "/srv/a:b/app.py:main",
                file("/srv/a:b/app.py", "main"),
                "/srv/a:b/app.py:main",
            ),
            (
                "static:public",
                AppSpec::Static("public".into()),
                "static:public",
            ),
            (
                "static:/srv/a:b",
                AppSpec::Static("/srv/a:b".into()),
                "static:/srv/a:b",
            ),
            ("echo:", AppSpec::Echo, "echo:"),
            ("hello:", AppSpec::Hello, "hello:"),
        ] {
            assert_eq!(text.parse(), Ok(app.clone()), "{text}");
            assert_eq!(app.to_string(), written);
            assert_eq!(written.parse(), Ok(app));
        }
    }

    #[test]
    fn what_names_no_application_says_why() {
        let own = str::to_owned;
        for (text, error) in [
            ("", AppError::Empty),
            (":app", AppError::Empty),
            ("wsgi:", AppError::Empty),
            ("static:", AppError::NoDirectory),
            (
                "echo:x",
                AppError::TrailingText {
                    text: own("echo:x"),
                },
            ),
            (
                "asgi:app:app",
                AppError::UnknownScheme {
                    scheme: own("asgi"),
                },
            ),
            (
                "my-app:app",
                AppError::BadModule {
                    module: own("my-app"),
                },
            ),
            (
                "a..b:app",
                AppError::BadModule {
                    module: own("a..b"),
                },
            ),
            ("dir/:app", AppError::Directory { path: own("dir/") }),
            ("app:", AppError::BadCallable { callable: own("") }),
            (
                "app:1st",
                AppError::BadCallable {
                    callable: own("1st"),
                },
            ),
            ("app:()", AppError::BadCallable { callable: own("") }),
            (
                "app:make(1)",
                AppError::Arguments {
                    callable: own("make(1)"),
                },
            ),
        ] {
            assert_eq!(text.parse::<AppSpec>(), Err(error), "{text}");
        }
    }

    #[test]
    fn relative_paths_are_taken_from_a_directory() {
        let within = |text: &str| {
            text.parse::<AppSpec>()
                .unwrap()
                .within(Path::new("/srv"))
                .to_string()
        };
        assert_eq!(within("app.py:app"), "/srv/app.py:app");
        assert_eq!(within("/opt/app.py:app"), "/opt/app.py:app");
        assert_eq!(within("static:./public/."), "static:/srv/public");
        assert_eq!(within("app:app"), "app:app");
    }
}
