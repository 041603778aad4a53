use std::fmt;
use std::path::PathBuf;

/// Something wrong in the options: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, without the place.
    pub what: String,
    /// What to do about it: a sentence without a capital or a full stop.
    pub cure: String,
}

impl Mistake {
    /// The mistake that `error` is at `place`.
    pub fn at<E: Cure>(place: Place, error: &E) -> Self {
        Self {
            place,
            what: error.to_string(),
            cure: error.cure(),
        }
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the command line: the option's key, `socket-mode`; `app` is the positional APP, and a name in capitals
    /// another positional. Also stands for a default, and for a value that is missing.
    CommandLine(&'static str),
    /// In an environment variable.
    Variable(String),
    /// In the configuration file.
    File {
        /// The file, as it was named.
        file: PathBuf,
        /// The line, from 1; `None` when the file as a whole is meant.
        line: Option<usize>,
        /// The key, if the line has one.
        key: Option<String>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine("app") => f.write_str("APP"),
            Self::CommandLine(name) if name.starts_with(char::is_uppercase) => f.write_str(name),
            Self::CommandLine(key) => write!(f, "--{key}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { file, line, key } => {
                write!(f, "{}", file.display())?;
                if let Some(line) = line {
                    write!(f, ", line {line}")?;
                }
                key.as_ref().map_or(Ok(()), |key| write!(f, ", {key}"))
            }
        }
    }
}

/// An error that knows what to do about it.
pub trait Cure: std::error::Error {
    /// What to do: a sentence without a capital or a full stop.
    fn cure(&self) -> String;
}
