//! How many connections wait to be accepted: what the kernel says over sock_diag(7).

use std::{io, net::SocketAddr, os::fd::AsFd};

use nom::{
    IResult, Parser,
    bytes::complete::take,
    number::{Endianness::Native, complete},
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use socket2::SockRef;

/// The connections of a listening socket that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct ListenQueue {
    /// How many wait.
    pub(in crate::supervisor) length: u32,
    /// How many may wait.
    pub(in crate::supervisor) limit: u32,
}

impl ListenQueue {
    /// Of a unix or TCP socket; `None` where the kernel does not say: it has no sock_diag, a sandbox allows no
    /// netlink (`RestrictAddressFamilies=` without AF_NETLINK), or the socket does not listen. Never waits.
    pub(in crate::supervisor) fn of(socket: &impl AsFd) -> Option<Self> {
        let answer = request_for(socket).and_then(|request| ask(&request));
        match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "the length of a listen queue is not known");
                None
            }
        }
    }
}

// The numbers of linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h and linux/inet_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;

/// The bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;
/// An answer about one socket is much shorter.
const ANSWER: usize = 4096;

/// Asks for this one socket: its cookie tells it from one that got the same address or inode in between.
fn request_for(socket: &impl AsFd) -> io::Result<Vec<u8>> {
    let of = SockRef::from(socket);
    let cookie = halves(of.cookie()?);
    let states = (1u32 << TCP_LISTEN).to_ne_bytes();
    let Some(address) = of.local_addr()?.as_socket() else {
        let inode = rustix::fs::fstat(socket)?.st_ino;
        let inode = u32::try_from(inode).map_err(io::Error::other)?;
        // A `struct unix_diag_req`.
        return Ok(message(&[
            &[AF_UNIX, 0, 0, 0],
            &states,
            &inode.to_ne_bytes(),
            &UDIAG_SHOW_RQLEN.to_ne_bytes(),
            &cookie,
        ]));
    };
    let mut source = [0; 16];
    let (family, octets, interface) = match &address {
        SocketAddr::V4(v4) => (AF_INET, v4.ip().octets().to_vec(), 0),
        SocketAddr::V6(v6) => (AF_INET6, v6.ip().octets().to_vec(), v6.scope_id()),
    };
    source
        .iter_mut()
        .zip(octets)
        .for_each(|(to, from)| *to = from);
    // A `struct inet_diag_req_v2`: ports and addresses as on the wire, nobody at the other end.
    Ok(message(&[
        &[family, IPPROTO_TCP, 0, 0],
        &states,
        &address.port().to_be_bytes(),
        &[0; 2],
        &source,
        &[0; 16],
        &interface.to_ne_bytes(),
        &cookie,
    ]))
}

/// Puts a netlink header before the parts of a request.
fn message(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    [
        &length.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        // The request's number, and who asks: the kernel fills that in.
        &[0; 8],
        &body,
    ]
    .concat()
}

/// The kernel wants the lower half first, on any machine.
fn halves(cookie: u64) -> [u8; 8] {
    let [low, high] = [cookie as u32, (cookie >> 32) as u32].map(u32::to_ne_bytes);
    let mut both = [0; 8];
    both.iter_mut()
        .zip(low.into_iter().chain(high))
        .for_each(|(to, from)| *to = from);
    both
}

fn ask(request: &[u8]) -> io::Result<Option<ListenQueue>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        // The kernel has answered when sending returns.
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::send(&socket, request, SendFlags::empty())?;
    let mut bytes = vec![0; ANSWER];
    let (received, _) = rustix::net::recv(&socket, &mut *bytes, RecvFlags::empty())?;
    let answer = bytes.get(..received).unwrap_or_default();
    let (_, answer) = read(answer).map_err(|_| io::ErrorKind::InvalidData)?;
    match answer {
        Answer::Queue(queue) => Ok(queue),
        Answer::Error(number) => Err(io::Error::from_raw_os_error(number)),
    }
}

enum Answer {
    /// `None` for a socket that does not listen.
    Queue(Option<ListenQueue>),
    Error(i32),
}

fn read(input: &[u8]) -> IResult<&[u8], Answer> {
    let (input, (_length, kind, _rest)) = (u32, u16, take(10usize)).parse(input)?;
    if kind == NLMSG_ERROR {
        return complete::i32(Native)
            .map(|number: i32| Answer::Error(number.wrapping_neg()))
            .parse(input);
    }
    let (_, family) = complete::u8(input)?;
    let queue = if family == AF_UNIX { of_unix } else { of_tcp };
    queue.map(Answer::Queue).parse(input)
}

/// Reads a `struct unix_diag_msg`, and of its attributes the one about the queue.
fn of_unix(input: &[u8]) -> IResult<&[u8], Option<ListenQueue>> {
    let (mut input, (_, state, _)) = (take(2usize), complete::u8, take(13usize)).parse(input)?;
    while state == TCP_LISTEN && !input.is_empty() {
        let (rest, (kind, value)) = attribute(input)?;
        if kind == UNIX_DIAG_RQLEN {
            return lengths(value).map(|(_, queue)| (rest, Some(queue)));
        }
        input = rest;
    }
    Ok((input, None))
}

/// Reads a `struct nlattr`: its length counts its head of four bytes, and the next begins at a multiple of four.
fn attribute(input: &[u8]) -> IResult<&[u8], (u16, &[u8])> {
    let (input, (length, kind)) = (u16, u16).parse(input)?;
    let (input, value) = take(usize::from(length).saturating_sub(4)).parse(input)?;
    let padding = value.len().next_multiple_of(4) - value.len();
    let (input, _) = take(padding.min(input.len())).parse(input)?;
    Ok((input, (kind, value)))
}

/// Reads a `struct inet_diag_msg` as far as its queues, which for a socket that listens are connections.
fn of_tcp(input: &[u8]) -> IResult<&[u8], Option<ListenQueue>> {
    let (input, (_family, state, _rest)) =
        (complete::u8, complete::u8, take(54usize)).parse(input)?;
    lengths
        .map(|queue| (state == TCP_LISTEN).then_some(queue))
        .parse(input)
}

fn lengths(input: &[u8]) -> IResult<&[u8], ListenQueue> {
    (u32, u32)
        .map(|(length, limit)| ListenQueue { length, limit })
        .parse(input)
}

fn u32(input: &[u8]) -> IResult<&[u8], u32> {
    complete::u32(Native)(input)
}

fn u16(input: &[u8]) -> IResult<&[u8], u16> {
    complete::u16(Native)(input)
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
