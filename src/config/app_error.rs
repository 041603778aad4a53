use super::Cure;
use super::app_kind::{KINDS, instead, known};
use super::near::near;

/// The reason why a text names no application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// Nothing before the colon, or nothing at all.
    #[error("no module or file is named")]
    Empty,
    /// `static://` alone.
    #[error("`static://` names no directory")]
    NoDirectory,
    /// Something after `echo://` or `hello://`.
    #[error("`{rest}` stands after `{kind}://`, and nothing may")]
    TrailingText {
        /// The kind.
        kind: String,
        /// What follows.
        rest: String,
    },
    /// A kind without the slashes: `static:/srv/public`.
    #[error("`{kind}` is a kind of application, and kinds are written with `://`")]
    NoSlashes {
        /// The kind.
        kind: String,
        /// What follows the colon.
        rest: String,
    },
    /// A URL after `wsgi://`.
    #[error("`wsgi://` names a Python application, and `{url}` is none")]
    UrlInUrl {
        /// What follows.
        url: String,
    },
    /// A kind that is planned.
    #[error("applications of the kind `{kind}://` are not served yet")]
    NotServedYet {
        /// The kind.
        kind: String,
    },
    /// No kind at all.
    #[error("`{kind}://` is not a kind of application spile knows")]
    UnknownKind {
        /// What stands before `://`.
        kind: String,
    },
    /// Two colons, and not in a path.
    #[error("`{text}` has a colon too many")]
    Colons {
        /// The text.
        text: String,
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
    /// A factory's arguments without an end.
    #[error("the {what} of `{callable}` do not match")]
    Unclosed {
        /// The text.
        callable: String,
        /// Brackets or quotation marks.
        what: &'static str,
    },
    /// Something after the factory's call.
    #[error("`{text}` goes on after `{call}`, and what a factory returns is served as it is")]
    AfterCall {
        /// The call.
        call: String,
        /// The whole text.
        text: String,
    },
}

impl Cure for AppError {
    fn cure(&self) -> String {
        match self {
            Self::Empty => "name an application: module:callable or path/file.py:callable".to_owned(),
            Self::NoDirectory => "add the directory, as in static://public".to_owned(),
            Self::TrailingText { kind, .. } => format!("write {kind}:// alone"),
            Self::NoSlashes { kind, rest } => match (kind.as_str(), rest.as_str()) {
                ("static", "") => "write static://DIR".to_owned(),
                ("wsgi", "") => "write wsgi://module:callable".to_owned(),
                ("echo" | "hello", _) => format!("write {kind}://"),
                _ => format!("write {kind}://{rest}"),
            },
            Self::UrlInUrl { url } => format!("write {url} alone"),
            Self::NotServedYet { kind } => instead(kind).unwrap_or_default().to_owned(),
            Self::UnknownKind { kind } => match near(&kind.to_lowercase(), known()) {
                Some(near) => format!("did you mean {near}://?"),
                None => {
                    let kinds = KINDS.map(|kind| format!("{kind}://")).join(", ");
                    format!("the kinds are {kinds}; a Python module or file is named without one")
                }
            },
            Self::Colons { .. } => {
                "write module:callable, or path/file.py:callable with a slash in the path".to_owned()
            }
            Self::BadModule { module } => {
                format!("write a dotted name such as project.wsgi, or a file as ./{module}.py")
            }
            Self::Directory { path } => format!("name the file, as in {path}app.py; to serve files, static://{path}"),
            Self::BadCallable { .. } => {
                "write the application's name after the colon, as in app:application, or app:create_app() for a factory"
                    .to_owned()
            }
            Self::Unclosed { .. } => {
                "write the call as in Python, and for the shell put it in quotes: 'app:create_app(\"prod\", debug=True)'"
                    .to_owned()
            }
            Self::AfterCall { text, .. } => {
                format!("write `application = {text}` in the module, and name that: module:application")
            }
        }
    }
}
