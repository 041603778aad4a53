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
    /// Its name in there. Without one it is `application`, or else `app`.
    pub callable: Option<Callable>,
}

/// What a Python application is loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PythonTarget {
    /// A file. Anything with a slash or ending in `.py`, and what ends in `.wsgi` and is no dotted name.
    File(PathBuf),
    /// A module by its dotted name. If none is found, `site.wsgi` is the file of that name in the applications'
    /// directory.
    Module(String),
}

/// What a Python module calls an application, or the factory that makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callable {
    /// The name; may be dotted, `site.app`.
    pub name: String,
    /// What a factory is called with, as Python writes it between the parentheses; `None` for an application.
    /// Brackets and quotation marks match in it. Whether these are literals is for Python to say.
    pub arguments: Option<String>,
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
        let (target, callable) = split(text);
        Ok(Self {
            target: target.parse()?,
            callable: callable.map(str::parse).transpose()?,
        })
    }
}

/// Returns the kind and the rest of what was surely meant to be a URL: `static:app` is Python, `static:/srv/public`
/// cannot be.
fn without_slashes(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.split_once(':')?;
    let is_python = is_dotted_name(before_call(rest)) && !rest.ends_with(".py");
    let is_kind = KINDS.contains(&kind) || instead(kind).is_some();
    (is_kind && !is_python).then_some((kind, rest))
}

/// Returns the target, and the callable if one is written. Paths may have colons and parentheses in them, and arguments
/// may have anything.
fn split(text: &str) -> (&str, Option<&str>) {
    let parts = || {
        text.match_indices(':').map(|(at, colon)| {
            let (target, rest) = text.split_at(at);
            (target, rest.strip_prefix(colon).unwrap_or_default())
        })
    };
    let is_call = |text: &str| text.contains('(') && text.parse::<Callable>().is_ok();
    let call = parts().find(|(_, rest)| is_call(rest)).or_else(|| {
        // One that is not written as it should be.
        parts().find(|(target, rest)| {
            let before = before_call(rest);
            let is_file = ["py", "wsgi"].iter().any(|it| has_extension(target, it));
            before.len() < rest.len()
                && is_dotted_name(before)
                && (is_file || !target.contains('/'))
        })
    });
    match (call, parts().next_back()) {
        (Some((target, callable)), _) => (target, Some(callable)),
        (None, Some((target, callable)))
            if !has_extension(text, "py") && !callable.contains('/') =>
        {
            (target, Some(callable))
        }
        _ => (text, None),
    }
}

impl FromStr for PythonTarget {
    type Err = AppError;

    fn from_str(text: &str) -> Result<Self, AppError> {
        let is_name = is_dotted_name(text);
        let own = || text.to_owned();
        if text.is_empty() {
            Err(AppError::Empty)
        } else if text.ends_with('/') {
            Err(AppError::Directory { path: own() })
        } else if text.contains('/')
            || has_extension(text, "py")
            || (has_extension(text, "wsgi") && !is_name)
        {
            Ok(Self::File(text.into()))
        } else if is_name {
            Ok(Self::Module(own()))
        } else if text.contains(':') {
            Err(AppError::Colons { text: own() })
        } else {
            Err(AppError::BadModule { module: own() })
        }
    }
}

impl FromStr for Callable {
    type Err = AppError;

    fn from_str(text: &str) -> Result<Self, AppError> {
        let name = before_call(text);
        if !is_dotted_name(name) {
            return Err(AppError::BadCallable {
                callable: text.to_owned(),
            });
        }
        let Some((_, call)) = text.split_once('(') else {
            return Ok(Self {
                name: name.to_owned(),
                arguments: None,
            });
        };
        let end = end_of_call(call).map_err(|what| AppError::Unclosed {
            callable: text.to_owned(),
            what,
        })?;
        let (arguments, after) = call.split_at(end);
        let callable = Self {
            name: name.to_owned(),
            arguments: Some(arguments.to_owned()),
        };
        if after == ")" {
            Ok(callable)
        } else {
            Err(AppError::AfterCall {
                call: callable.to_string(),
                text: text.to_owned(),
            })
        }
    }
}

/// Where the parenthesis closes that `text` stands behind; what does not match, if it never does.
fn end_of_call(text: &str) -> Result<usize, &'static str> {
    let mut open = vec![')'];
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match (quote, char) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(end), _) if end == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '(') => open.push(')'),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ')' | ']' | '}') => {
                if open.pop() != Some(char) {
                    break;
                }
                if open.is_empty() {
                    return Ok(at);
                }
            }
            (None, _) => {}
        }
    }
    Err(if quote.is_some() {
        "quotation marks"
    } else {
        "brackets"
    })
}

/// What stands before the first parenthesis.
fn before_call(text: &str) -> &str {
    text.split('(').next().unwrap_or_default()
}

