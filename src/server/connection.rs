//! One connection: its socket, what is left of its request there, and its place among those that the server holds.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{
    net::{scratch::with_scratch, stream::Stream},
    request::refusal::Refusal,
    shared::Shared,
    slots::Slot,
    sync::lock,
    wire::{Arrived, Next, Wire},
};

/// A connection and what is left of its request in the socket.
pub(super) struct Connection {
    pub(super) stream: Stream,
    wire: Wire,
    /// Bytes of the request's body that were not read yet.
    body_left: AtomicU64,
    /// The end of the connection is the end of the response's body.
    unbounded: AtomicBool,
    /// What came behind the request, if anything did.
    early: OnceLock<Bytes>,
    slot: Mutex<Option<Slot>>,
}

impl Connection {
    /// Makes a connection of a stream. It counts as one as long as it has the slot.
    pub(super) fn new(stream: Stream, wire: Wire, slot: Slot) -> Arc<Self> {
        Arc::new(Self {
            stream,
            wire,
            body_left: AtomicU64::new(0),
            unbounded: AtomicBool::new(false),
            early: OnceLock::new(),
            slot: Mutex::new(Some(slot)),
        })
    }

    /// Reads what has arrived of a request's head, whose body may follow in `received`.
    pub(super) fn read_head(
        &self,
        shared: &Shared,
        received: &mut BytesMut,
    ) -> Result<Arrived, Refusal> {
        self.wire.read_head(&self.stream, &shared.decoder, received)
    }

    /// Reads until a request's head is there, or cannot come any more.
    pub(super) fn poll_head(
        &self,
        context: &mut Context<'_>,
        shared: &Shared,
        received: &mut BytesMut,
    ) -> Poll<Result<Arrived, Refusal>> {
        loop {
            match self.read_head(shared, received)? {
                Arrived::NotYet => {
                    ready!(self.stream.poll_readable(context)).map_err(Refusal::Io)?;
                }
                arrived => return Poll::Ready(Ok(arrived)),
            }
        }
    }

    /// The part of the body that came behind the packet; the rest counts as left. What is beyond the body is for the
    /// protocol that an application may switch to, and else nobody's.
    pub(super) fn begin_body(&self, shared: &Shared, received: Bytes, length: u64) -> Bytes {
        let count = received
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX));
        let counted = u64::try_from(count).unwrap_or(0);
        self.body_left.store(length - counted, Ordering::Relaxed);
        shared.counters.request_bytes.increment(counted);
        if count < received.len() {
            let _ = self.early.set(received.slice(count..));
        }
        received.slice(..count)
    }

    /// What the client has sent behind its request before that was answered.
    pub(super) fn early(&self) -> Bytes {
        self.early.get().cloned().unwrap_or_default()
    }

    /// Receives some of the body that is left, which is not nothing. What is held was let go before.
    pub(super) fn receive_body(&self, shared: &Shared, into: &mut [u8]) -> io::Result<usize> {
        let left = self.body_left();
        let read = self.wire.receive_body(&self.stream, left, into)?;
        let count = u64::try_from(read).unwrap_or(0);
        self.body_left
            .store(left.saturating_sub(count), Ordering::Relaxed);
        shared.counters.request_bytes.increment(count);
        Ok(read)
    }

    /// Reads some of the body that is left; `None` at its end.
    pub(super) fn poll_body<R>(
        &self,
        context: &mut Context<'_>,
        shared: &Shared,
        mut take: impl FnMut(&[u8]) -> R,
    ) -> Poll<io::Result<Option<R>>> {
        if self.is_read_whole() {
            return Poll::Ready(Ok(None));
        }
        self.let_go();
        loop {
            let taken = with_scratch(|scratch| -> io::Result<R> {
                let read = self.receive_body(shared, scratch)?;
                Ok(take(scratch.get(..read).unwrap_or_default()))
            });
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_readable(context))?;
                }
                other => return Poll::Ready(other.map(Some)),
            }
        }
    }

    /// Returns how many bytes of the body were not read yet.
    pub(super) fn body_left(&self) -> u64 {
        self.body_left.load(Ordering::Relaxed)
    }

    /// Takes out of the socket what is held there, so that closing it is a clean end.
    pub(super) fn let_go(&self) {
        self.wire.let_go(&self.stream);
    }

    /// Makes the end of the connection a failure to the peer, even if it is the end of this process: a body of unknown
    /// length ends with the connection. On a unix socket the bytes that are held do that.
    pub(super) fn begin_unbounded(&self) {
        self.unbounded.store(true, Ordering::Relaxed);
        self.stream.reset_on_close();
    }

    pub(super) fn is_unbounded(&self) -> bool {
        self.unbounded.load(Ordering::Relaxed)
    }

    /// Says how the connection goes on after a response that was whole or not.
    pub(super) fn next(&self, is_whole: bool) -> Next {
        match self.wire.next(is_whole) {
            // What is left of the request would be taken for the next one.
            Next::Again if self.is_unbounded() || !self.is_read_whole() => Next::Close,
            next => next,
        }
    }

    /// Closes at once and gives the place back, though an application that is stuck still holds this.
    pub(super) fn close_now(&self, dead: &OwnedFd) {
        self.stream.close_now(dead);
        drop(lock(&self.slot).take());
    }

    /// Whether nothing of the request waits in the socket that is not held.
    pub(super) fn is_read_whole(&self) -> bool {
        self.body_left() == 0
    }

    /// Blocks until the socket may have room, or the time is up.
    pub(super) fn wait_writable(&self, time: Duration) -> io::Result<()> {
        self.wait_for(PollFlags::OUT, time).map(drop)
    }

    /// Blocks until there may be something to receive; `false` when the time is up.
    pub(super) fn wait_readable(&self, time: Duration) -> io::Result<bool> {
        self.wait_for(PollFlags::IN, time)
    }

    /// Whether the peer has closed, as far as that shows without sending: over TCP only when it has reset.
    pub(super) fn has_hung_up(&self) -> bool {
        self.wait_for(PollFlags::empty(), Duration::ZERO)
            .unwrap_or(true)
    }

    /// Whether the peer has left, as front servers do it. Over TCP one that has only ended its sending side looks the
    /// same; no front server does that after a request.
    pub(super) fn has_left(&self) -> bool {
        let what = if self.stream.tells_closed_from_ended() {
            PollFlags::empty()
        } else {
            PollFlags::RDHUP
        };
        self.wait_for(what, Duration::ZERO).unwrap_or(true)
    }

    fn wait_for(&self, what: PollFlags, time: Duration) -> io::Result<bool> {
        let timespec = Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.stream, what)];
        match rustix::event::poll(&mut fds, Some(&timespec)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
