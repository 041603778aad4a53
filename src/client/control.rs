//! What a control socket is asked, and how: one line of JSON, `{"command":"stats"}`, answered by one document,
//! `{"ok": …}` or `{"error": {"what": …, "hint": …}}`, with which the connection ends.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ClientError, connection::Connection, response::read_some};
use crate::address::SocketAddress;
use crate::config::Cure;
use crate::plain::plain;

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

/// The reason why a server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What went wrong.
    pub what: String,
    /// What to do about it: a sentence without a capital or a full stop.
    pub hint: String,
}

/// The longest answer that is taken, in bytes. What a server of ten thousand threads says has a tenth of it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Asks the server at the first of these sockets that one answers at. `patience` goes for connecting, and for the
/// whole answer.
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
    // One that says a little at a time has no more time than one that is silent.
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let read = connection
            .set_read_timeout(left)
            .and_then(|()| read_some(&mut connection, &mut answer));
        match read {
            Ok(0) => break,
            Ok(_) if answer.len() > MAX_ANSWER => {
                return Err(ControlError::TooLong {
                    path: path.to_owned(),
                    limit: MAX_ANSWER,
                });
            }
            Ok(_) => {}
            Err(error) => return Err(failed(sent.err().unwrap_or(error))),
        }
    }
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

/// The reason why there is no answer from a control socket, or not the one that was wanted.
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
    /// More than any server has to say.
    #[error("the answer from {} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
        /// The most that is taken.
        limit: usize,
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
            Self::TooLong { .. } => "check that it is a spile that listens there",
            Self::NotUnderstood { .. } => "use the version of spile that the server is of",
            Self::Refused(failure) => &failure.hint,
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::net::{UnixListener, UnixStream},
        thread::JoinHandle,
    };

    use super::*;

    /// What comes of asking a server that says the same on and on, with pauses, until nobody listens.
    fn said_by_one_that_repeats(
        words: Vec<u8>,
        pause: Duration,
        patience: Duration,
    ) -> ControlError {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let server = server(&path, move |mut stream| {
            while stream.write_all(&words).is_ok() {
                std::thread::sleep(pause);
            }
        });
        let error = ask::<Reloaded>(&[path], Command::Stats, patience).unwrap_err();
        server.join().unwrap();
        error
    }

    fn server(path: &Path, serve: impl FnOnce(UnixStream) + Send + 'static) -> JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || serve(listener.accept().unwrap().0))
    }

    #[test]
    fn an_endless_answer_is_not_taken() {
        let patience = Duration::from_secs(60);
        let error = said_by_one_that_repeats(vec![b' '; 1 << 20], Duration::ZERO, patience);
        assert!(matches!(error, ControlError::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_server_that_says_a_little_at_a_time_is_given_up() {
        let patience = Duration::from_millis(300);
        let error = said_by_one_that_repeats(vec![b' '], Duration::from_millis(10), patience);
        assert!(matches!(error, ControlError::TimedOut { .. }), "{error}");
    }

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
