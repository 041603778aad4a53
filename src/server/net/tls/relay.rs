//! Between a TLS session and an ordinary connection.
//!
//! What was decrypted goes into one end of a pair of unix sockets, whose other end is served like any connection. So
//! nothing else in the server knows of TLS: requests are looked at and left, responses are sent by sendfile(2), and a
//! failed response ends in a reset.

use std::{
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::time::{Sleep, sleep, timeout};

use super::intake::Intake;
use super::session::{Broken, Received, Session};
use crate::server::{
    Family, connection::Connection, net::scratch::with_scratch, net::stream::Stream,
    shared::Shared, slots::Slot,
};

/// So many turns in which something moved, then others get theirs.
const TURNS: usize = 16;

/// The most of a response that is encrypted ahead of its client, in bytes, but for what comes in one read.
const AHEAD: usize = 64 * 1024;

/// For how long a connection waits for descriptors.
const SHORTAGE: Duration = Duration::from_secs(1);

/// Serves what comes over a session, until that and the connection made for it are through.
pub(super) async fn relay(
    shared: &Shared,
    session: Session,
    slot: Slot,
    intake: Intake<impl FnOnce(Arc<Connection>)>,
) {
    // While descriptors are short some connections have to go, or none would get the two more that it needs.
    let Ok((ours, theirs)) = timeout(SHORTAGE, pair(shared)).await else {
        return;
    };
    // The place counts until both are gone: the application may go on when the client has left, and what a slow
    // client has not taken is still here when the application is done.
    let (slot, theirs_slot) = slot.shared();
    let peer = session.stream().peer();
    let connection = (intake.connect)(Stream::relayed(theirs, peer), theirs_slot);
    let mut relay = Relay {
        shared,
        session,
        inner: Stream::new(ours, Family::Unix),
        queued: 0,
        answered: false,
        shut: false,
        asked: false,
        unread: false,
        reset: false,
        stalled: None,
    };
    // nginx sends its request with the last message of a resumed handshake: it is there when it is looked for.
    let first = poll_fn(|context| Poll::Ready(relay.poll(context))).await;
    (intake.serve)(connection);
    let end = match first {
        Poll::Ready(end) => end,
        Poll::Pending => poll_fn(|context| relay.poll(context)).await,
    };
    let session = relay.session;
    match end {
        Finish::Whole | Finish::Left => drop(session.into_stream()),
        Finish::Broken => break_off(shared, session, slot, intake.connect).await,
        Finish::Stalled => session.into_stream().reset_on_close(),
    }
}

/// Both ends of what the connection is served through, as soon as the system has descriptors for them.
async fn pair(shared: &Shared) -> (OwnedFd, OwnedFd) {
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None) {
            Ok(pair) => {
                shared.accept_errors.succeeded();
                give_name(&pair.0);
                give_name(&pair.1);
                let held = shared.slots.held();
                let placed = |fd| shared.open_files.placed(fd, held);
                return (placed(pair.0), placed(pair.1));
            }
            Err(Errno::MFILE) if shared.open_files.raise() => {}
            Err(error) => {
                shared.accept_errors.failed(error);
                sleep(SHORTAGE / 10).await;
            }
        }
    }
}

/// Names a socket, for a child of the application's to know it by (`python/spile/_sockets.py`): with a copy there, an
/// end that is closed here would not be the end.
fn give_name(socket: &OwnedFd) {
    static PROCESS: LazyLock<u64> =
        LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("spile-tls-{:x}-{count:x}", *PROCESS);
    // Without a name it serves as well.
    let _ = SocketAddrUnix::new_abstract_name(name.as_bytes())
        .and_then(|name| rustix::net::bind(socket, &name));
}

/// Tells the client that the response has failed: all of it that there is, then an alert.
///
/// nginx takes a reset for a clean end when it comes over TLS, and an end without a close_notify too. What no client
/// takes for one is a record that it cannot decrypt.
async fn break_off(
    shared: &Shared,
    mut session: Session,
    slot: Slot,
    connect: fn(Stream, Slot) -> Arc<Connection>,
) {
    let sent = timeout(
        shared.limits.write_timeout,
        poll_fn(|context| session.poll_send(context)),
    );
    let is_sent = matches!(sent.await, Ok(Ok(())));
    let stream = session.into_stream();
    // There is room for so little where everything else was sent.
    if is_sent && stream.send_now([&INTERNAL_ERROR, b""]).is_ok() {
        // A close over unread bytes would be a reset, which may overtake the alert.
        connect(stream, slot).linger(shared).await;
    } else {
        stream.reset_on_close();
    }
}

