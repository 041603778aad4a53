//! How a connection ends: cleanly, or so that the peer knows the response to be broken.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{
    Family,
    connection::Connection,
    net::scratch::{CHUNKS_A_TURN, with_scratch},
    shared::Shared,
    wire::Next,
};

impl Connection {
    /// Ends the connection after a response that was whole or not, and returns how it goes on.
    pub(super) async fn end(self: &Arc<Self>, shared: &Shared, is_whole: bool) -> Next {
        let next = self.next(is_whole);
        match next {
            Next::Close => self.finish(shared).await,
            Next::Reset => self.abort().await,
            Next::Again => self.let_go(),
        }
        next
    }

    /// Does the same without waiting, after a request that was read whole: what has to wait is left to the runtime.
    pub(super) fn end_now(self: &Arc<Self>, shared: &Shared, is_whole: bool) -> Next {
        let next = self.next(is_whole);
        match next {
            Next::Close => self.finish_now(),
            Next::Reset => self.abort_later(shared),
            Next::Again => self.let_go(),
        }
        next
    }

    /// Makes the close that follows a clean end.
    pub(super) fn end_cleanly(&self) {
        self.let_go();
        if self.is_unbounded() {
            self.stream.end_on_close();
        }
    }

    /// Closes after a response that was whole. A request body that is still unread is read and dropped within
    /// bounds: closing over it would reset the connection, and nginx would answer 502 in place of the response.
    async fn finish(self: &Arc<Self>, shared: &Shared) {
        if !self.is_read_whole() {
            self.linger(shared).await;
        }
        self.finish_now();
    }

    /// Closes after a response that was whole, to a request that was read whole.
    fn finish_now(self: &Arc<Self>) {
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
                match with_scratch(|scratch| self.stream.recv_now(scratch)) {
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
    async fn abort(&self) {
        self.abort_now();
        let is_unbounded = self.is_unbounded();
        if self.stream.family() == Family::Unix && is_unbounded && !self.is_read_whole() {
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
    fn abort_later(self: &Arc<Self>, shared: &Shared) {
        let connection = self.clone();
        shared
            .runtime
            .spawn(async move { connection.abort().await });
    }

    /// Makes the close that follows do so.
    pub(super) fn abort_now(&self) {
        self.stream.reset_on_close();
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

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicBool, Ordering},
        task::{Context, Wake, Waker},
    };

    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    use super::*;
    use crate::server::{net::stream::Stream, wire::Wire};

    #[tokio::test]
    async fn a_peer_that_sends_on_and_on_gets_its_turn_and_no_more() {
        let shared = Shared::for_tests(Vec::new());
        // Every message is a read of its own.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, peers) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let connection = Connection::new(
            Stream::new(ours, Family::Unix),
            Wire::uwsgi(),
            shared.slots.enter(),
        );
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
