//! uwsgi on a connection: a packet of variables, the body behind it, the response, the end.
//!
//! The end of the connection is the end of a response without a Content-Length. nginx takes only a reset for a failure
//! then, and the kernel resets a unix socket that is closed over unread bytes. So bytes of the request are looked at
//! and left there, held, until the response is known to be whole.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::BytesMut;

use super::steps::Arrived;
use crate::{
    protocol::{Decoder, Header, Packet, Progress},
    server::{
        net::{listener::Family, scratch::with_scratch, stream::Stream},
        request::refusal::Refusal,
    },
};

/// How much is looked at to find the variables. On a unix socket it is received again later, so a body that follows is
/// better left.
const LOOK: usize = 16 * 1024;

/// What is remembered of a connection that speaks uwsgi.
#[derive(Debug, Default)]
pub(crate) struct Uwsgi {
    /// Bytes of the request that were read and left in the socket.
    held: AtomicUsize,
}

impl Uwsgi {
    pub(super) fn read_head(
        &self,
        stream: &Stream,
        decoder: &Decoder,
        received: &mut BytesMut,
    ) -> Result<Arrived, Refusal> {
        loop {
            match self.look(stream, received) {
                Ok(0) if received.is_empty() => return Ok(Arrived::Left),
                Ok(0) => {
                    return Err(Refusal::CutShort {
                        received: received.len(),
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Arrived::NotYet);
                }
                Err(error) => return Err(Refusal::Io(error)),
            }
            match decoder.decode(received).map_err(Refusal::Malformed)? {
                Progress::Packet(packet) => return Ok(self.arrived(stream, packet)),
                Progress::Need(_) => self.let_go(stream),
            }
        }
    }

    fn arrived(&self, stream: &Stream, packet: Packet) -> Arrived {
        if packet.header.modifier1 != Header::PING {
            return Arrived::Head(packet.vars);
        }
        // The first write on a connection has room, and an error means that the peer has gone.
        let _ = stream.send_now([&Header::PONG.encode(), b""]);
        self.let_go(stream);
        Arrived::Answered
    }

    /// Appends what has arrived. On a unix socket it stays there as well, held.
    fn look(&self, stream: &Stream, received: &mut BytesMut) -> io::Result<usize> {
        with_scratch(|scratch| {
            let scratch = scratch.get_mut(..LOOK).unwrap_or_default();
            let read = match stream.family() {
                Family::Tcp => stream.recv_now(scratch)?,
                Family::Unix => {
                    let read = stream.peek_now(scratch)?;
                    self.held.store(read, Ordering::Relaxed);
                    read
                }
            };
            received.extend_from_slice(scratch.get(..read).unwrap_or_default());
            Ok(read)
        })
    }

    /// Receives some of the body, when nothing is held. On a unix socket its last byte then is.
    pub(super) fn receive_body(
        &self,
        stream: &Stream,
        left: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let is_unix = stream.family() == Family::Unix;
        let is_last = left == 1 && is_unix;
        let most = if is_unix && !is_last { left - 1 } else { left };
        let most = usize::try_from(most).map_or(into.len(), |most| most.min(into.len()));
        let part = into.get_mut(..most).unwrap_or_default();
        let read = if is_last {
            stream.peek_now(part)?
        } else {
            stream.recv_now(part)?
        };
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the client left before its body was whole",
            ));
        }
        self.held.store(usize::from(is_last), Ordering::Relaxed);
        Ok(read)
    }

    /// Takes out of the socket what is held there.
    pub(super) fn let_go(&self, stream: &Stream) {
        let mut held = self.held.swap(0, Ordering::Relaxed);
        if held == 0 {
            return;
        }
        with_scratch(|scratch| {
            while held > 0 {
                let most = held.min(scratch.len());
                let part = scratch.get_mut(..most).unwrap_or_default();
                match stream.recv_now(part) {
                    Ok(read) if read > 0 => held = held.saturating_sub(read),
                    _ => return,
                }
            }
        });
    }
}