/// The fatal alert internal_error, in a record (RFC 8446, sections 5.1 and 6). It is not encrypted, which rustls does
/// for its own alerts only; that is a fatal error to its reader as well.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

struct Relay<'a> {
    shared: &'a Shared,
    session: Session,
    /// The other end of the served connection.
    inner: Stream,
    /// Bytes of the response that were encrypted since everything was sent last.
    queued: usize,
    /// The response has ended, and the client is told so when all of it is sent.
    answered: bool,
    /// The client was told so.
    shut: bool,
    /// The client sends nothing more.
    asked: bool,
    /// What the client still sends, nobody reads.
    unread: bool,
    /// The connection was closed with a reset, which a write has met: the end is none.
    reset: bool,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// How a relay ends.
enum Finish {
    /// Both sides are through.
    Whole,
    /// The response has failed.
    Broken,
    /// The client takes nothing of it.
    Stalled,
    /// The client is gone, or what it sends is not TLS any more.
    Left,
}

impl Relay<'_> {
    /// Moves what can be moved, both ways.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Finish> {
        for _ in 0..TURNS {
            let to_client = self.poll_to_client(context);
            let from_client = self.poll_from_client(context);
            match (to_client, from_client) {
                (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => return Poll::Ready(end),
                (Poll::Pending, Poll::Pending) => {
                    return if self.is_through(context) {
                        Poll::Ready(Finish::Whole)
                    } else {
                        Poll::Pending
                    };
                }
                _ => {}
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The response: ready when some of it has moved.
    fn poll_to_client(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Finish>> {
        let mut moved = false;
        // All that is there before anything is sent: the end of a short response goes out with it.
        while !self.answered && self.queued < AHEAD {
            let taken = with_scratch(|scratch| {
                let read = self.inner.recv_now(scratch)?;
                self.session
                    .write(scratch.get(..read).unwrap_or_default())?;
                Ok::<_, io::Error>(read)
            });
            match taken {
                Ok(0) if self.reset => return Poll::Ready(Err(Finish::Broken)),
                Ok(0) => {
                    self.session.close_notify();
                    self.answered = true;
                }
                Ok(read) => self.queued += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.inner.poll_readable(context) {
                        Poll::Ready(Ok(())) => continue,
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Finish::Broken)),
                        Poll::Pending => break,
                    }
                }
                Err(_) => return Poll::Ready(Err(Finish::Broken)),
            }
            moved = true;
        }
        let before = self.session.sent();
        let all_sent = self.session.poll_send(context);
        if self.session.sent() != before {
            self.stalled = None;
        }
        match all_sent {
            Poll::Ready(Ok(())) => {
                // Nothing was taken from the application for lack of room: there is some now.
                moved |= self.queued >= AHEAD;
                self.queued = 0;
                if self.answered && !self.shut {
                    self.session.stream().shutdown_write();
                    self.shut = true;
                }
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Finish::Left)),
            Poll::Pending if self.has_stalled(context) => {
                return Poll::Ready(Err(Finish::Stalled));
            }
            Poll::Pending => {}
        }
        if moved {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// The request: ready when some of it has moved.
    fn poll_from_client(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Finish>> {
        if self.asked {
            return Poll::Pending;
        }
        let sent = match self.session.received() {
            Received::Chunk(chunk) if self.unread => Ok(chunk.len()),
            Received::Chunk(chunk) => self.inner.send_now([chunk, b""]),
            Received::End => {
                self.asked = true;
                self.inner.shutdown_write();
                return Poll::Ready(Ok(()));
            }
            Received::NotYet => {
                let received = std::task::ready!(self.session.poll_receive(context));
                return Poll::Ready(match received {
                    Ok(_) => Ok(()),
                    Err(Broken::Io(_) | Broken::Tls(_)) => Err(Finish::Left),
                });
            }
        };
        match sent {
            Ok(count) => {
                self.session.consume(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self
                .inner
                .poll_writable(context)
                .map(|ready| ready.map_err(|_| Finish::Broken)),
            Err(error) => {
                // It is closed, and the other direction says how, unless the kernel has said it here.
                self.reset |= error.kind() == io::ErrorKind::ConnectionReset;
                self.unread = true;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether nothing more will move: the client has it all, and sends no more or is read no more.
    fn is_through(&self, context: &mut Context<'_>) -> bool {
        self.shut && (self.asked || self.inner.poll_closed(context).is_ready())
    }

    /// Whether the client has taken nothing for too long.
    fn has_stalled(&mut self, context: &mut Context<'_>) -> bool {
        let limit = self.shared.limits.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        stalled.as_mut().poll(context).is_ready()
    }
}
