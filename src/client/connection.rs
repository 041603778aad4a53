use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::ClientError;
use crate::address::SocketAddress;

/// A connection to a server, with time-outs for each read and write.
pub(super) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    /// Connects; `timeout` goes for this, and for each read and write after it.
    pub(super) fn open(address: &SocketAddress, timeout: Duration) -> Result<Self, ClientError> {
        let failed = |error| ClientError::Connect {
            address: address.clone(),
            error,
        };
        let connection = match address {
            SocketAddress::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
                // A unix connect waits for room in the listen queue as long as a write would.
                socket.set_write_timeout(Some(timeout)).map_err(failed)?;
                socket
                    .connect(&SockAddr::unix(path).map_err(failed)?)
                    .map_err(failed)?;
                Self::Unix(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
            }
            SocketAddress::Tcp(host, port) => {
                let addresses = (host.as_str(), *port).to_socket_addrs();
                let addresses = addresses.map_err(|error| ClientError::Resolve {
                    address: address.clone(),
                    error,
                })?;
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                let stream = addresses.into_iter().find_map(|address| {
                    let stream = TcpStream::connect_timeout(&address, timeout);
                    stream.map_err(|error| last = error).ok()
                });
                let stream = stream.ok_or_else(|| failed(last))?;
                // The packet and the first bytes of the body are two writes, and no reason to wait.
                stream.set_nodelay(true).map_err(failed)?;
                Self::Tcp(stream)
            }
        };
        connection.set_read_timeout(timeout).map_err(failed)?;
        connection.set_write_timeout(timeout).map_err(failed)?;
        Ok(connection)
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(Some(timeout)),
            Self::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        // The peer may have closed first.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
        };
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
