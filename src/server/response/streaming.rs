//! Writing responses without blocking: those of native applications, and the server's own.

use std::{
    future::poll_fn,
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http::StatusCode;
use tokio::time::timeout;

use super::framing::{BodyFraming, WriteError};
use crate::{
    app::{AnswerError, Body, Content, FileRange, Response},
    protocol::Corrections,
    server::{connection::Connection, exchange::Exchange, shared::Shared},
};

/// Sends a response that is in memory and that the socket has room for. What cannot be sent without waiting comes back,
/// for [`respond`].
pub(crate) fn respond_now(
    shared: &Shared,
    connection: &Arc<Connection>,
    exchange: &Exchange,
    response: Response,
) -> Option<Wire> {
    let mut wire = Wire::of(response, exchange.head_only)?;
    shared.corrected.say(exchange.mount, wire.corrections);
    let sent = if connection.is_drained() {
        wire.send_now(connection)
    } else {
        None
    };
    let Some(outcome) = sent else {
        return Some(wire);
    };
    wire.done(shared, exchange, &outcome);
    match outcome {
        Ok(()) => connection.finish_now(),
        Err(_) => connection.abort_later(shared),
    }
    None
}

/// Writes the rest of a response and closes: cleanly when it was whole, with a reset when it was not.
pub(crate) async fn respond(
    shared: &Shared,
    connection: &Arc<Connection>,
    exchange: &Exchange,
    mut wire: Wire,
) {
    let outcome = wire.send(shared, connection).await;
    wire.done(shared, exchange, &outcome);
    match outcome {
        Ok(()) => connection.finish(shared).await,
        Err(_) => connection.abort().await,
    }
}

/// Writes all of a response and closes, as [`respond`].
pub(crate) async fn respond_whole(
    shared: &Shared,
    connection: &Arc<Connection>,
    exchange: &Exchange,
    response: Response,
) {
    if let Some(wire) = respond_now(shared, connection, exchange, response) {
        respond(shared, connection, exchange, wire).await;
    }
}

/// Writes the server's own words about a request that it did not take, and sees that they are read.
pub(crate) async fn write_refusal(shared: &Shared, connection: &Connection, response: Response) {
    let Some(mut wire) = Wire::of(response, false) else {
        return;
    };
    if wire.send(shared, connection).await.is_ok() {
        connection.linger(shared).await;
    }
}

/// Sends all of the chunks, waiting for the client as long as it takes something now and then.
pub(crate) async fn send_all(
    shared: &Shared,
    connection: &Connection,
    chunks: [&[u8]; 2],
) -> Result<(), AnswerError> {
    let mut sent = 0;
    while sent < chunks.iter().map(|chunk| chunk.len()).sum() {
        let rest = rest_of(chunks, sent);
        sent += patiently(shared, connection, || connection.stream.send_now(rest)).await?;
    }
    Ok(())
}

/// Sends all of a file's part, as [`send_all`]. What is left of it then was not sent.
pub(crate) async fn send_file(
    shared: &Shared,
    connection: &Connection,
    range: &mut FileRange,
) -> Result<(), AnswerError> {
    while range.length > 0 {
        patiently(shared, connection, || {
            connection.stream.send_file_now(range)
        })
        .await?;
        // A client that takes it as fast as it is sent would keep the thread to itself.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What is left of two chunks when the first `sent` bytes of both are gone.
pub(crate) fn rest_of(chunks: [&[u8]; 2], sent: usize) -> [&[u8]; 2] {
    let [first, second] = chunks;
    let into_second = sent.saturating_sub(first.len());
    [
        first.get(sent..).unwrap_or_default(),
        second.get(into_second..).unwrap_or_default(),
    ]
}

/// Says in the log why a response was not whole, unless the client's leaving is all there is to it.
pub(crate) fn log(shared: &Shared, error: &WriteError) {
    const CUT_OFF: &str = "a response was cut off";
    match error {
        WriteError::Send(AnswerError::Gone) => {
            tracing::debug!("the client left before the response was whole")
        }
        // That is up to the client.
        WriteError::Send(error) => shared
            .log_limit
            .say(CUT_OFF, || tracing::warn!("{CUT_OFF}: {error}")),
        WriteError::Body(error) => {
            tracing::error!("{CUT_OFF}: its body failed: {error}")
        }
        WriteError::TooShort { .. } => tracing::error!("{CUT_OFF}: {error}"),
    }
}

/// A response on its way.
pub(crate) struct Wire {
    head_only: bool,
    framing: BodyFraming,
    corrections: Corrections,
    /// The head, with a little of the body's beginning behind it.
    head: Vec<u8>,
    /// What of the body comes next, and is in memory.
    chunk: Bytes,
    /// Bytes of these two that were sent.
    sent: usize,
    /// What follows.
    body: Body,
}

impl Wire {
    /// A response, or 500 in the place of one whose head is not valid.
    fn of(response: Response, head_only: bool) -> Option<Self> {
        let (head, body) = response
            .into_wire_for(head_only)
            .or_else(|error| {
                tracing::error!(%error, "the application's response head is not valid: answered with 500");
                Response::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_wire()
            })
            .ok()?;
        let mut wire = Self {
            head_only,
            framing: BodyFraming::of(&head, head_only),
            corrections: head.corrections(),
            head: head.into_bytes(),
            chunk: Bytes::new(),
            sent: 0,
            body: Body::empty(),
        };
        if !wire.framing.is_bodiless() {
            match body.into_content() {
                Content::Empty => {}
                Content::Bytes(bytes) => wire.put(bytes),
                Content::File(mut range) => {
                    range.length = wire.framing.fit(range.length);
                    wire.body = Body::file(range);
                }
                chunks @ Content::Stream { .. } => wire.body = chunks.into(),
            }
        }
        Some(wire)
    }

    /// Appends what comes next of the body, as far as it may be sent.
    fn put(&mut self, mut chunk: Bytes) {
        chunk.truncate(self.framing.clip(&chunk).len());
        if chunk.len() <= COPIED {
            self.head.extend_from_slice(&chunk);
        } else {
            self.chunk = chunk;
        }
    }

    /// Sends all that there is without waiting, for the body or for room: `None` when there is more.
    fn send_now(&mut self, connection: &Connection) -> Option<Result<(), WriteError>> {
        if let Err(error) = self.take_first(&mut Context::from_waker(Waker::noop())) {
            return Some(Err(error));
        }
        while !self.is_sent() {
            match connection.stream.send_now(self.rest()) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(send_error(error).into())),
            }
        }
        (self.body.length() == Some(0)).then(|| self.framing.check_complete())
    }

    /// Sends what is left.
    async fn send(&mut self, shared: &Shared, connection: &Connection) -> Result<(), WriteError> {
        poll_fn(|context| Poll::Ready(self.take_first(context))).await?;
        if self.framing.is_unbounded() && self.body.is_stream() {
            connection.begin_unbounded();
        }
        send_all(shared, connection, self.rest()).await?;
        match std::mem::take(&mut self.body).into_content() {
            Content::File(mut range) => {
                let length = range.length;
                let sent = send_file(shared, connection, &mut range).await;
                self.framing.count(length - range.length);
                sent?;
            }
            chunks @ Content::Stream { .. } => {
                let mut body = chunks.into();
                let sent = self.send_chunks(shared, connection, &mut body).await;
                discard(body);
                sent?;
            }
            Content::Empty | Content::Bytes(_) => {}
        }
        self.framing.check_complete()
    }

    async fn send_chunks(
        &mut self,
        shared: &Shared,
        connection: &Connection,
        body: &mut Body,
    ) -> Result<(), WriteError> {
        let mut since_turn = 0;
        // What is beyond the framing may have no end.
        while self.framing.takes_more() {
            let Some(chunk) = next_chunk(connection, body).await else {
                break;
            };
            let chunk = chunk?;
            let part = self.framing.clip(&chunk);
            send_all(shared, connection, [b"", part]).await?;
            since_turn += chunk.len().max(1024);
            if since_turn > TURN {
                since_turn = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Takes the body's first chunk, if it is there already: it goes with the head. A body that fails before that is
    /// no reason to break anything off.
    fn take_first(&mut self, context: &mut Context<'_>) -> Result<(), WriteError> {
        if self.sent > 0 || !self.chunk.is_empty() || !self.body.is_stream() {
            return Ok(());
        }
        match poll_chunk(&mut self.body, context) {
            Poll::Ready(Some(Ok(chunk))) => self.put(chunk),
            // It is not asked again after its end.
            Poll::Ready(None) => discard(std::mem::take(&mut self.body)),
            Poll::Ready(Some(Err(error))) => {
                let response = Response::of_status(StatusCode::INTERNAL_SERVER_ERROR);
                let Some(instead) = Self::of(response, self.head_only) else {
                    return Err(error);
                };
                tracing::error!("answered with 500: the response's body failed: {error}");
                discard(std::mem::replace(self, instead).body);
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    fn rest(&self) -> [&[u8]; 2] {
        rest_of([&self.head, &self.chunk], self.sent)
    }

    fn is_sent(&self) -> bool {
        self.sent >= self.head.len() + self.chunk.len()
    }

    fn done(&self, shared: &Shared, exchange: &Exchange, outcome: &Result<(), WriteError>) {
        exchange.answered(
            shared,
            self.framing.status(),
            self.framing.sent(),
            outcome.is_ok(),
        );
        if let Err(error) = outcome {
            log(shared, error);
        }
    }
}

/// The next chunk, unless the client leaves before it comes: it may be long in coming.
async fn next_chunk(connection: &Connection, body: &mut Body) -> Option<Result<Bytes, WriteError>> {
    poll_fn(|context| match poll_chunk(body, context) {
        Poll::Pending => {
            ready!(connection.stream.poll_closed(context));
            Poll::Ready(Some(Err(AnswerError::Gone.into())))
        }
        chunk => chunk,
    })
    .await
}

/// The next chunk of a body. A panic of what produces it is a failure of the body, not of the thread that polls.
fn poll_chunk(
    body: &mut Body,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, WriteError>>> {
    let poll = AssertUnwindSafe(|| Pin::new(body).poll_next(context));
    match std::panic::catch_unwind(poll) {
        Ok(chunk) => chunk.map(|chunk| chunk.map(|chunk| chunk.map_err(WriteError::Body))),
        Err(_) => Poll::Ready(Some(Err(WriteError::Body("it panicked".into())))),
    }
}

/// Drops what the application has made. A panic in that is nobody else's failure.
pub(crate) fn discard<T>(made: T) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| drop(made))).is_err() {
        tracing::error!("the application panicked after its answer: its destructor did");
    }
}

/// Up to this many bytes of a body are copied behind the head: one buffer costs the kernel less than two.
pub(crate) const COPIED: usize = 4096;

/// Bytes that are sent before others get their turn.
const TURN: usize = 1 << 20;

/// Sends something, waiting for room when there is none, up to the write time-out.
async fn patiently(
    shared: &Shared,
    connection: &Connection,
    mut send: impl FnMut() -> io::Result<usize>,
) -> Result<usize, AnswerError> {
    let limit = shared.limits.write_timeout;
    loop {
        match send() {
            Ok(sent) => return Ok(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let room = poll_fn(|context| {
                    Poll::Ready(ready!(connection.stream.poll_writable(context)))
                });
                match timeout(limit, room).await {
                    Ok(waited) => waited?,
                    Err(_) => {
                        return Err(AnswerError::Stalled {
                            seconds: limit.as_secs(),
                        });
                    }
                }
            }
            Err(error) => return Err(send_error(error)),
        }
    }
}

/// What a failure to send means: mostly that the client has left.
pub(crate) fn send_error(error: io::Error) -> AnswerError {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted => AnswerError::Gone,
        _ => AnswerError::Io(error),
    }
}
