//! Writing responses without blocking: those of native applications, and the server's own.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http::StatusCode;
use tokio::time::timeout;

use super::{connection::Connection, core::Core, exchange::Exchange, promise::Promise};
use crate::{
    app::{AnswerError, Body, Content, FileRange, Response},
    protocol::ResponseHead,
};

/// Writes a response and closes: cleanly when it was whole, with a reset when it was not.
pub(super) async fn respond(
    core: &Core,
    connection: &Connection,
    exchange: &Exchange,
    response: Response,
) {
    let (head, body) = match response.into_wire_for(exchange.head_only) {
        Ok(wire) => wire,
        Err(error) => {
            tracing::error!(%error, "the application's response head is not valid: answered with 500");
            match Response::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_wire() {
                Ok(wire) => wire,
                Err(_) => return connection.abort(),
            }
        }
    };
    let promise = Promise::of(&head, exchange.head_only);
    let mut writer = Writer {
        core,
        connection,
        promise,
    };
    let outcome = writer.write(head, body).await;
    exchange.answered(
        core,
        writer.promise.status(),
        writer.promise.sent(),
        outcome.is_ok(),
    );
    match outcome {
        Ok(()) => connection.finish(core).await,
        Err(error) => {
            log(&error);
            connection.abort();
        }
    }
}

/// Writes the server's own words about a request that it did not take, and sees that they are read.
pub(super) async fn write_refusal(core: &Core, connection: &Connection, response: Response) {
    let Ok((head, body)) = response.into_wire() else {
        return;
    };
    let promise = Promise::of(&head, false);
    let mut writer = Writer {
        core,
        connection,
        promise,
    };
    if writer.write(head, body).await.is_ok() {
        connection.linger(core).await;
    }
}

/// Sends all of the chunks, waiting for the client as long as it takes something now and then.
pub(super) async fn send_all(
    core: &Core,
    connection: &Connection,
    chunks: [&[u8]; 2],
) -> Result<(), AnswerError> {
    let mut sent = 0;
    while sent < chunks.iter().map(|chunk| chunk.len()).sum() {
        let rest = rest_of(chunks, sent);
        sent += patiently(core, connection, || {
            connection.stream.send_now(&rest.map(IoSlice::new))
        })
        .await?;
    }
    Ok(())
}

/// Sends all of a file's part, as [`send_all`].
pub(super) async fn send_file(
    core: &Core,
    connection: &Connection,
    mut range: FileRange,
) -> Result<(), AnswerError> {
    while range.length > 0 {
        patiently(core, connection, || {
            connection.stream.send_file_now(&mut range)
        })
        .await?;
        // A client that takes it as fast as it is sent would keep the thread to itself.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What is left of two chunks when the first `sent` bytes of both are gone.
pub(super) fn rest_of(chunks: [&[u8]; 2], sent: usize) -> [&[u8]; 2] {
    let [first, second] = chunks;
    let into_second = sent.saturating_sub(first.len());
    [
        first.get(sent..).unwrap_or_default(),
        second.get(into_second..).unwrap_or_default(),
    ]
}

/// Says in the log why a response was not whole, unless the client's leaving is all there is to it.
pub(super) fn log(error: &WriteError) {
    match error {
        WriteError::Send(AnswerError::Gone) => {
            tracing::debug!("the client left before the response was whole")
        }
        WriteError::Send(error) => tracing::warn!("a response was cut off: {error}"),
        WriteError::Body(error) => {
            tracing::error!("a response was cut off: its body failed: {error}")
        }
        WriteError::TooShort { .. } => tracing::error!("a response was cut off: {error}"),
    }
}

/// Why a response was not whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Send(#[from] AnswerError),
    #[error("{0}")]
    Body(crate::app::BoxError),
    #[error("its body ended after {sent} bytes, but its Content-Length is {promised}")]
    TooShort { sent: u64, promised: u64 },
}

struct Writer<'a> {
    core: &'a Core,
    connection: &'a Connection,
    promise: Promise,
}

impl Writer<'_> {
    async fn write(&mut self, head: ResponseHead, body: Body) -> Result<(), WriteError> {
        let head = head.into_bytes();
        if self.promise.is_bodiless() {
            return self.send(&head, b"").await;
        }
        match body.into_content() {
            Content::Empty => self.send(&head, b"").await?,
            Content::Bytes(bytes) => self.send(&head, &bytes).await?,
            Content::File(mut range) => {
                self.send(&head, b"").await?;
                range.length = self.promise.take(range.length);
                send_file(self.core, self.connection, range).await?;
            }
            chunks @ Content::Stream { .. } => self.stream(&head, chunks.into()).await?,
        }
        self.promise.is_kept()
    }

    /// The head goes with the first chunk if that is there already, else ahead of it.
    async fn stream(&mut self, head: &[u8], mut body: Body) -> Result<(), WriteError> {
        let first = poll_fn(|context| {
            Poll::Ready(match poll_chunk(&mut body, context) {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => Some(Ok(Bytes::new())),
            })
        });
        let first = first.await.transpose()?;
        self.send(head, &first.unwrap_or_default()).await?;
        let mut since_turn = 0;
        // What is beyond the promise may have no end.
        while !self.promise.is_exceeded() {
            match self.next(&mut body).await {
                Some(chunk) => {
                    let chunk = chunk?;
                    self.send(b"", &chunk).await?;
                    since_turn += chunk.len().max(1024);
                }
                None => break,
            }
            if since_turn > TURN {
                since_turn = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// The next chunk, unless the client leaves before it comes: it may be long in coming.
    async fn next(&self, body: &mut Body) -> Option<Result<Bytes, WriteError>> {
        poll_fn(|context| match poll_chunk(body, context) {
            Poll::Pending => {
                ready!(self.connection.stream.poll_closed(context));
                Poll::Ready(Some(Err(AnswerError::Gone.into())))
            }
            chunk => chunk,
        })
        .await
    }

    async fn send(&mut self, head: &[u8], chunk: &[u8]) -> Result<(), WriteError> {
        let chunk = self.promise.clip(chunk);
        Ok(send_all(self.core, self.connection, [head, chunk]).await?)
    }
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

/// Bytes that are sent before others get their turn.
const TURN: usize = 1 << 20;

/// Sends something, waiting for room when there is none, up to the write time-out.
async fn patiently(
    core: &Core,
    connection: &Connection,
    mut send: impl FnMut() -> io::Result<usize>,
) -> Result<usize, AnswerError> {
    let limit = core.limits.write_timeout;
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
pub(super) fn send_error(error: io::Error) -> AnswerError {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted => AnswerError::Gone,
        _ => AnswerError::Io(error),
    }
}
