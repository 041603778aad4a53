//! Sockets and files that this process was started with, by systemd or by the master before it.

use std::{
    io,
    net::ToSocketAddrs,
    os::fd::{OwnedFd, RawFd},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, sockopt},
};
use thiserror::Error;

use super::pidfile::Pidfile;
use crate::{
    config::{Cure, SocketAddress},
    server::{Listener, inherited},
    supervisor::system::credentials::SealedCredentials,
};

/// Holds what one master hands over to the next, as JSON.
pub(in crate::supervisor) const HANDED_OVER: &str = "SPILE_HANDED_OVER";

/// Variables that are meant for this process alone: its children start without them.
pub(in crate::supervisor) const VARIABLES: [&str; 4] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", HANDED_OVER];

/// Sockets and files that this process was started with.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Given {
    /// The sockets.
    pub(in crate::supervisor) listeners: Vec<Arc<Listener>>,
    /// The pid file of the master before this one.
    pub(in crate::supervisor) pidfile: Option<Pidfile>,
    /// The certificate and the key of the master before this one.
    pub(in crate::supervisor) credentials: Option<Rc<SealedCredentials>>,
    /// The way to tell the master before this one that it may leave, if there is one.
    pub(in crate::supervisor) before: Option<OwnedFd>,
    /// The way to tell the first process of the container that this one serves, if that stays.
    pub(in crate::supervisor) first: Option<OwnedFd>,
}

impl Given {
    /// Takes out the socket that listens at `address`.
    pub(in crate::supervisor) fn take_at(
        &mut self,
        address: &SocketAddress,
    ) -> Option<Arc<Listener>> {
        let found = self
            .listeners
            .iter()
            .position(|listener| is_same(address, listener.address(), self.before.is_some()))?;
        Some(self.listeners.remove(found))
    }

    /// Takes out those that something else than spile has made: all of them are to be served on.
    pub(in crate::supervisor) fn take_passed(&mut self) -> Vec<Arc<Listener>> {
        let all = std::mem::take(&mut self.listeners);
        let (passed, others) = all
            .into_iter()
            .partition(|it: &Arc<Listener>| it.is_passed());
        self.listeners = others;
        passed
    }
}
/// Moves a descriptor to where nothing but its owner knows it, closed on exec.
pub(in crate::supervisor) fn take_descriptor(fd: RawFd) -> Result<OwnedFd, Unfit> {
    let taken = inherited(fd)?;
    // It was open a moment ago.
    let _ = nix::unistd::close(fd);
    Ok(taken)
}

/// Takes a descriptor that has to be a listening stream socket.
pub(in crate::supervisor) fn take_listening(fd: RawFd) -> Result<OwnedFd, Unfit> {
    let socket = take_descriptor(fd)?;
    match sockopt::socket_type(&socket) {
        Ok(SocketType::STREAM) => {}
        Ok(_) => return Err(Unfit::NotStream),
        Err(Errno::NOTSOCK) => return Err(Unfit::NotSocket),
        Err(error) => return Err(Unfit::Io(error.into())),
    }
    let family = sockopt::socket_domain(&socket).map_err(io::Error::from)?;
    let is_tcp = [AddressFamily::INET, AddressFamily::INET6].contains(&family);
    if !is_tcp && family != AddressFamily::UNIX {
        return Err(Unfit::Family);
    }
    if !sockopt::socket_acceptconn(&socket).map_err(io::Error::from)? {
        return Err(Unfit::NotListening);
    }
    if is_tcp {
        // As for the sockets that spile makes; MPTCP, which systemd may make, knows it too.
        sockopt::set_tcp_nodelay(&socket, true).map_err(io::Error::from)?;
    }
    Ok(socket)
}

/// Whether a socket at `have` is the one asked for at `asked`. One that was asked for at port 0 has got another.
pub(in crate::supervisor) fn is_same(
    asked: &SocketAddress,
    have: &SocketAddress,
    any_port: bool,
) -> bool {
    match (asked, have) {
        (SocketAddress::Unix(asked), SocketAddress::Unix(have)) => full(asked) == full(have),
        (SocketAddress::Tcp(host, port), SocketAddress::Tcp(has_host, has_port)) => {
            (port == has_port || any_port && *port == 0)
                && (host == has_host
                    || resolved(host).is_some_and(|it| resolved(has_host) == Some(it)))
        }
        _ => false,
    }
}

