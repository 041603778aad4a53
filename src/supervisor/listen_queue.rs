//! How many connections wait to be accepted: what the kernel says over sock_diag(7).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage, TCP_LISTEN,
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
    unix::{self, ShowFlags, UnixRequest, nlas::Nla},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use socket2::SockRef;

/// An answer about one socket is much shorter.
const ANSWER: usize = 4096;

/// The connections of a listening socket that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenQueue {
    /// How many wait.
    pub(super) length: u32,
    /// How many may wait.
    pub(super) limit: u32,
}

impl ListenQueue {
    /// Of a unix or TCP socket; `None` where the kernel does not say: it has no sock_diag, a sandbox allows no
    /// netlink (`RestrictAddressFamilies=` without AF_NETLINK), or the socket does not listen. Never waits.
    pub(super) fn of(socket: &impl AsFd) -> Option<Self> {
        let answer = request_for(socket).and_then(ask);
        match answer {
            Ok(answer) => Self::from_answer(&answer),
            Err(error) => {
                tracing::debug!(%error, "the length of a listen queue is not known");
                None
            }
        }
    }

    fn from_answer(answer: &SockDiagMessage) -> Option<Self> {
        match answer {
            SockDiagMessage::UnixResponse(unix) if unix.header.state == TCP_LISTEN => {
                unix.nlas.iter().find_map(|attribute| match attribute {
                    Nla::ReceiveQueueLength(length, limit) => Some(Self {
                        length: *length,
                        limit: *limit,
                    }),
                    _ => None,
                })
            }
            SockDiagMessage::InetResponse(inet) if inet.header.state == TCP_LISTEN => Some(Self {
                length: inet.header.recv_queue,
                limit: inet.header.send_queue,
            }),
            _ => None,
        }
    }
}

/// Asks for this one socket: its cookie tells it from one that got the same address or inode in between.
fn request_for(socket: &impl AsFd) -> io::Result<SockDiagMessage> {
    let of = SockRef::from(socket);
    let cookie = cookie(of.cookie()?);
    if let Some(address) = of.local_addr()?.as_socket() {
        return Ok(SockDiagMessage::InetRequest(InetRequest {
            family: match address {
                SocketAddr::V4(_) => AF_INET,
                SocketAddr::V6(_) => AF_INET6,
            },
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id: listening_at(address, cookie),
        }));
    }
    let inode = rustix::fs::fstat(socket)?.st_ino;
    Ok(SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: unix::StateFlags::LISTEN,
        inode: u32::try_from(inode).map_err(io::Error::other)?,
        show_flags: ShowFlags::RQLEN,
        cookie,
    }))
}

fn listening_at(address: SocketAddr, cookie: [u8; 8]) -> SocketId {
    let (nobody, interface) = match address {
        SocketAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(address) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.scope_id()),
    };
    SocketId {
        source_port: address.port(),
        source_address: address.ip(),
        destination_port: 0,
        destination_address: nobody,
        interface_id: interface,
        cookie,
    }
}

/// The kernel wants the lower half first, on any machine.
fn cookie(cookie: u64) -> [u8; 8] {
    let halves = [cookie as u32, (cookie >> 32) as u32];
    let mut bytes = [0; 8];
    for (to, from) in bytes
        .iter_mut()
        .zip(halves.map(u32::to_ne_bytes).as_flattened())
    {
        *to = *from;
    }
    bytes
}

fn ask(request: SockDiagMessage) -> io::Result<SockDiagMessage> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    // The kernel has answered when sending returns.
    socket.set_non_blocking(true)?;
    socket.send(&bytes, 0)?;
    let mut bytes = Vec::with_capacity(ANSWER);
    socket.recv(&mut bytes, 0)?;
    let answer =
        NetlinkMessage::<SockDiagMessage>::deserialize(&bytes).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(answer) => Ok(answer),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::net::{UnixListener, UnixStream},
    };

    use super::*;

    #[test]
    fn connections_to_a_unix_socket_wait_until_they_are_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 7).unwrap();
        let queue = |length| Some(ListenQueue { length, limit: 7 });
        assert_eq!(ListenQueue::of(&listener), queue(0));
        let _clients: Vec<_> = (0..3)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        assert_eq!(ListenQueue::of(&listener), queue(3));
        listener.accept().unwrap();
        assert_eq!(ListenQueue::of(&listener), queue(2));
    }

    #[test]
    fn connections_to_a_tcp_socket_wait_until_they_are_accepted() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert_eq!(address, "[::1]:0", "only IPv6 may be missing");
                continue;
            };
            rustix::net::listen(&listener, 7).unwrap();
            let queue = |length| Some(ListenQueue { length, limit: 7 });
            assert_eq!(ListenQueue::of(&listener), queue(0), "{address}");
            let here = listener.local_addr().unwrap();
            let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(here).unwrap()).collect();
            assert_eq!(ListenQueue::of(&listener), queue(3), "{address}");
            listener.accept().unwrap();
            assert_eq!(ListenQueue::of(&listener), queue(2), "{address}");
        }
    }

    #[test]
    fn what_does_not_listen_has_no_queue() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(ListenQueue::of(&one), None);
        assert_eq!(ListenQueue::of(&tempfile::tempfile().unwrap()), None);
    }
}
