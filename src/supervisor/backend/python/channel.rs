//! Messages between master, mold and workers: JSON over one SEQPACKET socket pair.
//!
//! The master holds one end. The mold and all workers share the other: the mold takes orders from it, and all of
//! them report through it. The mold's side is `python/spile/_mold.py`.

use std::{
    io,
    os::fd::{OwnedFd, RawFd},
    path::PathBuf,
    task::{Context, Poll, ready},
};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Config, SocketAddress},
    server::{Listener, inherited},
    supervisor::{stats::scoreboard::Layout, system::credentials::SealedCredentials},
};

/// The longest message, in bytes: only [`Setup`] is ever near it.
const LONGEST: usize = 192 * 1024;

/// The longest report, in bytes: pieces of [`Report::Modules`] are kept below it.
const LONGEST_REPORT: usize = 32 * 1024;

/// Everything a mold and its workers need to know; the first message a mold gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The whole configuration.
    pub config: Config,
    /// The sockets, which the master has bound.
    pub listeners: Vec<Inherited>,
    /// Sealed memory with the certificate and the key, if TCP sockets speak TLS.
    pub credentials: Option<RawFd>,
    /// The read end of a pipe whose other end only the master holds: it ends when the master does.
    pub lifeline: RawFd,
    /// The memory that the master and the workers share.
    pub scoreboard: RawFd,
    /// How many slots it has.
    pub slots: usize,
    /// Whether another generation serves, and goes on if the warm-up of this one fails.
    pub replaces: bool,
    /// The version of the master; a mold of another refuses to go on.
    pub version: String,
}

/// A listening socket that the mold and the workers inherit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inherited {
    /// Its number in each of them.
    pub fd: RawFd,
    /// Where it listens.
    pub address: SocketAddress,
}

impl Setup {
    /// The sockets, as this process's own, speaking TLS where that was asked for.
    ///
    /// # Errors
    /// A descriptor is not what the master has said it is, or there is no room for another.
    pub fn listeners(&self) -> io::Result<Vec<Listener>> {
        let tls = match self.credentials {
            Some(fd) => Some(SealedCredentials::take(inherited(fd)?)?.tls()?),
            None => None,
        };
        let listeners = self.listeners.iter().map(|given| {
            let fd = inherited(given.fd)?;
            let listener = Listener::from_fd(fd, given.address.clone())?;
            Ok(match &tls {
                Some(tls) => listener.with_tls(tls.clone()),
                None => listener,
            })
        });
        listeners.collect()
    }

    /// What the scoreboard has room for.
    #[must_use]
    pub fn layout(&self) -> Layout {
        layout(&self.config, self.slots)
    }
}

/// The layout of the scoreboard of a generation with this configuration.
pub(in crate::supervisor) fn layout(config: &Config, slots: usize) -> Layout {
    let mounts = config.mounts.iter();
    Layout {
        slots,
        lanes: config.threads,
        mounts: mounts.map(|mount| mount.path().to_owned()).collect(),
    }
}

/// An order of the master to the mold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// Fork one more worker.
    Fork {
        /// The number of the worker's place, from 1.
        worker: usize,
        /// Its slot of the scoreboard.
        slot: usize,
    },
    /// Close the sockets: no more workers will be forked.
    Release,
    /// Close the sockets that the application listens on itself: it is about to be imported anew, and listens there
    /// again. Answered with [`Report::Parted`].
    Part,
}

