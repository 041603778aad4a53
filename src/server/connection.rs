//! One connection: read a request, find its application, see the answer through.

use std::{
    cell::RefCell,
    fs::File,
    future::poll_fn,
    io::{self, Write},
    os::fd::OwnedFd,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::time::{Sleep, sleep, timeout};

use super::{
    Family,
    core::{Core, Slot, lock},
    counters::InFlight,
    limits::BODY_IN_MEMORY,
    observer::Answered,
    refusal::Refusal,
    respond,
    seat::Claim,
    stream::Stream,
};
use crate::{
    app::{BlockingApplication, Body, BoxError, Environ, FileRange, Handler, Request, Response},
    protocol::{Packet, Progress, decimal},
};

/// How much is received at a time: as much as one buffer of nginx's by far, and any usual body.
const CHUNK: usize = 64 * 1024;

/// How long a stopping server waits for the first byte of a connection: nginx sends it with the next system call.
const SILENCE_WHEN_STOPPING: Duration = Duration::from_secs(1);

thread_local! {
    /// Where bytes land first. A connection that is silent holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// A connection and what is left of its request in the socket.
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// Bytes of the request that were read but left in the socket. While there are any, closing a unix socket
    /// is a reset for the peer, the only way to tell nginx that a body of unknown length has failed.
    held: AtomicUsize,
    /// Bytes of the request's body that were not read yet.
    body_left: AtomicU64,
    slot: Mutex<Option<Slot>>,
}

/// A request that is whole, for an application that blocks.
pub(super) struct Job {
    pub(super) connection: Connection,
    pub(super) exchange: Exchange,
    pub(super) request: Request,
    pub(super) application: Arc<dyn BlockingApplication>,
}

/// What is remembered of a request until its answer is through.
pub(super) struct Exchange {
    /// No body is sent: the request is a HEAD.
    pub(super) head_only: bool,
    started: Instant,
    /// The number of its mount in the router.
    mount: Option<usize>,
    _in_flight: InFlight,
    /// Only kept when somebody observes, or may have to name the request.
    environ: Option<Environ>,
    /// Who may answer.
    pub(super) claim: Claim,
    /// The observer and the counters know.
    told: AtomicBool,
}

/// Serves a connection to its end or, if its application blocks, until the request is whole.
///
/// Nothing is awaited unless it has to be: nginx has nearly always sent everything by now, so the first poll
/// does it all.
pub(super) async fn serve(core: Arc<Core>, connection: Connection) -> Option<Job> {
    let mut received = BytesMut::new();
    let packet = match timeout_from_first_wait(
        core.limits.read_timeout,
        first_packet(&core, &connection, &mut received),
    )
    .await
    {
        Some(Ok(Some(packet))) => packet,
        // A probe: connected and left without a byte.
        Some(Ok(None)) => return None,
        Some(Err(refusal)) => return refuse(&core, connection, refusal).await,
        None if received.is_empty() => {
            tracing::debug!(
                "a connection was closed: it sent nothing in {:?}",
                core.limits.read_timeout
            );
            return None;
        }
        None => {
            let refusal = Refusal::TimedOut {
                received: received.len(),
                after: core.limits.read_timeout,
            };
            return refuse(&core, connection, refusal).await;
        }
    };
    let mut environ = Environ::new(packet.vars);
    let length = match environ.get("CONTENT_LENGTH") {
        None | Some(b"") => 0,
        Some(digits) => match decimal(digits) {
            Some(length) => length,
            None => {
                let refusal = Refusal::ContentLength {
                    value: String::from_utf8_lossy(digits).into_owned(),
                };
                return refuse(&core, connection, refusal).await;
            }
        },
    };
    let start = received.freeze();
    let start = start.slice(
        ..start
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX)),
    );
    connection.body_left.store(
        length - u64::try_from(start.len()).unwrap_or(0),
        Ordering::Relaxed,
    );

    core.counters
        .request_bytes
        .increment(u64::try_from(start.len()).unwrap_or(0));
    let (mount, handler) = core.router.route(&mut environ).unzip();
    let handler = handler.cloned();
    let exchange = Exchange {
        head_only: environ.get("REQUEST_METHOD") == Some(b"HEAD"),
        started: Instant::now(),
        mount,
        _in_flight: InFlight::new(&core.counters),
        environ: (core.observer.is_some() || core.limits.request_timeout.is_some())
            .then(|| environ.clone()),
        claim: Claim::default(),
        told: AtomicBool::new(false),
    };
    match handler {
        Some(Handler::Blocking(application)) => {
            let body = match gather(&core, &connection, start, length).await {
                Ok(body) => body,
                Err(refusal) => return refuse(&core, connection, refusal).await,
            };
            Some(Job {
                connection,
                exchange,
                request: Request::new(environ, body),
                application,
            })
        }
        Some(Handler::Async(application)) => {
            let connection = Arc::new(connection);
            let body = incoming(&core, &connection, start, length);
            let request = Request::new(environ, body);
            let call = answer(|| application.call(request));
            let response = match core.limits.request_timeout {
                Some(limit) => timeout_from_first_wait(limit, call).await,
                None => Some(call.await),
            };
            let response = response.unwrap_or_else(|| {
                tracing::error!(
                    "{} did not answer in {} s: answered with 504",
                    exchange.named(),
                    core.limits
                        .request_timeout
                        .map_or(0.0, |it| it.as_secs_f64())
                );
                Response::of_status(StatusCode::GATEWAY_TIMEOUT)
            });
            respond::respond(&core, &connection, &exchange, response).await;
            None
        }
        None => {
            let response = Response::of_status(StatusCode::NOT_FOUND);
            respond::respond(&core, &connection, &exchange, response).await;
            None
        }
    }
}

