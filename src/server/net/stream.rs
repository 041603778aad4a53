//! One connected socket: tried first, waited for only when it has to be.

use std::{
    io::{self, IoSlice},
    mem::ManuallyDrop,
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::FileExt,
    },
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustix::{
    io::{DupFlags, Errno},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, sockopt::set_socket_linger},
};
use tokio::io::{
    Ready,
    unix::{AsyncFd, AsyncFdReadyGuard},
};

use crate::{
    app::FileRange,
    server::{Family, sync::lock},
};

/// The most of a file that is sent in one call: the kernel would go on for as long as the peer keeps pace, and others
/// are to get their turn.
pub(crate) const FILE_TURN: usize = 1 << 20;

/// The same where it has to go through memory.
const COPY_TURN: usize = 64 * 1024;

/// A non-blocking socket that costs the reactor nothing until something has to be waited for.
#[derive(Debug)]
pub(crate) struct Stream {
    // Dropped before the descriptor it watches.
    watch: Mutex<Watch>,
    fd: OwnedFd,
    family: Family,
    /// Who is at the other end, where the socket may not know it: one end of a pair that another connection is relayed
    /// through, and one that may be reset before anything is said of it.
    peer: Option<Box<str>>,
}

impl Stream {
    /// Takes a socket that is non-blocking already.
    pub(crate) fn new(fd: OwnedFd, family: Family) -> Self {
        Self {
            watch: Mutex::default(),
            fd,
            family,
            peer: None,
        }
    }

    /// One end of a pair of unix sockets, for a connection that has come from `peer`.
    #[cfg(feature = "tls")]
    pub(crate) fn relayed(fd: OwnedFd, peer: String) -> Self {
        Self {
            peer: Some(peer.into()),
            ..Self::new(fd, Family::Unix)
        }
    }

    /// Knows its peer from here on, though that may reset the connection.
    #[cfg(feature = "tls")]
    pub(crate) fn with_peer(self) -> Self {
        Self {
            peer: Some(self.peer().into()),
            ..self
        }
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Whether a peer that has closed can be told from one that has ended its sending side: not over TCP, nor where
    /// that is relayed.
    pub(crate) fn tells_closed_from_ended(&self) -> bool {
        self.family == Family::Unix && self.peer.is_none()
    }

    /// Takes bytes that have arrived. 0 is the end.
    pub(crate) fn recv_now(&self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| rustix::net::recv(&self.fd, &mut *into, RecvFlags::empty()).map(|(read, _)| read))
    }