/// Tells whether `text` is Python identifiers joined by dots.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|name| {
        name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && name
                .chars()
                .all(|char| char.is_alphanumeric() || char == '_')
    })
}

fn has_extension(text: &str, extension: &str) -> bool {
    text.strip_suffix(extension)
        .is_some_and(|stem| stem.ends_with('.'))
}

impl fmt::Display for PythonApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            PythonTarget::File(path) => write!(f, "{}", path.display())?,
            PythonTarget::Module(module) => f.write_str(module)?,
        }
        self.callable
            .as_ref()
            .map_or(Ok(()), |callable| write!(f, ":{callable}"))
    }
}

impl fmt::Display for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.arguments
            .as_ref()
            .map_or(Ok(()), |arguments| write!(f, "({arguments})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read from `text`: the target, and the callable with its arguments.
    fn read(text: &str) -> (PythonTarget, Option<(String, Option<String>)>) {
        let app: PythonApp = text.parse().expect(text);
        assert_eq!(app.to_string(), text);
        let callable = app.callable.map(|it| (it.name, it.arguments));
        (app.target, callable)
    }

    fn call(name: &str, arguments: &str) -> Option<(String, Option<String>)> {
        Some((name.to_owned(), Some(arguments.to_owned())))
    }

    #[test]
    fn arguments_may_have_what_paths_and_names_are_told_by() {
        let module = |name: &str| PythonTarget::Module(name.to_owned());
        let file = |name: &str| PythonTarget::File(name.into());
        for (text, target, callable) in [
            ("app:make()", module("app"), call("make", "")),
            (
                "app:ns.make(\"prod\", debug=True)",
                module("app"),
                call("ns.make", "\"prod\", debug=True"),
            ),
            (
                "pkg:app(root=\"/srv/p.py:x(1)\")",
                module("pkg"),
                call("app", "root=\"/srv/p.py:x(1)\""),
            ),
            (
                "pkg:app(url='postgres://db', at=[(1, 2)], **{'a': 1})",
                module("pkg"),
                call("app", "url='postgres://db', at=[(1, 2)], **{'a': 1}"),
            ),
            (
                "app:make(\")\\\":]\", ')')",
                module("app"),
                call("make", "\")\\\":]\", ')'"),
            ),
            (
                "app:make(\"x.py\")",
                module("app"),
                call("make", "\"x.py\""),
            ),
            ("dir/app.py:make(1)", file("dir/app.py"), call("make", "1")),
            (
                "/srv/a:b(1)/app.py:make(2)",
                file("/srv/a:b(1)/app.py"),
                call("make", "2"),
            ),
            ("/srv/a:b(1)/app.py", file("/srv/a:b(1)/app.py"), None),
            ("/srv/a:b(1)/app", file("/srv/a:b(1)/app"), None),
            (
                "/srv/a:b(1)/app.py:app",
                file("/srv/a:b(1)/app.py"),
                Some(("app".to_owned(), None)),
            ),
        ] {
            assert_eq!(read(text), (target, callable), "{text}");
        }
    }

    #[test]
    fn wsgi_is_a_module_and_a_file() {
        for (text, target) in [
            ("mysite.wsgi", PythonTarget::Module("mysite.wsgi".into())),
            ("my-site.wsgi", PythonTarget::File("my-site.wsgi".into())),
            ("./mysite.wsgi", PythonTarget::File("./mysite.wsgi".into())),
        ] {
            assert_eq!(read(text), (target, None), "{text}");
        }
    }

    #[test]
    fn a_call_has_its_end() {
        let own = str::to_owned;
        let unclosed = |callable: &str, what| AppError::Unclosed {
            callable: own(callable),
            what,
        };
        let after = |text: &str, call: &str| AppError::AfterCall {
            call: own(call),
            text: own(text),
        };
        for (text, error) in [
            ("app:make(", unclosed("make(", "brackets")),
            ("app:make(1", unclosed("make(1", "brackets")),
            ("app:make([1)", unclosed("make([1)", "brackets")),
            ("app:make(\"x)", unclosed("make(\"x)", "quotation marks")),
            (
                "app:make(\"x.py",
                unclosed("make(\"x.py", "quotation marks"),
            ),
            (
                "pkg:app(root=\"a:b",
                unclosed("app(root=\"a:b", "quotation marks"),
            ),
            (
                "dir/app.py:make('/srv",
                unclosed("make('/srv", "quotation marks"),
            ),
            ("app:ns().app", after("ns().app", "ns()")),
            ("app:make(1)()", after("make(1)()", "make(1)")),
            (
                "app:(1)",
                AppError::BadCallable {
                    callable: own("(1)"),
                },
            ),
            (
                "app:apps['x']",
                AppError::BadCallable {
                    callable: own("apps['x']"),
                },
            ),
        ] {
            assert_eq!(text.parse::<PythonApp>(), Err(error), "{text}");
        }
    }
}