/// The packet, or `None` when the peer has not sent a byte: it left, or the server is stopping.
async fn first_packet(
    core: &Core,
    connection: &Connection,
    received: &mut BytesMut,
) -> Result<Option<Packet>, Refusal> {
    let mut silent_for_too_long = std::pin::pin!(async {
        core.stop.draining().await;
        sleep(SILENCE_WHEN_STOPPING).await;
    });
    poll_fn(|context| {
        let packet = connection.poll_packet(context, core, received);
        if packet.is_pending() && received.is_empty() {
            return silent_for_too_long
                .as_mut()
                .poll(context)
                .map(|()| Ok(None));
        }
        packet
    })
    .await
}

/// Tells the peer what was wrong, in a way that it gets to read it, and closes.
async fn refuse(core: &Core, connection: Connection, refusal: Refusal) -> Option<Job> {
    refusal.log(&connection);
    core.counters.refused(&refusal);
    if let Some(response) = refusal.response() {
        respond::write_refusal(core, &connection, response).await;
    }
    None
}

impl Connection {
    pub(super) fn new(stream: Stream, slot: Slot) -> Self {
        Self {
            stream,
            held: AtomicUsize::new(0),
            body_left: AtomicU64::new(0),
            slot: Mutex::new(Some(slot)),
        }
    }

