//! Listening sockets that systemd has made (sd_listen_fds(3)), or the master before an upgrade.

use std::{
    io,
    net::SocketAddr,
    os::fd::{OwnedFd, RawFd},
    sync::Arc,
};

use rustix::net::SocketAddrUnix;

use super::{
    handover,
    inherited::{ActivationError, Given, Unfit, take_listening},
};
use crate::{config::SocketAddress, server::Listener};

/// Takes what this process was given. To be called once: the descriptors are moved away from where they were.
///
/// # Errors
/// What was given is not what it was said to be.
pub(in crate::supervisor) fn take() -> Result<Given, ActivationError> {
    if let Some(given) = handover::take()? {
        return Ok(given);
    }
    let descriptors = sd_notify::listen_fds_with_names().map_err(ActivationError::Variables)?;
    let listeners = descriptors
        .map(|(fd, name)| {
            let taken = take_passed(fd).map_err(|source| source.of(fd, &name));
            taken.map(Arc::new)
        })
        .collect::<Result<_, _>>()?;
    Ok(Given {
        listeners,
        ..Given::default()
    })
}

fn take_passed(fd: RawFd) -> Result<Listener, Unfit> {
    let socket = take_listening(fd)?;
    let address = address_of(&socket)?;
    Ok(Listener::from_fd(socket, address)?)
}

fn address_of(socket: &OwnedFd) -> Result<SocketAddress, Unfit> {
    let bound = rustix::net::getsockname(socket).map_err(io::Error::from)?;
    if let Ok(address) = SocketAddr::try_from(bound.clone()) {
        return Ok(SocketAddress::Tcp(address.ip().to_string(), address.port()));
    }
    let bound = SocketAddrUnix::try_from(bound).map_err(io::Error::from)?;
    if let Some(name) = bound.abstract_name() {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(Unfit::Abstract { name });
    }
    let path = bound.path_bytes().unwrap_or_default();
    match std::str::from_utf8(path) {
        Ok(path) if !path.is_empty() => Ok(SocketAddress::Unix(path.into())),
        _ => Err(Unfit::NoPath),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_listening_socket_is_told_apart() {
        use std::{
            net,
            os::{
                fd::IntoRawFd,
                unix::net::{UnixDatagram, UnixListener, UnixStream},
            },
        };
        let why = |fd: RawFd| {
            take_passed(fd)
                .map_err(|unfit| unfit.to_string())
                .unwrap_err()
        };
        let file = tempfile::tempfile().unwrap();
        assert_eq!(why(file.into_raw_fd()), "is not a socket");
        let datagram = UnixDatagram::unbound().unwrap();
        assert_eq!(why(datagram.into_raw_fd()), "is not a stream socket");
        let (connected, _peer) = UnixStream::pair().unwrap();
        assert_eq!(why(connected.into_raw_fd()), "does not listen");
        use std::os::linux::net::SocketAddrExt;
        let name = format!("spile-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let nameless = UnixListener::bind_addr(&address).unwrap();
        assert_eq!(
            why(nameless.into_raw_fd()),
            format!("listens on the abstract address @{name}")
        );
        let tcp = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let taken = take_passed(tcp.into_raw_fd()).unwrap();
        assert_eq!(
            *taken.address(),
            SocketAddress::Tcp("127.0.0.1".into(), port)
        );
    }
}
