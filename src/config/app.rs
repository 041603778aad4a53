use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::app_kind::{instead, url};
use super::value::below;
use super::{AppError, PythonApp, PythonTarget};

/// An application, as APP and `--mount` name it.
///
/// `module:callable`, `module:factory("literal", key=1)`, `module`, `path/file.py[:callable]` and `file.wsgi` are WSGI
/// applications, as are the same after `wsgi://`; `static://DIR`, `echo://` and `hello://` are spile's own. No Python
/// name contains `://`.
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
            }) => Self::Wsgi(PythonApp {
                target: PythonTarget::File(below(directory, &path)),
                callable,
            }),
            Self::Static(path) => Self::Static(below(directory, &path)),
            other => other,
        }
    }
}

impl FromStr for AppSpec {
    type Err = AppError;

    fn from_str(text: &str) -> Result<Self, AppError> {
        let Some((kind, rest)) = url(text) else {
            return text.parse().map(Self::Wsgi);
        };
        match (kind, rest) {
            ("wsgi", rest) if url(rest).is_some() => Err(AppError::UrlInUrl {
                url: rest.to_owned(),
            }),
            ("wsgi", rest) => rest.parse().map(Self::Wsgi),
            ("static", "") => Err(AppError::NoDirectory),
            ("static", directory) => Ok(Self::Static(directory.into())),
            ("echo", "") => Ok(Self::Echo),
            ("hello", "") => Ok(Self::Hello),
            ("echo" | "hello", rest) => Err(AppError::TrailingText {
                kind: kind.to_owned(),
                rest: rest.to_owned(),
            }),
            (kind, _) if instead(kind).is_some() => Err(AppError::NotServedYet {
                kind: kind.to_owned(),
            }),
            (kind, _) => Err(AppError::UnknownKind {
                kind: kind.to_owned(),
            }),
        }
    }
}

impl fmt::Display for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wsgi(app) => app.fmt(f),
            Self::Static(directory) => write!(f, "static://{}", directory.display()),
            Self::Echo => f.write_str("echo://"),
            Self::Hello => f.write_str("hello://"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cure;

    fn wsgi(target: PythonTarget, callable: &str) -> AppSpec {
        let callable = Some(callable).filter(|it| !it.is_empty());
        AppSpec::Wsgi(PythonApp {
            target,
            callable: callable.map(|it| it.parse().unwrap()),
        })
    }

    /// A module; an empty `callable` is none.
    fn module(name: &str, callable: &str) -> AppSpec {
        wsgi(PythonTarget::Module(name.to_owned()), callable)
    }

    fn file(path: &str, callable: &str) -> AppSpec {
        wsgi(PythonTarget::File(path.into()), callable)
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for (text, app, written) in [
            ("app:app", module("app", "app"), "app:app"),
            ("mysite.wsgi", module("mysite.wsgi", ""), "mysite.wsgi"),
            (
                "app:create_app()",
                module("app", "create_app()"),
                "app:create_app()",
            ),
            (
                "app:site.make()",
                module("app", "site.make()"),
                "app:site.make()",
            ),
            ("wsgi://app:app", module("app", "app"), "app:app"),
            ("static:app", module("static", "app"), "static:app"),
            ("echo", module("echo", ""), "echo"),
            ("größe:app", module("größe", "app"), "größe:app"),
            ("app.py", file("app.py", ""), "app.py"),
            ("app.py:main", file("app.py", "main"), "app.py:main"),
            ("dir/site.wsgi", file("dir/site.wsgi", ""), "dir/site.wsgi"),
            ("/srv/a:b/app", file("/srv/a:b/app", ""), "/srv/a:b/app"),
            (
                "/srv/a:b/app.py:main",
                file("/srv/a:b/app.py", "main"),
                "/srv/a:b/app.py:main",
            ),
            (
                "static://public",
                AppSpec::Static("public".into()),
                "static://public",
            ),
            (
                "static:///srv/a:b",
                AppSpec::Static("/srv/a:b".into()),
                "static:///srv/a:b",
            ),
            ("echo://", AppSpec::Echo, "echo://"),
            ("hello://", AppSpec::Hello, "hello://"),
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
            ("wsgi://", AppError::Empty),
            ("static://", AppError::NoDirectory),
            (
                "echo://x",
                AppError::TrailingText {
                    kind: own("echo"),
                    rest: own("x"),
                },
            ),
            (
                "wsgi://echo://",
                AppError::UrlInUrl {
                    url: own("echo://"),
                },
            ),
            (
                "asgi://app:app",
                AppError::NotServedYet { kind: own("asgi") },
            ),
            ("asgi:app:app", AppError::NotServedYet { kind: own("asgi") }),
            (
                "Static://public",
                AppError::UnknownKind {
                    kind: own("Static"),
                },
            ),
            (
                "my:app:app",
                AppError::Colons {
                    text: own("my:app"),
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
            (
                "app:()",
                AppError::BadCallable {
                    callable: own("()"),
                },
            ),
        ] {
            assert_eq!(text.parse::<AppSpec>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_kind_without_slashes_is_python_if_it_can_be() {
        for (text, app) in [
            ("wsgi:app", module("wsgi", "app")),
            ("hello:app", module("hello", "app")),
            ("static:public", module("static", "public")),
            ("echo:make()", module("echo", "make()")),
        ] {
            assert_eq!(text.parse(), Ok(app), "{text}");
        }
        for (text, instead) in [
            ("echo:", "write echo://"),
            ("hello:", "write hello://"),
            ("wsgi:", "write wsgi://module:callable"),
            ("wsgi:app:app", "write wsgi://app:app"),
            ("wsgi:app.py", "write wsgi://app.py"),
            ("static:", "write static://DIR"),
            ("static:.", "write static://."),
            ("static:/srv/x", "write static:///srv/x"),
            ("static:a/b", "write static://a/b"),
            ("static:my-files", "write static://my-files"),
        ] {
            let error = text.parse::<AppSpec>().unwrap_err();
            assert_eq!(error.cure(), instead, "{text}");
        }
    }

    #[test]
    fn an_unknown_kind_gets_the_near_one_or_all() {
        for (text, instead) in [
            ("statik://public", "did you mean static://?"),
            ("WSGI://app", "did you mean wsgi://?"),
            (
                "file:///srv/app.py",
                "the kinds are wsgi://, static://, echo://, hello://; a Python module or file is named without one",
            ),
        ] {
            let error = text.parse::<AppSpec>().unwrap_err();
            assert_eq!(error.cure(), instead, "{text}");
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
        assert_eq!(within("static://./public/."), "static:///srv/public");
        assert_eq!(within("app:app"), "app:app");
    }
}