    /// Reads until there is a packet, whose body may follow in `received`; `None` if the peer left before
    /// it sent a byte.
    fn poll_packet(
        &self,
        context: &mut Context<'_>,
        core: &Core,
        received: &mut BytesMut,
    ) -> Poll<Result<Option<Packet>, Refusal>> {
        loop {
            let read = match self.look(received) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match ready!(self.stream.poll_readable(context)) {
                        Ok(()) => continue,
                        Err(error) => return Poll::Ready(Err(Refusal::Io(error))),
                    }
                }
                Err(error) => return Poll::Ready(Err(Refusal::Io(error))),
            };
            if read == 0 {
                return Poll::Ready(match received.len() {
                    0 => Ok(None),
                    received => Err(Refusal::CutShort { received }),
                });
            }
            match core.decoder.decode(received) {
                Ok(Progress::Packet(packet)) => return Poll::Ready(Ok(Some(packet))),
                Ok(Progress::Need(_)) => self.let_go(),
                Err(error) => return Poll::Ready(Err(Refusal::Malformed(error))),
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

    /// Reads some of the body that is left: 0 bytes at its end.
    ///
    /// The last byte is left in the socket, held, so that a failure can still be told by a reset.
    fn poll_body<R>(
        &self,
        context: &mut Context<'_>,
        core: &Core,
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
                core.counters.request_bytes.increment(count);
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

    /// Closes after a response that was whole. A request body that is still unread is read and dropped within
    /// bounds: closing over it would reset the connection, and nginx would answer 502 in place of the response.
    pub(super) async fn finish(&self, core: &Core) {
        self.let_go();
        if self.body_left.load(Ordering::Relaxed) > 0 {
            self.linger(core).await;
        }
        // The application may keep the body it has read, and this connection with it.
        self.stream.shutdown_write();
    }

    /// Ends the sending side and drops what the peer still sends, until it closes or its time is up.
    pub(super) async fn linger(&self, core: &Core) {
        self.let_go();
        self.stream.shutdown_write();
        let drained = poll_fn(|context| {
            loop {
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
        });
        // nginx reads the response as soon as it arrives and closes then.
        let _ = timeout(core.limits.read_timeout, drained).await;
    }

    /// Closes so that the peer knows the response to be broken, as far as the socket's family can say that.
    pub(super) fn abort(&self) {
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
        let timespec = Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
        match rustix::event::poll(&mut fds, Some(&timespec)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Exchange {
    /// Tells the observer and the counters what became of the request.
    pub(super) fn answered(&self, core: &Core, status: u16, body_bytes: u64, complete: bool) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let duration = self.started.elapsed();
        core.counters.answered(self.mount, status);
        core.counters.duration.record(duration);
        core.counters.response_bytes.increment(body_bytes);
        if let (Some(observer), Some(environ)) = (&core.observer, &self.environ) {
            observer.answered(&Answered {
                environ,
                status,
                body_bytes,
                duration,
                complete,
            });
        }
    }
}

impl Exchange {
    /// The request's method and path, as far as they were kept. What a client sends cannot look like a line of
    /// the log.
    pub(super) fn named(&self) -> String {
        let Some(environ) = &self.environ else {
            return "a request".to_owned();
        };
        let part = |name| environ.get(name).unwrap_or_default().escape_ascii();
        format!(
            "{} {}{}",
            part("REQUEST_METHOD"),
            part("SCRIPT_NAME"),
            part("PATH_INFO")
        )
    }
}

/// The answer of an application; a panic in it is a 500.
async fn answer(call: impl FnOnce() -> crate::app::BoxFuture<Response>) -> Response {
    let panicked = || {
        tracing::error!("the application panicked: the request is answered with 500");
        Response::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    };
    let Ok(mut future) = std::panic::catch_unwind(AssertUnwindSafe(call)) else {
        return panicked();
    };
    poll_fn(|context| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled,
            Err(_) => Poll::Ready(panicked()),
        }
    })
    .await
}

/// The whole body: in memory, or in a temporary file when it is large.
async fn gather(
    core: &Core,
    connection: &Connection,
    start: Bytes,
    length: u64,
) -> Result<Body, Refusal> {
    if connection.is_drained() {
        return Ok(start.into());
    }
    let mut gathered = Gathered::new(length)?;
    gathered.write(&start)?;
    let mut turns = 0u64;
    loop {
        let read =
            poll_fn(|context| connection.poll_body(context, core, |part| gathered.write(part)));
        match timeout_from_first_wait(core.limits.read_timeout, read).await {
            Some(Ok(Some(written))) => {
                written?;
                turns += 1;
                if turns % 16 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Some(Ok(None)) => return Ok(gathered.into_body(length)),
            Some(Err(error)) => return Err(Refusal::Io(error)),
            None => {
                let received = length - connection.body_left.load(Ordering::Relaxed);
                return Err(Refusal::BodyTimedOut {
                    received,
                    length,
                    after: core.limits.read_timeout,
                });
            }
        }
    }
}

enum Gathered {
    Memory(Vec<u8>),
    File(File),
}

impl Gathered {
    fn new(length: u64) -> Result<Self, Refusal> {
        if length <= BODY_IN_MEMORY {
            return Ok(Self::Memory(Vec::new()));
        }
        tempfile::tempfile().map(Self::File).map_err(Refusal::Spool)
    }

    fn write(&mut self, part: &[u8]) -> Result<(), Refusal> {
        match self {
            Self::Memory(all) => {
                all.extend_from_slice(part);
                Ok(())
            }
            Self::File(file) => file.write_all(part).map_err(Refusal::Spool),
        }
    }

    fn into_body(self, length: u64) -> Body {
        match self {
            Self::Memory(all) => all.into(),
            Self::File(file) => Body::file(FileRange {
                file: Arc::new(file),
                offset: 0,
                length,
            }),
        }
    }
}

/// The body as a stream: what has come already, then the rest as it comes.
fn incoming(core: &Arc<Core>, connection: &Arc<Connection>, start: Bytes, length: u64) -> Body {
    if connection.is_drained() {
        return start.into();
    }
    Body::stream(
        Incoming {
            core: core.clone(),
            connection: connection.clone(),
            start,
            wait: None,
            failed: false,
        },
        Some(length),
    )
}

struct Incoming {
    core: Arc<Core>,
    connection: Arc<Connection>,
    start: Bytes,
    wait: Option<Pin<Box<Sleep>>>,
    /// It has given an error: a reader that goes on gets the end, not the error again and again.
    failed: bool,
}

impl futures_core::Stream for Incoming {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.poll_chunk(context));
        self.failed = matches!(chunk, Some(Err(_)));
        Poll::Ready(chunk)
    }
}

impl Incoming {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if !self.start.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.start))));
        }
        match self
            .connection
            .poll_body(context, &self.core, Bytes::copy_from_slice)
        {
            Poll::Ready(read) => {
                self.wait = None;
                Poll::Ready(read.map_err(Into::into).transpose())
            }
            Poll::Pending => {
                let limit = self.core.limits.read_timeout;
                let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(limit)));
                ready!(wait.as_mut().poll(context));
                Poll::Ready(Some(Err(format!(
                    "the client sent nothing of its body for {limit:?}"
                )
                .into())))
            }
        }
    }
}

/// `None` when the time is up. No timer is made unless the future has to wait.
async fn timeout_from_first_wait<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut first = true;
    let tried = poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        // Polled again below, with the timer.
        Poll::Pending if std::mem::take(&mut first) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    match tried {
        Some(output) => Some(output),
        None => timeout(limit, future).await.ok(),
    }
}
