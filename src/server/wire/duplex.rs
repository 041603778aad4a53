//! Both directions of a connection, once an application has taken it over by answering 101.

use std::{
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    task::coop,
    time::{Sleep, sleep},
};

use crate::{
    app::{BoxFuture, Response, Transport, Tunnel, Upgraded},
    protocol::ResponseHead,
    server::{
        connection::Connection,
        exchange::{CLIENT_LEFT, Exchange},
        response::{
            framing::WriteError,
            streaming::{discard, respond_whole},
            writer::{report, send_all},
        },
        shared::Shared,
    },
};

/// Answers 101 and gives the connection to its tunnel, until both are through.
///
/// With that the request is answered. The connection keeps its slot for as long as anybody has it, so that
/// [`Limits::in_flight`](crate::Limits::in_flight) bounds those as well.
pub(in crate::server) async fn switch(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    exchange: Exchange,
    response: Response,
    tunnel: Box<Tunnel>,
) {
    let head = match head(&connection, &response, &tunnel) {
        Ok(head) => head,
        Err(error) => {
            tracing::error!("{} was answered with 500: {error}", exchange.named());
            discard(tunnel);
            let apology = Response::of_status(StatusCode::INTERNAL_SERVER_ERROR);
            respond_whole(&shared, &connection, &exchange, apology).await;
            return;
        }
    };
    shared.corrected.say(exchange.mount, head.corrections());
    if let Err(error) = send_all(&shared, &connection, [&head.into_bytes(), b""]).await {
        let outcome = Err(Some(WriteError::from(error)));
        report(&shared, &exchange, (CLIENT_LEFT, 0), &outcome);
        discard(tunnel);
        connection.end(&shared, false).await;
        return;
    }
    exchange.answered(&shared, StatusCode::SWITCHING_PROTOCOLS.as_u16(), 0, true);
    // Nor does it count as a request in flight.
    drop(exchange);
    // Nothing of the request has to be there any more: what says that a response has failed, says nothing here.
    connection.let_go();
    run(&shared, connection, tunnel).await;
}

/// The head to send, unless the connection cannot be given away.
fn head(
    connection: &Connection,
    response: &Response,
    tunnel: &Tunnel,
) -> Result<ResponseHead, String> {
    if !connection.is_read_whole() {
        return Err(
            "the application accepted an upgrade before it had read all of the request's body"
                .to_owned(),
        );
    }
    response
        .switching_head(tunnel)
        .map_err(|error| format!("the application's response head is not valid: {error}"))
}

/// Runs the application's future, and closes the connection if that is still open when the server's stop is over.
async fn run(shared: &Arc<Shared>, connection: Arc<Connection>, tunnel: Box<Tunnel>) {
    let watched = Arc::downgrade(&connection);
    let (open, closed) = oneshot::channel();
    let upgraded = Upgraded::new(Duplex {
        early: connection.early(),
        shared: shared.clone(),
        connection,
        stalled: None,
        _open: open,
    });
    let mut future = catch_unwind(AssertUnwindSafe(|| tunnel.run(upgraded))).ok();
    let ended = async {
        if let Some(future) = &mut future {
            poll_fn(|context| {
                let poll = AssertUnwindSafe(|| future.as_mut().poll(context));
                // A panic has dropped what it was holding, and that says so.
                catch_unwind(poll).unwrap_or(Poll::Ready(()))
            })
            .await;
        }
        discard(future.take());
        // The application may have taken it elsewhere.
        let _ = closed.await;
    };
    tokio::select! {
        () = ended => return,
        () = shared.stop.leaving() => {}
    }
    discard(future);
    if let Some(connection) = Weak::upgrade(&watched) {
        connection.stream.shutdown_both();
    }
}

/// An upgraded connection, as the application reads and writes it.
struct Duplex {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    /// What the client has sent behind its request; it comes first.
    early: Bytes,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Tells [`run`] when this is dropped.
    _open: oneshot::Sender<()>,
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(count));
            return Poll::Ready(Ok(()));
        }
        // A client that sends as fast as this reads would keep the thread to itself.
        let turn = ready!(coop::poll_proceed(context));
        loop {
            match self
                .connection
                .stream
                .recv_now(buffer.initialize_unfilled())
            {
                Ok(read) => {
                    turn.made_progress();
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.connection.stream.poll_readable(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(coop::poll_proceed(context));
        loop {
            match self.connection.stream.send_now([bytes, b""]) {
                Ok(sent) => {
                    turn.made_progress();
                    self.stalled = None;
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.connection.stream.poll_writable(context) {
                        Poll::Ready(room) => room?,
                        Poll::Pending => return self.poll_stalled(context).map(Err),
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.stream.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

impl Duplex {
    /// Waits until the client has taken nothing for too long.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let limit = self.shared.limits.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        let seconds = limit.as_secs_f64();
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the client took nothing for {seconds} s"),
        ))
    }
}

impl Transport for Duplex {
    fn stopping(&self) -> BoxFuture<()> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.stop.draining().await })
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("an application panicked with an upgraded connection, which is closed");
            return self.connection.abort_now();
        }
        let (shared, connection) = (self.shared.clone(), self.connection.clone());
        // What the client still sends is read: a close over it would be a reset, which may overtake what was written.
        self.shared
            .runtime
            .spawn(async move { connection.linger(&shared).await });
    }
}