/// A report of the mold or a worker to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum Report {
    /// The mold has imported every application.
    Imported {
        /// `CPython 3.11.7`.
        python: String,
        /// `sys.prefix`.
        prefix: String,
        /// Whether that is a virtual environment.
        venv: bool,
    },
    /// The mold has closed what the application itself listened on.
    Parted {
        /// Where that was.
        addresses: Vec<String>,
    },
    /// The mold has forked a worker.
    Forked {
        /// The worker's place.
        worker: usize,
        /// Its slot of the scoreboard.
        slot: usize,
        /// Its process.
        pid: u32,
    },
    /// The system refused the mold one more process.
    NotForked {
        /// The worker's place.
        worker: usize,
        /// The slot of the scoreboard that it would have had.
        slot: usize,
        /// What was refused.
        why: Why,
    },
    /// A worker accepts connections. It may say so before the mold has told of it.
    Serving {
        /// Its process.
        pid: u32,
    },
    /// A worker accepts no more; it finishes what it has.
    Left {
        /// Its process.
        pid: u32,
    },
    /// A worker has answered as many requests as it should, and can be replaced. It says so more than once.
    Enough {
        /// Its process.
        pid: u32,
    },
    /// A worker has lost a thread to a request that does not end. It serves on with its others.
    Stuck {
        /// Its process.
        pid: u32,
        /// The request's method and path.
        request: String,
        /// How long it has run.
        seconds: f64,
    },
    /// The mold cannot serve: importing an application, calling its factory or a request of the warm-up has failed.
    /// It ends with status 1.
    NotImported(Why),
    /// A worker cannot serve: the import of an application (with `--lazy`) or a function that was to run after the
    /// fork has failed. It ends with status 1.
    NotLoaded(Why),
    /// With `--reload`: files of imported modules, or of modules that could not be imported. Each is named once by
    /// each process, in any number of reports.
    Modules {
        /// Absolute paths. A file need not exist.
        files: Vec<PathBuf>,
        /// When they were listed, in nanoseconds since 1970. What changed before has been imported so.
        at: u64,
    },
    /// A worker is gone.
    Exited {
        /// Its process.
        pid: u32,
        /// As waitpid(2) gave it.
        status: i32,
    },
}

/// Why applications cannot be served, or not by another worker. The log has the traceback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What has failed, and with what, in one line.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

/// A worker's report.
pub(in crate::supervisor) fn report(channel: &OwnedFd, report: &Report) {
    send(channel, report, SendFlags::empty());
}

/// A worker's report, dropped when the master would have to be waited for.
pub(in crate::supervisor) fn report_if_there_is_room(channel: &OwnedFd, report: &Report) {
    send(channel, report, SendFlags::DONTWAIT);
}

fn send(channel: &OwnedFd, report: &Report, flags: SendFlags) {
    if let Ok(text) = serde_json::to_vec(report) {
        // A master that has gone is seen by the lifeline.
        let _ = rustix::net::send(channel, &text, flags | SendFlags::NOSIGNAL);
    }
}

/// The master's end of the channel.
#[derive(Debug)]
pub(in crate::supervisor) struct Channel(tokio::net::UnixDatagram);

impl Channel {
    /// A channel and the end that the mold inherits.
    pub(in crate::supervisor) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        // The type only decides which calls are made: send(2) and recv(2), which are right for SEQPACKET too.
        let ours = tokio::net::UnixDatagram::from_std(ours.into())?;
        Ok((Self(ours), theirs))
    }

    pub(in crate::supervisor) async fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the configuration is longer than 192 KiB",
            ));
        }
        self.0.send(&text).await.map(drop)
    }

    /// Sends if there is room: [`io::ErrorKind::WouldBlock`] when the mold has to be heard first.
    pub(in crate::supervisor) fn try_send(&self, message: &impl Serialize) -> io::Result<()> {
        self.0.try_send(&serde_json::to_vec(message)?).map(drop)
    }

    /// The next report. At the channel's end it stays pending: the ends of processes are seen by other means.
    pub(in crate::supervisor) fn poll_report(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Report>> {
        loop {
            ready!(self.0.poll_recv_ready(context))?;
            match self.try_report() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(Some(report)) => return Poll::Ready(Ok(report)),
                Ok(None) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// A report that has arrived: [`io::ErrorKind::WouldBlock`] when there is none.
    pub(in crate::supervisor) fn try_report(&self) -> io::Result<Option<Report>> {
        let mut text = vec![0; LONGEST_REPORT];
        let length = match self.0.try_recv(&mut text) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => other?,
        };
        Ok(Some(serde_json::from_slice(
            text.get(..length).unwrap_or_default(),
        )?))
    }
}
