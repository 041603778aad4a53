use super::Cure;

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
