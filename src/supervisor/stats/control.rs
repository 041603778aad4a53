//! The control socket: `spile stats`, `reload` and `top` ask the master here. See [`crate::client::control`] for what
//! is said on it.

use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    client::control::{Answer, Command, Failure, Reloaded},
    config::{Config, SocketAddress},
    observe::stats::Stats,
    server::{BindError, Binding, Listener},
    supervisor::{error::SupervisorError, sockets::inherited::Given},
};

/// Clients at the same time; the kernel keeps the next until one has gone.
const MOST_CLIENTS: usize = 16;

/// The longest line that a client may send, in bytes.
const LONGEST_LINE: usize = 4096;

/// How long a client may take to send its line, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the master may take to say how it is.
const MASTER_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for descriptors, when there are none.
const NO_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A question to the master. One that is dropped without an answer was not acted on.
#[derive(Debug)]
pub(in crate::supervisor) enum Asked {
    /// How it is.
    Stats(oneshot::Sender<Stats>),
    /// To reload; answered when that is done or has failed.
    Reload(oneshot::Sender<Result<Reloaded, Failure>>),
}

/// Asks the master how it is; `None` when it does not say.
pub(in crate::supervisor) async fn stats(master: &mpsc::Sender<Asked>) -> Option<Stats> {
    let (answer, answered) = oneshot::channel();
    let ask = async {
        master.send(Asked::Stats(answer)).await.ok()?;
        answered.await.ok()
    };
    timeout(MASTER_PATIENCE, ask).await.ok().flatten()
}

/// Makes the control socket of a server that listens on `first`, unless it was given: its owner alone may connect,
/// from its first moment. One that nobody asked for and that cannot be made is left out, with a warning.
///
/// # Errors
/// [`SupervisorError::Control`], when it was asked for.
pub(in crate::supervisor) fn bind(
    config: &Config,
    first: &SocketAddress,
    given: &mut Given,
    owner: (Option<u32>, Option<u32>),
) -> Result<Option<Arc<Listener>>, SupervisorError> {
    let place = config.control_path(first);
    let address = SocketAddress::Unix(place.path.clone());
    if let Some(listener) = given.take_at(&address) {
        return Ok(Some(listener));
    }
    let mut binding = Binding::new(address.clone());
    binding.mode = Some(0o600);
    binding.owner = owner;
    binding.backlog = 16;
    let bound = match place.make_directory() {
        Ok(()) => Listener::bind(&binding),
        Err(source) => Err(BindError::Io { address, source }),
    };
    match bound {
        Ok(listener) => Ok(Some(Arc::new(listener))),
        Err(error) if place.asked => Err(SupervisorError::Control(error)),
        Err(error) => {
            tracing::warn!(
                "no control socket: {error}; `spile stats`, `top` and `reload` need one, at a path that --control \
                 names"
            );
            Ok(None)
        }
    }
}

/// Answers clients for as long as the future is polled. It asks the master.
///
/// # Errors
/// The reactor does not take the socket.
pub(in crate::supervisor) fn serve(
    listener: &Listener,
    master: mpsc::Sender<Asked>,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let fd = listener.as_fd().try_clone_to_owned()?;
    let socket = UnixListener::from_std(fd.into())?;
    Ok(async move {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = socket.accept(), if clients.len() < MOST_CLIENTS => match accepted {
                    Ok((stream, _)) => {
                        clients.spawn(answer(stream, master.clone()));
                    }
                    Err(_) => sleep(NO_DESCRIPTORS).await,
                },
                Some(_) = clients.join_next() => {}
            }
        }
    })
}

/// Answers a client; one that is slow or has gone is left.
async fn answer(stream: UnixStream, master: mpsc::Sender<Asked>) {
    let Ok(line) = timeout(PATIENCE, line(&stream)).await else {
        return;
    };
    let text = match line.and_then(|line| Ok(serde_json::from_slice(&line)?)) {
        Ok(Command::Stats) => document(stats(&master).await.ok_or_else(stopping)),
        Ok(Command::Reload) => {
            let (answer, answered) = oneshot::channel();
            // Nobody there: `answer` is dropped, and so `answered` fails.
            let _ = master.send(Asked::Reload(answer)).await;
            document(answered.await.unwrap_or_else(|_| Err(stopping())))
        }
        Err(error) => document::<()>(Err(Failure {
            what: format!("the request is not a line of JSON with a command: {error}"),
            hint: r#"send {"command":"stats"} or {"command":"reload"}"#.to_owned(),
        })),
    };
    let _ = timeout(PATIENCE, write_all(&stream, &text)).await;
}

fn document<T: Serialize>(result: Result<T, Failure>) -> Vec<u8> {
    let answer = match result {
        Ok(done) => Answer::Ok(done),
        Err(failure) => Answer::Error(failure),
    };
    // All of its maps have texts for keys, so it can be written.
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    text.push(b'\n');
    text
}

fn stopping() -> Failure {
    Failure {
        what: "the server is stopping, or hangs".to_owned(),
        hint: "look at its log".to_owned(),
    }
}