    /// Looks at bytes that have arrived, and leaves them.
    pub(crate) fn peek_now(&self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| rustix::net::recv(&self.fd, &mut *into, RecvFlags::PEEK).map(|(read, _)| read))
    }

    /// Sends what the socket's buffer has room for, of the first chunk and then of the second.
    pub(crate) fn send_now(&self, chunks: [&[u8]; 2]) -> io::Result<usize> {
        // One buffer costs the kernel less than two.
        let [first, second] = match chunks {
            [b"", only] | [only, b""] => {
                return retry(|| rustix::net::send(&self.fd, only, SendFlags::NOSIGNAL));
            }
            both => both,
        };
        retry(|| {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(
                &self.fd,
                &[IoSlice::new(first), IoSlice::new(second)],
                &mut control,
                SendFlags::NOSIGNAL,
            )
        })
    }

    /// Sends what the socket's buffer has room for, of any number of chunks.
    #[cfg(feature = "tls")]
    pub(crate) fn send_many_now(&self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(&self.fd, chunks, &mut control, SendFlags::NOSIGNAL)
        })
    }

    /// Sends what the socket's buffer has room for, and moves the range behind it.
    pub(crate) fn send_file_now(&self, range: &mut FileRange) -> io::Result<usize> {
        let count = usize::try_from(range.length).map_or(FILE_TURN, |left| left.min(FILE_TURN));
        let sent = rustix::io::retry_on_intr(|| {
            rustix::fs::sendfile(&self.fd, &*range.file, Some(&mut range.offset), count)
        });
        let sent = match sent {
            Err(error) if is_refusal(error) => self.copy_now(range, count)?,
            sent => sent?,
        };
        if sent == 0 && count > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            ));
        }
        range.length = range
            .length
            .saturating_sub(u64::try_from(sent).unwrap_or(0));
        Ok(sent)
    }

    /// Does the same by way of memory.
    fn copy_now(&self, range: &mut FileRange, count: usize) -> io::Result<usize> {
        let mut chunk = vec![0; count.min(COPY_TURN)];
        let read = range.file.read_at(&mut chunk, range.offset)?;
        if read == 0 {
            return Ok(0);
        }
        let sent = self.send_now([chunk.get(..read).unwrap_or_default(), b""])?;
        range.offset += u64::try_from(sent).unwrap_or(0);
        Ok(sent)
    }

    /// Waits until there may be something to receive.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut watch = self.watch();
        let Registration { fd, reader, .. } = match self.registered(&mut watch) {
            Ok(Some(registration)) => registration,
            Ok(None) => return Poll::Ready(Ok(())),
            Err(error) => return Poll::Ready(Err(error)),
        };
        let found = poll_kept(reader, context, |context| fd.poll_read_ready(context));
        found.map_ok(|mut found| found.clear_ready())
    }

    /// Waits until there may be room to send.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut watch = self.watch();
        let Registration { fd, writer, .. } = match self.registered(&mut watch) {
            Ok(Some(registration)) => registration,
            Ok(None) => return Poll::Ready(Ok(())),
            Err(error) => return Poll::Ready(Err(error)),
        };
        let found = poll_kept(writer, context, |context| fd.poll_write_ready(context));
        found.map_ok(|mut found| found.clear_ready())
    }

    /// Waits until the peer has closed. Over TCP that shows only when something is sent: until then it looks
    /// like a peer that has sent all it had to.
    pub(crate) fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut watch = self.watch();
        let Registration { fd, writer, .. } = match self.registered(&mut watch) {
            Ok(Some(registration)) => registration,
            Ok(None) => return Poll::Ready(()),
            // Where the system watches no more sockets, that shows only when something is sent, too.
            Err(_) => return Poll::Pending,
        };
        loop {
            match poll_kept(writer, context, |context| fd.poll_write_ready(context)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(mut found)) if !found.ready().is_write_closed() => {
                    found.clear_ready_matching(Ready::WRITABLE);
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }

    /// Ends the sending side.
    pub(crate) fn shutdown_write(&self) {
        // A peer that has gone already needs no telling.
        let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Write);
    }

    /// Ends both sides, though others still hold this.
    pub(crate) fn shutdown_both(&self) {
        let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both);
    }

    /// Makes the close that follows a reset, where the socket's family can do that.
    pub(crate) fn reset_on_close(&self) {
        if self.family == Family::Tcp {
            let _ = set_socket_linger(&self.fd, Some(Duration::ZERO));
        }
    }

    /// Undoes that.
    pub(crate) fn end_on_close(&self) {
        if self.family == Family::Tcp {
            let _ = set_socket_linger(&self.fd, None);
        }
    }

    /// Closes the connection now, though others still hold this: to them it becomes `dead`, a socket whose peer
    /// has left, and tasks that wait for it are woken. The descriptor's number stays taken, so that nobody meets
    /// another connection under it.
    #[allow(unsafe_code)]
    pub(crate) fn close_now(&self, dead: &OwnedFd) {
        // The registration ends before the socket behind the number is exchanged, and no other begins after it.
        let before = std::mem::replace(&mut *self.watch(), Watch::Closed);
        let waiting = before.end();
        // SAFETY: the number is open, because `self.fd` owns it and is borrowed here. This second owner is never
        // dropped, so it does not close it; dup3(2) exchanges what is behind the number in one step. Another
        // thread's borrow of `self.fd` then means `dead`, which is what this is for.
        let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(self.fd.as_raw_fd()) });
        if rustix::io::dup3(dead, &mut number, DupFlags::CLOEXEC).is_err() {
            // All that can be done while it is open. A peer that has gone already needs no telling.
            let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both);
        }
        for waker in waiting.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Returns the registration with the reactor, which the first call makes; `None` once the connection was closed.
    #[allow(unsafe_code)]
    fn registered<'a>(&self, watch: &'a mut Watch) -> io::Result<Option<&'a mut Registration>> {
        if matches!(watch, Watch::Idle) {
            // SAFETY: the number is open, and means the same socket, until this `AsyncFd` is dropped. `self.fd` owns
            // the number and is dropped after `self.watch`, since fields are dropped in the order they are declared.
            // Only `close_now` exchanges the socket behind it: it takes the `AsyncFd` out of `self.watch` and drops
            // it before, and leaves `Watch::Closed`, so that no other is made.
            let fd = unsafe { AsyncFd::register(self.fd.as_raw_fd()) };
            *watch = match fd {
                Ok(fd) => Watch::Registered(Registration {
                    fd,
                    reader: None,
                    writer: None,
                }),
                Err(error) => Watch::Refused(error.into_parts().1.kind()),
            };
        }
        match watch {
            Watch::Registered(registration) => Ok(Some(registration)),
            Watch::Refused(kind) => Err((*kind).into()),
            Watch::Idle | Watch::Closed => Ok(None),
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }

    /// Who is at the other end, for people.
    pub(crate) fn peer(&self) -> String {
        if let Some(peer) = &self.peer {
            return peer.to_string();
        }
        let described = match self.family {
            Family::Unix => rustix::net::sockopt::socket_peercred(&self.fd).map(|peer| {
                format!(
                    "process {} of user {}",
                    peer.pid.as_raw_nonzero(),
                    peer.uid.as_raw()
                )
            }),
            Family::Tcp => rustix::net::getpeername(&self.fd).map(|address| {
                address
                    .and_then(|address| SocketAddr::try_from(address).ok())
                    .map_or_else(String::new, |address| address.to_string())
            }),
        };
        described.unwrap_or_else(|_| "unknown: it has reset the connection".to_owned())
    }
}