/// The path without links in its directory: /var/run is /run.
fn full(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (real, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path,
    }
}

fn resolved(host: &str) -> Option<std::net::IpAddr> {
    let mut addresses = (host, 0).to_socket_addrs().ok()?;
    addresses.next().map(|address| address.ip())
}

/// Why sockets that were passed cannot be used.
#[derive(Debug, Error)]
pub enum ActivationError {
    /// The variables do not agree with one another or with the descriptors that are open.
    #[error("LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES do not say which sockets are passed: {0}")]
    Variables(#[source] io::Error),
    /// The old master's list cannot be read.
    #[error(
        "{name}, by which one master tells the next of its sockets, cannot be read: {0}",
        name = HANDED_OVER
    )]
    HandedOver(#[source] serde_json::Error),
    /// A descriptor is not a socket to accept on.
    #[error("descriptor {fd} ({name}), which was passed as a listening socket, {unfit}")]
    Descriptor {
        /// Its number.
        fd: RawFd,
        /// Its name in LISTEN_FDNAMES: by default the unit's.
        name: String,
        /// The reason.
        unfit: Unfit,
    },
}

/// Why a descriptor cannot be accepted on.
#[derive(Debug, Error)]
pub enum Unfit {
    /// A file, a pipe.
    #[error("is not a socket")]
    NotSocket,
    /// Datagrams or packets.
    #[error("is not a stream socket")]
    NotStream,
    /// Neither unix(7), ip(7) nor ipv6(7).
    #[error("is neither a unix nor an IP socket")]
    Family,
    /// Such as one that systemd has accepted.
    #[error("does not listen")]
    NotListening,
    /// An abstract address, which has no file.
    #[error("listens on the abstract address @{name}")]
    Abstract {
        /// The name.
        name: String,
    },
    /// Bound to nothing, or to what is not UTF-8.
    #[error("has no path in UTF-8")]
    NoPath,
    /// Not open, or the system refused.
    #[error("cannot be taken: {0}")]
    Io(#[from] io::Error),
}

impl Unfit {
    pub(in crate::supervisor) fn of(self, fd: RawFd, name: &str) -> ActivationError {
        ActivationError::Descriptor {
            fd,
            name: name.to_owned(),
            unfit: self,
        }
    }
}

impl Cure for ActivationError {
    fn cure(&self) -> String {
        let unfit = match self {
            Self::Variables(_) => {
                return "unset them unless systemd or something like it starts spile".to_owned();
            }
            Self::HandedOver(_) => {
                return format!("unset {}: spile itself sets it at an upgrade", HANDED_OVER);
            }
            Self::Descriptor { unfit, .. } => unfit,
        };
        match unfit {
            Unfit::NotSocket | Unfit::NotStream | Unfit::Family => {
                "pass what ListenStream= in a systemd .socket unit makes"
            }
            Unfit::NotListening => "leave Accept= out of the .socket unit, or set it to no",
            Unfit::Abstract { .. } | Unfit::NoPath => {
                "give ListenStream= a path or an IP address and port: nginx cannot connect to others"
            }
            Unfit::Io(_) => "pass descriptors that are open, from 3 on",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(asked: &str, have: &str) -> bool {
        is_same(&asked.parse().unwrap(), &have.parse().unwrap(), false)
    }

    #[test]
    fn an_address_is_known_however_it_is_written() {
        assert!(same("127.0.0.1:80", "127.0.0.1:80"));
        assert!(same("localhost:80", "127.0.0.1:80") || same("localhost:80", "[::1]:80"));
        assert!(same("[0:0::1]:80", "[::1]:80"));
        assert!(!same("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!same("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!same("./80", "127.0.0.1:80"));
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("run"), directory.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let [real, link] = [real, link].map(|path| path.join("a.sock").display().to_string());
        assert!(same(&real, &link));
        assert!(!same(&format!("{real}2"), &link));
    }

    #[test]
    fn the_port_that_the_kernel_chose_is_kept_at_an_upgrade() {
        let (asked, have) = (
            "127.0.0.1:0".parse().unwrap(),
            "127.0.0.1:3".parse().unwrap(),
        );
        assert!(is_same(&asked, &have, true));
        assert!(!is_same(&asked, &have, false));
    }
}