/// Reads up to the first end of a line, or to the end of the stream.
async fn line(stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut piece = [0; 512];
    loop {
        stream.readable().await?;
        let got = match stream.try_read(&mut piece) {
            Ok(0) => return Ok(read),
            Ok(count) => piece.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        if let Some(end) = got.iter().position(|&byte| byte == b'\n') {
            read.extend_from_slice(got.get(..end).unwrap_or_default());
            return Ok(read);
        }
        read.extend_from_slice(got);
        if read.len() > LONGEST_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is longer than {LONGEST_LINE} bytes"),
            ));
        }
    }
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::{fs::PermissionsExt, net::UnixStream as Client},
        path::Path,
    };

    use super::*;
    use crate::client::control::{ControlError, ask};

    /// A control socket in front of a master that answers what it is told to.
    struct Fake {
        directory: tempfile::TempDir,
        listener: Arc<Listener>,
    }

    impl Fake {
        fn start(mut master: impl FnMut(Asked) + Send + 'static) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let listener = make(&directory.path().join("c")).unwrap();
            let (asked, mut requests) = mpsc::channel(1);
            tokio::spawn(async move {
                while let Some(request) = requests.recv().await {
                    master(request);
                }
            });
            tokio::spawn(serve(&listener, asked).unwrap());
            Self {
                directory,
                listener,
            }
        }

        fn path(&self) -> std::path::PathBuf {
            self.directory.path().join("c")
        }

        async fn ask<T>(&self, command: Command) -> Result<T, ControlError>
        where
            T: serde::de::DeserializeOwned + Send + 'static,
        {
            let path = self.path();
            let asking = move || ask(&[path], command, Duration::from_secs(30));
            tokio::task::spawn_blocking(asking).await.unwrap()
        }

        /// What comes back for these bytes.
        async fn send(&self, bytes: &'static [u8]) -> String {
            let path = self.path();
            let exchange = move || {
                let mut client = Client::connect(path).unwrap();
                // It may have been answered and closed before all was sent.
                let _ = client.write_all(bytes);
                let mut answer = Vec::new();
                let _ = client.read_to_end(&mut answer);
                String::from_utf8(answer).unwrap()
            };
            tokio::task::spawn_blocking(exchange).await.unwrap()
        }
    }

    fn make(path: &Path) -> Result<Arc<Listener>, SupervisorError> {
        let config = Config {
            control: Some(path.to_owned()),
            ..Config::default()
        };
        let first = &config.sockets[0];
        bind(&config, first, &mut Given::default(), (None, None)).map(Option::unwrap)
    }

    fn good(asked: Asked) {
        match asked {
            Asked::Stats(answer) => {
                let version = "9".repeat(1_000_000);
                let _ = answer.send(Stats {
                    version,
                    ..Stats::default()
                });
            }
            Asked::Reload(answer) => {
                let _ = answer.send(Ok(Reloaded {
                    generation: 7,
                    seconds: 0.5,
                }));
            }
        }
    }

    #[tokio::test]
    async fn the_master_is_asked_and_its_answer_comes_back() {
        let fake = Fake::start(good);
        let stats: Stats = fake.ask(Command::Stats).await.unwrap();
        assert_eq!(stats.version.len(), 1_000_000);
        let reloaded: Reloaded = fake.ask(Command::Reload).await.unwrap();
        assert_eq!(reloaded.generation, 7);
    }

    #[tokio::test]
    async fn a_reload_that_fails_says_why() {
        let fake = Fake::start(|asked| {
            if let Asked::Reload(answer) = asked {
                let _ = answer.send(Err(Failure {
                    what: "no module".to_owned(),
                    hint: "write it".to_owned(),
                }));
            }
        });
        let error = fake.ask::<Reloaded>(Command::Reload).await.unwrap_err();
        assert!(
            matches!(&error, ControlError::Refused(failure) if failure.hint == "write it"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_master_that_drops_the_request_is_stopping() {
        let fake = Fake::start(drop);
        for command in [Command::Stats, Command::Reload] {
            let error = fake.ask::<()>(command).await.unwrap_err();
            assert!(error.to_string().contains("stopping"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_request_that_is_none_is_told_so() {
        let fake = Fake::start(good);
        for bytes in [
            &b"\n"[..],
            b"stats\n",
            b"{\"command\":\"stop\"}\n",
            b"\xff\x00\n",
            &[b'x'; 100_000],
        ] {
            let answer = fake.send(bytes).await;
            assert!(
                answer.is_empty() && bytes.len() > LONGEST_LINE
                    || answer.starts_with("{\"error\":{\"what\":\"the request is not"),
                "{answer}"
            );
        }
        assert!(
            fake.send(b"{\"command\":\"reload\"}\n")
                .await
                .contains("\"generation\":7")
        );
    }

    #[tokio::test]
    async fn clients_that_say_nothing_are_left_and_others_answered() {
        let fake = Fake::start(good);
        let mut silent = Vec::new();
        for _ in 0..MOST_CLIENTS {
            silent.push(Client::connect(fake.path()).unwrap());
        }
        fake.ask::<Reloaded>(Command::Reload).await.unwrap();
        // Left, since otherwise there would have been no room.
        let mut rest = Vec::new();
        silent[0].read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_and_goes_with_the_server() {
        let fake = Fake::start(good);
        fake.ask::<Reloaded>(Command::Reload).await.unwrap();
        let mode = std::fs::metadata(fake.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = make(&fake.path()).unwrap_err();
        assert!(matches!(
            error,
            SupervisorError::Control(BindError::InUse { owner: Some(_), .. })
        ));
        drop(fake.listener);
        assert!(!fake.directory.path().join("c").exists());
    }

    #[test]
    fn one_that_nobody_asked_for_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            pidfile: Some(directory.path().join("missing/pid")),
            ..Config::default()
        };
        let first = config.sockets[0].clone();
        assert!(
            bind(&config, &first, &mut Given::default(), (None, None))
                .unwrap()
                .is_none()
        );
        config.control = Some(directory.path().join("missing/control"));
        assert!(bind(&config, &first, &mut Given::default(), (None, None)).is_err());
    }
}
