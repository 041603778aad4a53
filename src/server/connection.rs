//! One connection: its socket, and what is left of its request there.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::time::{sleep, timeout};

use super::{
    Family, net::stream::Stream, request::refusal::Refusal, shared::Shared, slots::Slot, sync::lock,
};
use crate::protocol::{Packet, Progress};

/// A connection and what is left of its request in the socket.
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// Bytes of the request that were read but left in the socket. While there are any, closing a unix socket
    /// is a reset for the peer, the only way to tell nginx that a body of unknown length has failed.
    held: AtomicUsize,
    /// Bytes of the request's body that were not read yet.
    pub(super) body_left: AtomicU64,
    /// A response of unknown length is under way.
    unbounded: AtomicBool,
    /// What came behind the request, if anything did.
    early: OnceLock<Bytes>,
    slot: Mutex<Option<Slot>>,
}

/// What has come of a packet.
pub(super) enum Arrived {
    /// All of it.
    Packet(Packet),
    /// Not all of it, or nothing.
    NotYet,
    /// The peer left before it sent a byte.
    Left,
}

impl Connection {
    pub(super) fn new(stream: Stream, slot: Slot) -> Self {
        Self {
            stream,
            held: AtomicUsize::new(0),
            body_left: AtomicU64::new(0),
            unbounded: AtomicBool::new(false),
            early: OnceLock::new(),
            slot: Mutex::new(Some(slot)),
        }
    }

