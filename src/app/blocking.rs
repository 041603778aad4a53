//! Applications that answer on the thread that calls them.

use std::io;

use thiserror::Error;

use super::{FileRange, Request};
use crate::protocol::ResponseHead;

/// Answers requests on the calling thread and returns when it is done: WSGI's way.
///
/// The server calls it only when the request's body is whole (in memory, or in a file when it is large), so
/// reading it never waits for the client.
pub trait BlockingApplication: Send + Sync + 'static {
    /// Answers one request through `answer`, and ends with [`Answer::finish`].
    fn call(&self, request: Request, answer: Box<dyn Answer>);
}

/// The application failed and has said so in the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the application failed")]
pub struct Failed;

/// Takes the response of a [`BlockingApplication`].
///
/// Each call hands its bytes to the operating system or, when the client is slow, to the server's own
/// thread, before it returns (PEP 3333, "Buffering and Streaming"). No body is sent for a HEAD request
/// or a status that has none, and none beyond the Content-Length. One that is dropped without
/// [`Answer::finish`] counts as failed.
pub trait Answer: Send {
    /// Sends the head together with the first bytes of the body, which may be empty.
    ///
    /// # Errors
    /// [`AnswerError`]: stop producing.
    fn begin(&mut self, head: ResponseHead, first: &[u8]) -> Result<(), AnswerError>;

    /// Sends more of the body.
    ///
    /// # Errors
    /// [`AnswerError`]: stop producing.
    fn send(&mut self, chunk: &[u8]) -> Result<(), AnswerError>;

    /// Sends a part of a file without bringing it into memory (sendfile(2)).
    ///
    /// # Errors
    /// [`AnswerError`]: stop producing.
    fn send_file(&mut self, file: FileRange) -> Result<(), AnswerError>;

    /// Looks whether the client is still there, for a producer that has nothing to send. It costs next to nothing
    /// however often it is called: the connection is looked at every 100 ms at most.
    ///
    /// # Errors
    /// [`AnswerError`]: stop producing.
    fn look(&mut self) -> Result<(), AnswerError> {
        Ok(())
    }

    /// Tells whether the head was sent, so that nothing in it can change any more.
    fn has_begun(&self) -> bool;

    /// Tells whether more of the body is sent: not in answer to a HEAD request, with a status that has none, or once
    /// there was more than the Content-Length. What is produced all the same is dropped.
    fn takes_more(&self) -> bool;

    /// Tells whether the response can still reach the client: not after an [`AnswerError`].
    fn is_open(&self) -> bool;

    /// Ends the response: 500 if nothing was sent, a reset if the application failed on the way.
    fn finish(self: Box<Self>, outcome: Result<(), Failed>);
}

/// The reason why no more of a response can be sent. None of these is the application's fault but the last.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The client closed the connection, which is its right.
    #[error("the client went away")]
    Gone,
    /// The client took nothing for longer than the time-out.
    #[error("the client took nothing for {seconds} s")]
    Stalled {
        /// How long was waited.
        seconds: u64,
    },
    /// The body could not be kept for a slow client, or read from its file.
    #[error("the body cannot be passed on: {0}")]
    Io(#[from] io::Error),
    /// `send` before `begin`, or `begin` twice.
    #[error("the response was begun twice, or not at all")]
    OutOfOrder,
}
