//! The rules of writing a response, the same for every kind of application: what goes into the first write, how long a
//! client is waited for, and what is reported at the end.

use std::{
    future::poll_fn,
    io,
    task::{Poll, ready},
};

use tokio::time::timeout;

use super::framing::{BodyFraming, WriteError};
use crate::{
    app::{AnswerError, FileRange},
    protocol::ResponseHead,
    server::{connection::Connection, exchange::Exchange, shared::Shared},
};

/// The first write of a response.
pub(crate) struct Opening<'a> {
    /// What the head says of the body. The beginning counts as sent.
    pub(crate) framing: BodyFraming,
    /// The head. A short beginning of the body is copied behind it.
    pub(crate) head: Vec<u8>,
    /// A longer one.
    pub(crate) beginning: &'a [u8],
}

impl<'a> Opening<'a> {
    /// Puts a head and the beginning of its body, which may be empty, together. Takes no more of that than the head
    /// allows, and nothing in answer to a HEAD request.
    pub(crate) fn new(head: ResponseHead, beginning: &'a [u8], head_only: bool) -> Self {
        let mut framing = BodyFraming::of(&head, head_only);
        let beginning = framing.clip(beginning);
        let mut head = head.into_bytes();
        let beginning = put_behind(&mut head, beginning);
        Self {
            framing,
            head,
            beginning,
        }
    }
}

/// Up to this many bytes of a body are copied behind the head: one buffer costs the kernel less than two.
const COPIED: usize = 4096;

/// Copies a short beginning of a body behind its head, and returns a longer one.
pub(crate) fn put_behind<'a>(head: &mut Vec<u8>, beginning: &'a [u8]) -> &'a [u8] {
    if beginning.len() > COPIED {
        return beginning;
    }
    head.extend_from_slice(beginning);
    &[]
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

/// Why a response was not whole; `None` where the log has it already.
pub(crate) type Broken = Option<WriteError>;

/// Reports the end of a response to the observer and the counters, and says in the log why it was not whole.
pub(crate) fn report(
    shared: &Shared,
    exchange: &Exchange,
    (status, body_bytes): (u16, u64),
    outcome: &Result<(), Broken>,
) {
    exchange.answered(shared, status, body_bytes, outcome.is_ok());
    if let Err(Some(error)) = outcome {
        log(shared, error);
    }
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