    /// Takes what has arrived of the packet, whose body may follow in `received`.
    pub(super) fn packet_now(
        &self,
        shared: &Shared,
        received: &mut BytesMut,
    ) -> Result<Arrived, Refusal> {
        loop {
            match self.look(received) {
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
            match shared
                .decoder
                .decode(received)
                .map_err(Refusal::Malformed)?
            {
                Progress::Packet(packet) => return Ok(Arrived::Packet(packet)),
                Progress::Need(_) => self.let_go(),
            }
        }
    }

    /// Reads until there is a packet, as [`Self::packet_now`]; `None` if the peer left before it sent a byte.
    pub(super) fn poll_packet(
        &self,
        context: &mut Context<'_>,
        shared: &Shared,
        received: &mut BytesMut,
    ) -> Poll<Result<Option<Packet>, Refusal>> {
        loop {
            match self.packet_now(shared, received)? {
                Arrived::Packet(packet) => return Poll::Ready(Ok(Some(packet))),
                Arrived::Left => return Poll::Ready(Ok(None)),
                Arrived::NotYet => {
                    ready!(self.stream.poll_readable(context)).map_err(Refusal::Io)?;
                }
            }
        }
    }

    /// Appends what has arrived. On a unix socket it also stays there, held, until [`Self::let_go`].
    fn look(&self, received: &mut BytesMut) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            let read = match self.stream.family() {
                Family::Tcp => self.stream.recv_now(scratch)?,
                Family::Unix => {
                    let read = self.stream.peek_now(scratch)?;
                    self.held.store(read, Ordering::Relaxed);
                    read
                }
            };
            received.extend_from_slice(scratch.get(..read).unwrap_or_default());
            Ok(read)
        })
    }

    /// Takes what is held out of the socket, so that closing it is a clean end.
    pub(super) fn let_go(&self) {
        let mut held = self.held.swap(0, Ordering::Relaxed);
        SCRATCH.with_borrow_mut(|scratch| {
            while held > 0 {
                let part = scratch.get_mut(..held.min(CHUNK)).unwrap_or_default();
                match self.stream.recv_now(part) {
                    Ok(read) if read > 0 => held = held.saturating_sub(read),
                    _ => return,
                }
            }
        });
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

    /// Reads some of the body that is left; `None` at its end.
    ///
    /// On a unix socket the last byte is left there, held, so that a failure can still be told by a reset.
    pub(super) fn poll_body<R>(
        &self,
        context: &mut Context<'_>,
        shared: &Shared,
        mut take: impl FnMut(&[u8]) -> R,
    ) -> Poll<io::Result<Option<R>>> {
        let left = self.body_left.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Ok(None));
        }
        self.let_go();
        loop {
            let taken = SCRATCH.with_borrow_mut(|scratch| {
                let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let is_last = most == 1 && self.stream.family() == Family::Unix;
                let most = if is_last || self.stream.family() == Family::Tcp {
                    most
                } else {
                    most.min(usize::try_from(left - 1).unwrap_or(CHUNK))
                };
                let part = scratch.get_mut(..most).unwrap_or_default();
                let read = if is_last {
                    self.stream.peek_now(part)?
                } else {
                    self.stream.recv_now(part)?
                };
                if read == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the client left before its body was whole",
                    ));
                }
                self.held.store(usize::from(is_last), Ordering::Relaxed);
                let count = u64::try_from(read).unwrap_or(0);
                self.body_left
                    .store(left.saturating_sub(count), Ordering::Relaxed);
                shared.counters.request_bytes.increment(count);
                Ok(take(part.get(..read).unwrap_or_default()))
            });
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_readable(context))?;
                }
                other => return Poll::Ready(other.map(Some)),
            }
        }
    }

    /// From here on the end of the connection is a failure to the peer, even when it is the end of this process: its
    /// being closed is all that says so of a body of unknown length. On a unix socket what is held does that.
    pub(super) fn begin_unbounded(&self) {
        self.unbounded.store(true, Ordering::Relaxed);
        self.stream.reset_on_close();
    }

    /// Makes the close that follows a clean end.
    pub(super) fn end_cleanly(&self) {
        self.let_go();
        if self.unbounded.load(Ordering::Relaxed) {
            self.stream.end_on_close();
        }
    }

    /// Closes after a response that was whole. A request body that is still unread is read and dropped within
    /// bounds: closing over it would reset the connection, and nginx would answer 502 in place of the response.
    pub(super) async fn finish(self: &Arc<Self>, shared: &Shared) {
        if !self.is_drained() {
            self.linger(shared).await;
        }
        self.finish_now();
    }

    /// Closes after a response that was whole, to a request that was read whole.
    pub(super) fn finish_now(self: &Arc<Self>) {
        self.end_cleanly();
        if Arc::strong_count(self) > 1 {
            // The application keeps the body it has read, and this connection with it.
            self.stream.shutdown_write();
        }
    }

    /// Ends the sending side and drops what the peer still sends, until it closes or its time is up.
    pub(super) async fn linger(&self, shared: &Shared) {
        self.end_cleanly();
        self.stream.shutdown_write();
        let drained = poll_fn(|context| {
            for _ in 0..CHUNKS_A_TURN {
                match SCRATCH.with_borrow_mut(|scratch| self.stream.recv_now(scratch)) {
                    Ok(read) if read > 0 => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if ready!(self.stream.poll_readable(context)).is_err() {
                            return Poll::Ready(());
                        }
                    }
                    _ => return Poll::Ready(()),
                }
            }
            // One that sends as fast as this reads would keep the thread to itself, and never see its time end.
            context.waker().wake_by_ref();
            Poll::Pending
        });
        // nginx reads the response as soon as it arrives and closes then.
        let time_is_up = async {
            tokio::select! {
                () = sleep(shared.limits.read_timeout) => {}
                () = shared.stop.draining() => sleep(LINGER_WHEN_STOPPING).await,
            }
        };
        tokio::select! {
            () = drained => {}
            () = time_is_up => {}
        }
    }

    /// Closes so that the peer knows the response to be broken, as far as the socket's family can say that.
    ///
    /// Not at once: a peer is told of a reset by one failed read only. Apache and lighttpd, when it comes while they
    /// still read what was sent before, let that one go by and take the next, an end, for the end of the body.
    pub(super) async fn abort(&self) {
        self.abort_now();
        let is_unbounded = self.unbounded.load(Ordering::Relaxed);
        if self.stream.family() == Family::Unix && is_unbounded && !self.is_drained() {
            self.wait_for_unread().await;
        }
        let left = poll_fn(|context| self.stream.poll_closed(context));
        let _ = timeout(RESET_DELAY, left).await;
    }

    /// Waits until the peer has sent more of its request, so that a close is a reset, or has left. One that waits for
    /// the response itself gives up some time, and that is no clean end for it either.
    async fn wait_for_unread(&self) {
        let sent_or_left = poll_fn(|context| {
            loop {
                match self.stream.peek_now(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => return Poll::Ready(()),
                }
                if ready!(self.stream.poll_readable(context)).is_err() {
                    return Poll::Ready(());
                }
            }
        });
        let _ = timeout(STALEMATE, sent_or_left).await;
    }

    /// Has the runtime do that.
    pub(super) fn abort_later(self: &Arc<Self>, shared: &Shared) {
        let connection = self.clone();
        shared
            .runtime
            .spawn(async move { connection.abort().await });
    }

    /// Makes the close that follows do so.
    pub(super) fn abort_now(&self) {
        self.stream.reset_on_close();
    }

    /// Closes at once and gives the place back, though an application that is stuck still holds this.
    pub(super) fn close_now(&self, dead: &OwnedFd) {
        self.stream.close_now(dead);
        drop(lock(&self.slot).take());
    }

    /// Whether nothing of the request waits in the socket that is not held.
    pub(super) fn is_drained(&self) -> bool {
        self.body_left.load(Ordering::Relaxed) == 0
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

/// Time for the peer to read what was sent, before it is told that no more will come. The fuzzer's has read it, and
/// every such wait would be a thousand inputs less.
const RESET_DELAY: Duration = Duration::from_millis(if cfg!(fuzzing) { 1 } else { 200 });

/// How long the end of a failed response is put off, to a peer that a reset cannot be sent to: longer than nginx waits
/// for more of it (uwsgi_read_timeout, 60 s).
const STALEMATE: Duration = Duration::from_secs(150);

/// How long a peer that has its whole answer is waited for when the server stops.
const LINGER_WHEN_STOPPING: Duration = Duration::from_secs(1);

/// How much is received at a time: as much as one buffer of nginx's by far, and any usual body.
const CHUNK: usize = 64 * 1024;

/// So many are dropped before others get their turn.
pub(super) const CHUNKS_A_TURN: usize = 16;

/// Lends this thread's buffer, whose content means nothing.
#[cfg(feature = "tls")]
pub(super) fn with_scratch<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| use_it(scratch))
}

thread_local! {
    /// Where bytes land first. A connection that is silent holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Wake, Waker},
    };

    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_sends_on_and_on_gets_its_turn_and_no_more() {
        let shared = Shared::for_tests(Vec::new());
        // Every message is a read of its own.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, peers) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let connection = Connection::new(Stream::new(ours, Family::Unix), shared.slots.enter());
        for _ in 0..=CHUNKS_A_TURN {
            send(&peers, b"more", SendFlags::empty()).unwrap();
        }
        let mut lingering = pin!(connection.linger(&shared));
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let polled = lingering.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        assert!(woken.0.load(Ordering::Relaxed));
        let left = connection.stream.recv_now(&mut [0; 8]);
        assert!(matches!(left, Ok(4)), "{left:?}");
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