/// Whether the reactor watches a socket.
#[derive(Debug, Default)]
enum Watch {
    /// Nothing had to be waited for yet.
    #[default]
    Idle,
    Registered(Registration),
    /// The system watches no more descriptors.
    Refused(io::ErrorKind),
    /// [`Stream::close_now`] has closed the connection.
    Closed,
}

impl Watch {
    /// Ends the registration. Returns the tasks that waited by it: tokio wakes none of them.
    fn end(self) -> [Option<Waker>; 2] {
        match self {
            Self::Registered(registration) => [registration.reader, registration.writer],
            _ => [None, None],
        }
    }
}

/// A socket's place in the reactor, and the last task that waits for each direction.
#[derive(Debug)]
struct Registration {
    fd: AsyncFd<RawFd>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Polls, and keeps the task's waker while it waits.
fn poll_kept<'a>(
    waiting: &mut Option<Waker>,
    context: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<AsyncFdReadyGuard<'a, RawFd>>>,
) -> Poll<io::Result<AsyncFdReadyGuard<'a, RawFd>>> {
    let found = poll(context);
    match waiting {
        waiting if found.is_ready() => *waiting = None,
        Some(waker) => waker.clone_from(context.waker()),
        None => *waiting = Some(context.waker().clone()),
    }
    found
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether sendfile(2) is what was refused: by a file system that cannot do it, a kernel or a seccomp filter. What else
/// is wrong with the file or the socket shows when it is copied, too.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL
            | Errno::NOSYS
            | Errno::PERM
            | Errno::ACCESS
            | Errno::OVERFLOW
            | Errno::OPNOTSUPP
    )
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::Read,
        os::unix::net::UnixStream,
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::*;

    #[cfg(feature = "tls")]
    #[test]
    fn a_peer_is_known_after_it_has_reset() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let accepted = || {
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let stream = Stream::new(listener.accept().unwrap().0.into(), Family::Tcp);
            (client, stream)
        };
        let reset = |client: std::net::TcpStream, stream: &Stream| {
            set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            drop(client);
            assert!(stream.recv_now(&mut [0]).is_err());
        };
        let (client, stream) = accepted();
        let (address, stream) = (client.local_addr().unwrap(), stream.with_peer());
        reset(client, &stream);
        assert_eq!(stream.peer(), address.to_string());
        let (client, stream) = accepted();
        reset(client, &stream);
        assert_eq!(stream.peer(), "unknown: it has reset the connection");
    }

    fn pair() -> (UnixStream, Arc<Stream>) {
        let (peer, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (peer, Arc::new(Stream::new(ours.into(), Family::Unix)))
    }

    #[tokio::test]
    async fn what_is_watched_is_closed_with_its_stream() {
        let (mut peer, stream) = pair();
        poll_fn(|context| stream.poll_writable(context))
            .await
            .unwrap();
        drop(stream);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }

    /// As when a request is taken from an application that is stuck: it still has the stream, on another thread.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stream_that_is_closed_under_its_user_ends_for_both_sides() {
        let (_, nobody) = pair();
        let dead = nobody.as_fd().try_clone_to_owned().unwrap();
        drop(nobody);
        let (mut peer, stream) = pair();
        let number = stream.as_fd().as_raw_fd();
        let user = stream.clone();
        let begun = Arc::new(tokio::sync::Notify::new());
        let using = begun.clone();
        let user = std::thread::spawn(move || {
            let since = Instant::now();
            loop {
                match user.send_now([b"x", b""]) {
                    // The peer's buffer is full.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => using.notify_one(),
                    Err(error) => break error.kind(),
                    Ok(_) => {}
                }
                assert!(since.elapsed() < Duration::from_secs(60));
            }
        });
        begun.notified().await;
        poll_fn(|context| {
            // Watched, too, by the time that it is closed.
            let _ = stream.poll_readable(context);
            Poll::Ready(())
        })
        .await;
        stream.close_now(&dead);

        assert_eq!(user.join().unwrap(), io::ErrorKind::BrokenPipe);
        // All that came before is there, then the end.
        peer.set_nonblocking(true).unwrap();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert!(!rest.is_empty());
        // The reactor has let go of it.
        poll_fn(|context| stream.poll_readable(context))
            .await
            .unwrap();
        // Nobody else gets the number as long as somebody holds the stream.
        let (other, _) = pair();
        assert_ne!(other.as_raw_fd(), number);
        assert_eq!(stream.recv_now(&mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn tasks_that_wait_for_a_stream_are_woken_when_it_is_closed() {
        let (_, nobody) = pair();
        let dead = nobody.as_fd().try_clone_to_owned().unwrap();
        drop(nobody);
        let (_peer, stream) = pair();
        let waiting = [true, false].map(|reads| {
            let stream = stream.clone();
            tokio::spawn(poll_fn(move |context| {
                if reads {
                    stream.poll_readable(context).map(drop)
                } else {
                    stream.poll_closed(context)
                }
            }))
        });
        // Both wait before this goes on: they were spawned first.
        tokio::task::yield_now().await;
        stream.close_now(&dead);
        for task in waiting {
            tokio::time::timeout(Duration::from_secs(60), task)
                .await
                .expect("the task is woken")
                .unwrap();
        }
    }

    /// A copy of the socket, as a child process has one, would keep it in the reactor's set.
    #[tokio::test]
    async fn a_stream_that_is_closed_leaves_the_reactor() {
        let (_, nobody) = pair();
        let dead = nobody.as_fd().try_clone_to_owned().unwrap();
        drop(nobody);
        let (_peer, stream) = pair();
        let _copy = stream.as_fd().try_clone_to_owned().unwrap();
        poll_fn(|context| stream.poll_writable(context))
            .await
            .unwrap();
        assert!(is_watched(&stream));
        stream.close_now(&dead);
        assert!(!is_watched(&stream));
    }

    /// Whether an epoll set of this process has the stream's number.
    fn is_watched(stream: &Stream) -> bool {
        let number = stream.as_fd().as_raw_fd().to_string();
        let sets = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        sets.filter_map(|set| std::fs::read_to_string(set.unwrap().path()).ok())
            .flat_map(|set| set.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| {
                Some(
                    line.strip_prefix("tfd:")?
                        .split_whitespace()
                        .next()?
                        .to_owned(),
                )
            })
            .any(|watched| watched == number)
    }
}
