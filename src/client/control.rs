//! What a control socket is asked, and how: one line of JSON, `{"command":"stats"}`, answered by one document,
//! `{"ok": …}` or `{"error": {"what": …, "hint": …}}`, with which the connection ends.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ClientError, connection::Connection};
use crate::config::{Cure, SocketAddress, plain};

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Command {
    /// The state of the server: [`Stats`](crate::observe::stats::Stats).
    Stats,
    /// To import the applications again and replace the workers: [`Reloaded`], once that is done.
    Reload,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer<T> {
    /// It was done.
    Ok(T),
    /// It was not.
    Error(Failure),
}

/// A reload that came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many times the applications have been imported now.
    pub generation: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Why a server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What went wrong.
    pub what: String,
    /// What to do about it: a sentence without a capital or a full stop.
    pub hint: String,
}

/// Asks the server at the first of these sockets that one answers at. `patience` goes for connecting, and for each
/// wait for more of the answer.
///
/// # Errors
/// See [`ControlError`].
pub fn ask<T: DeserializeOwned>(
    sockets: &[PathBuf],
    command: Command,
    patience: Duration,
) -> Result<T, ControlError> {
    let (path, mut connection) = connect(sockets, patience)?;
    let failed = |source| failed(path, source, patience);
    let mut line = serde_json::to_vec(&command).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    // It may have answered and closed before it has read everything: what it says is still there.
    let sent = connection.write_all(&line);
    let mut answer = Vec::new();
    connection
        .read_to_end(&mut answer)
        .map_err(|error| failed(sent.err().unwrap_or(error)))?;
    if answer.is_empty() {
        return Err(ControlError::NoAnswer {
            path: path.to_owned(),
        });
    }
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ok(done)) => Ok(done),
        Ok(Answer::Error(failure)) => Err(ControlError::Refused(failure)),
        Err(error) => Err(ControlError::NotUnderstood {
            path: path.to_owned(),
            error,
        }),
    }
}

fn connect(sockets: &[PathBuf], patience: Duration) -> Result<(&Path, Connection), ControlError> {
    let mut worst = None;
    for path in sockets {
        match Connection::open(&SocketAddress::Unix(path.clone()), patience) {
            Ok(connection) => return Ok((path, connection)),
            Err(ClientError::Connect { error, .. }) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {}
                // A path too long for a socket, or a file in the place of a directory: nobody is there either.
                io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory => {}
                _ => worst = worst.or(Some((path, error))),
            },
            Err(_) => {}
        }
    }
    Err(match worst {
        Some((path, error)) => failed(path, error, patience),
        None => ControlError::NoServer {
            tried: sockets.to_vec(),
        },
    })
}

fn failed(path: &Path, source: io::Error, patience: Duration) -> ControlError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ControlError::TimedOut {
            path,
            waited: patience,
        },
        _ => ControlError::Io { path, source },
    }
}

/// Why there is no answer from a control socket, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("no spile answers at {}", listed(.tried))]
    NoServer {
        /// The sockets that were tried.
        tried: Vec<PathBuf>,
    },
    /// The connection failed, or was refused.
    #[error("cannot ask the spile at {}: {}", path.display(), plain(source))]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing came for too long.
    #[error("the spile at {} has not answered for {} seconds", path.display(), waited.as_secs())]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long.
        waited: Duration,
    },
    /// The connection ended without a word.
    #[error("the spile at {} ended before it answered", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
    },
    /// The answer is none that this version knows.
    #[error("cannot understand the answer from {}: {error}", path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The server says why not.
    #[error(transparent)]
    Refused(Failure),
}

fn listed(paths: &[PathBuf]) -> String {
    let texts: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    texts.join(" or ")
}

impl Cure for ControlError {
    fn cure(&self) -> String {
        match self {
            Self::NoServer { .. } => {
                "say where the server is, with the --socket, --pidfile, --control or --config that it was started \
                 with, or start it"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run this as the user that runs the server, or as root"
            }
            Self::Io { .. } | Self::TimedOut { .. } | Self::NoAnswer { .. } => {
                "look at the server's log"
            }
            Self::NotUnderstood { .. } => "use the version of spile that the server is of",
            Self::Refused(failure) => &failure.hint,
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn nobody_there_names_every_place() {
        let directory = tempfile::tempdir().unwrap();
        let stale = directory.path().join("stale");
        drop(UnixListener::bind(&stale).unwrap());
        let places = [
            directory.path().join("none"),
            stale,
            "/nonexistent/x".into(),
        ];
        let error = ask::<Reloaded>(&places, Command::Reload, Duration::from_secs(9)).unwrap_err();
        assert!(matches!(&error, ControlError::NoServer { tried } if tried == &places));
        assert!(error.to_string().contains("none or /"), "{error}");
    }

    #[test]
    fn the_first_that_answers_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = [0; 21];
            stream.read_exact(&mut line).unwrap();
            let answer = br#"{"error": {"what": "no", "hint": "do not"}}"#;
            stream.write_all(answer).unwrap();
            String::from_utf8(line.to_vec()).unwrap()
        });
        let error = ask::<Reloaded>(
            &[directory.path().join("none"), path],
            Command::Reload,
            Duration::from_secs(9),
        );
        assert_eq!(server.join().unwrap(), "{\"command\":\"reload\"}\n");
        let error = error.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.cure().as_str()),
            ("no", "do not")
        );
    }
}
