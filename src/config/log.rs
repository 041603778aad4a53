use std::fmt;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Cure;

/// Where the access log goes. Written `off`, `-` for standard output, or a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a descriptor that spile was started with, by a path that means it: see [`descriptor`].
    Descriptor(PathBuf, RawFd),
    /// Appended to a file.
    File(PathBuf),
}

/// Returns the descriptor that a path means: `/dev/stdout`, `/dev/stderr`, `/dev/fd/N`, `/proc/self/fd/N`. They cannot
/// be opened where it is a socket, as systemd has it, or belongs to another user.
#[must_use]
pub fn descriptor(path: &Path) -> Option<RawFd> {
    let path = path.to_str()?;
    match path {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    let directories = ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"];
    let number = directories.iter().find_map(|it| path.strip_prefix(it))?;
    let is_number = number.bytes().all(|it| it.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

impl FromStr for AccessLog {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "" => Err(WordError {
                text: text.to_owned(),
                known: &["off", "-", "PATH"],
            }),
            "off" => Ok(Self::Off),
            "-" => Ok(Self::Stdout),
            path => Ok(match descriptor(Path::new(path)) {
                Some(fd) => Self::Descriptor(path.into(), fd),
                None => Self::File(path.into()),
            }),
        }
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stdout => f.write_str("-"),
            Self::Descriptor(path, _) | Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl TryFrom<String> for AccessLog {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<AccessLog> for String {
    fn from(log: AccessLog) -> Self {
        log.to_string()
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    const WORDS: &'static [&'static str] = &["text", "json"];
}

impl FromStr for LogFormat {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(WordError {
                text: text.to_owned(),
                known: Self::WORDS,
            }),
        }
    }
}

/// The least important messages to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what happens to the server.
    Info,
    /// And what happens to a request.
    Debug,
    /// And everything else.
    Trace,
}

impl LogLevel {
    const WORDS: &'static [&'static str] = &["error", "warn", "info", "debug", "trace"];

    /// Returns the level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(WordError {
                text: text.to_owned(),
                known: Self::WORDS,
            }),
        }
    }
}

/// A text that is none of the words an option takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not known here")]
pub struct WordError {
    /// The text.
    pub text: String,
    /// The words it could be.
    pub known: &'static [&'static str],
}

impl Cure for WordError {
    fn cure(&self) -> String {
        format!("give one of {}", self.known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_access_log_is_a_word_or_a_path() {
        for (text, log) in [
            ("off", AccessLog::Off),
            ("-", AccessLog::Stdout),
            ("/var/log/x", AccessLog::File("/var/log/x".into())),
            (
                "/dev/stderr",
                AccessLog::Descriptor("/dev/stderr".into(), 2),
            ),
            (
                "/proc/self/fd/17",
                AccessLog::Descriptor("/proc/self/fd/17".into(), 17),
            ),
            ("/dev/fd/+1", AccessLog::File("/dev/fd/+1".into())),
        ] {
            assert_eq!(text.parse(), Ok(log.clone()));
            assert_eq!(log.to_string(), text);
        }
        assert!("".parse::<AccessLog>().is_err());
    }

    #[test]
    fn every_level_has_its_name() {
        for word in LogLevel::WORDS {
            assert_eq!(word.parse::<LogLevel>().map(LogLevel::as_str), Ok(*word));
        }
        let error = "warning".parse::<LogLevel>().unwrap_err();
        assert_eq!(error.cure(), "give one of error, warn, info, debug, trace");
    }
}
