//! A TLS connection over a socket, as far as it gets without waiting.

use std::{
    future::poll_fn,
    io::{self, BufRead, IoSlice, Read, Write},
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use super::tickets;
use crate::server::net::stream::Stream;

/// The server's end of a TLS connection.
pub(super) struct Session {
    tls: ServerConnection,
    stream: Stream,
    /// Bytes that the socket has taken.
    sent: usize,
}

/// Why a session cannot go on.
pub(super) enum Broken {
    /// What the peer sent is not as it should be, or it says that ours is not.
    Tls(rustls::Error),
    /// The peer, or the system.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>, stream: Stream) -> Result<Self, rustls::Error> {
        let mut tls = ServerConnection::new(config)?;
        // The relay takes nothing more from the application before what it has taken is sent.
        tls.set_buffer_limit(None);
        Ok(Self {
            tls,
            stream,
            sent: 0,
        })
    }

    /// Exchanges messages until both sides are agreed; `false` when the peer left before that.
    pub(super) async fn shake_hands(&mut self) -> Result<bool, Broken> {
        loop {
            poll_fn(|context| self.poll_send(context)).await?;
            if !self.tls.is_handshaking() {
                return Ok(true);
            }
            if poll_fn(|context| self.poll_receive(context)).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Whether the handshake took up an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The socket. An alert that was to be sent is, if there is room for it.
    pub(super) fn into_stream(mut self) -> Stream {
        if self.tls.wants_write() {
            let _ = self.tls.write_tls(&mut Wire(&self.stream));
        }
        self.stream
    }

    /// Sends everything that is to be sent.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire(&self.stream)) {
                Ok(count) => self.sent = self.sent.wrapping_add(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_writable(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// A number that changes whenever the peer's side has taken something.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// Receives some more: the number of bytes, 0 at the end.
    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>> {
        loop {
            match self.tls.read_tls(&mut Wire(&self.stream)) {
                Ok(read) => {
                    tickets::reading(|| self.tls.process_new_packets()).map_err(Broken::Tls)?;
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_readable(context))?;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// What was received and not yet taken: `None` at its end, however the peer has ended it. The protocol inside
    /// says how long everything is, so nothing depends on a close_notify.
    pub(super) fn received(&mut self) -> Received<'_> {
        // In two steps: the borrow checker does not see that the chunk is not used in the other arms.
        match self.tls.reader().fill_buf() {
            Ok([]) => return Received::End,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::NotYet,
            Err(_) => return Received::End,
            Ok(_) => {}
        }
        self.tls
            .reader()
            .into_first_chunk()
            .map_or(Received::End, Received::Chunk)
    }

    /// Takes so many bytes of what was received.
    pub(super) fn consume(&mut self, count: usize) {
        self.tls.reader().consume(count);
    }

    /// Has bytes be sent, all of them.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub(super) fn close_notify(&mut self) {
        self.tls.send_close_notify();
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }
}

/// What a peer has sent.
pub(super) enum Received<'a> {
    Chunk(&'a [u8]),
    NotYet,
    End,
}

/// The socket as rustls wants it.
struct Wire<'a>(&'a Stream);

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.recv_now(into)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_now([bytes, b""])
    }

    fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_many_now(chunks)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
