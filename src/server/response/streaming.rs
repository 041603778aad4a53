//! Writes responses without blocking: those of asynchronous applications, and the server's own.

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

use super::{
    framing::{BodyFraming, WriteError},
    writer::{Opening, put_behind, report, rest_of, send_all, send_error, send_file},
};
use crate::{
    app::{AnswerError, Body, Content, Response},
    protocol::Corrections,
    server::{connection::Connection, exchange::Exchange, shared::Shared, wire::Next},
};

/// How far a response has come.
pub(crate) enum Responded {
    /// It is through, and the connection goes on like that.
    Ended(Next),
    /// The rest has to wait for the client or for its body.
    Waits(Outgoing),
}

/// Sends a response that is in memory and that the socket has room for. One that has to wait comes back, for
/// [`respond`].
pub(crate) fn respond_now(
    shared: &Shared,
    connection: &Arc<Connection>,
    exchange: &Exchange,
    response: Response,
) -> Responded {
    let Some(mut outgoing) = Outgoing::of(response, exchange.head_only) else {
        return Responded::Ended(connection.end_now(shared, false));
    };
    shared.corrected.say(exchange.mount, outgoing.corrections);
    let sent = if connection.is_read_whole() {
        outgoing.send_now(connection)
    } else {
        None
    };
    let Some(outcome) = sent else {
        return Responded::Waits(outgoing);
    };
    let is_whole = outgoing.report(shared, exchange, outcome);
    Responded::Ended(connection.end_now(shared, is_whole))
}

/// Writes the rest of a response, and ends the connection if that is what follows.
pub(crate) async fn respond(
    shared: &Shared,
    connection: &Arc<Connection>,
    exchange: &Exchange,
    mut outgoing: Outgoing,
) -> Next {
    let outcome = outgoing.send(shared, connection).await;
    let is_whole = outgoing.report(shared, exchange, outcome);
    connection.end(shared, is_whole).await
}

/// Writes all of a response, as [`respond`].
pub(crate) async fn respond_whole(
    shared: &Shared,
    connection: &Arc<Connection>,
    exchange: &Exchange,
    response: Response,
) -> Next {
    match respond_now(shared, connection, exchange, response) {
        Responded::Ended(next) => next,
        Responded::Waits(outgoing) => respond(shared, connection, exchange, outgoing).await,
    }
}

/// Writes the server's own words about a request that it did not take, and sees that they are read.
pub(crate) async fn write_refusal(shared: &Shared, connection: &Connection, response: Response) {
    let Some(mut outgoing) = Outgoing::of(response, false) else {
        return;
    };
    if outgoing.send(shared, connection).await.is_ok() {
        connection.linger(shared).await;
    }
}

/// A response on its way.
pub(crate) struct Outgoing {
    head_only: bool,
    framing: BodyFraming,
    corrections: Corrections,
    /// The head, and a short beginning of the body behind it.
    head: Vec<u8>,
    /// What of the body comes next, and is in memory.
    chunk: Bytes,
    /// Bytes of these two that were sent.
    sent: usize,
    /// What follows.
    body: Body,
}

impl Outgoing {
    /// A response, or 500 in the place of one whose head is not valid.
    fn of(response: Response, head_only: bool) -> Option<Self> {
        let (head, body) = response
            .into_wire_for(head_only)
            .or_else(|error| {
                tracing::error!(%error, "the application's response head is not valid: answered with 500");
                Response::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_wire()
            })
            .ok()?;
        let corrections = head.corrections();
        let Opening { framing, head, .. } = Opening::new(head, &[], head_only);
        let mut outgoing = Self {
            head_only,
            framing,
            corrections,
            head,
            chunk: Bytes::new(),
            sent: 0,
            body: Body::empty(),
        };
        if !outgoing.framing.is_bodiless() {
            match body.into_content() {
                Content::Empty => {}
                Content::Bytes(bytes) => outgoing.put(bytes),
                Content::File(mut range) => {
                    range.length = outgoing.framing.fit(range.length);
                    outgoing.body = Body::file(range);
                }
                chunks @ Content::Stream { .. } => outgoing.body = chunks.into(),
            }
        }
        Some(outgoing)
    }

    /// Appends what comes next of the body, as far as it may be sent.
    fn put(&mut self, mut chunk: Bytes) {
        chunk.truncate(self.framing.clip(&chunk).len());
        if !put_behind(&mut self.head, &chunk).is_empty() {
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
        // A body that is longer than announced may have no end.
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

    /// Reports the end, and returns whether the response was whole.
    fn report(
        &self,
        shared: &Shared,
        exchange: &Exchange,
        outcome: Result<(), WriteError>,
    ) -> bool {
        let outcome = outcome.map_err(Some);
        report(
            shared,
            exchange,
            (self.framing.status(), self.framing.sent()),
            &outcome,
        );
        outcome.is_ok()
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

/// Bytes that are sent before others get their turn.
const TURN: usize = 1 << 20;
