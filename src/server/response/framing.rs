//! How much body a response's head announces, and how much of that was sent.

use crate::{
    app::{AnswerError, BoxError},
    protocol::ResponseHead,
};

/// Counts how many bytes of a body may be sent, and must be (RFC 9112, section 6).
#[derive(Debug)]
pub(crate) struct BodyFraming {
    status: u16,
    bodiless: bool,
    length: Option<u64>,
    sent: u64,
    surplus: bool,
}

impl BodyFraming {
    /// Returns the framing that a head announces. A response to HEAD has no body whatever its head says.
    pub(crate) fn of(head: &ResponseHead, head_only: bool) -> Self {
        Self {
            status: head.status(),
            bodiless: head_only || !head.allows_body(),
            length: head.content_length(),
            sent: 0,
            surplus: false,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn is_bodiless(&self) -> bool {
        self.bodiless
    }

    /// Whether the end of the connection is the end of the body.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.length.is_none() && !self.bodiless
    }

    /// The bytes of the body sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether more of the body may be sent, as far as is known: what fills it exactly may be its end.
    pub(crate) fn takes_more(&self) -> bool {
        !self.bodiless && !self.surplus
    }

    /// How many of the next `length` bytes may be sent. They count as sent.
    pub(crate) fn take(&mut self, length: u64) -> u64 {
        let taken = self.fit(length);
        self.count(taken);
        taken
    }

    /// How many of the next `length` bytes may be sent; those that are have to be counted.
    pub(crate) fn fit(&mut self, length: u64) -> u64 {
        if self.bodiless {
            return 0;
        }
        let left = self
            .length
            .map_or(u64::MAX, |declared| declared - self.sent);
        if length > left && !self.surplus {
            self.surplus = true;
            tracing::warn!(
                "a response has more body than its Content-Length of {}: the rest is dropped",
                self.length.unwrap_or(0)
            );
        }
        length.min(left)
    }

    /// So many bytes of the body were sent.
    pub(crate) fn count(&mut self, sent: u64) {
        self.sent += sent;
    }

    /// The part of a chunk that may be sent.
    pub(crate) fn clip<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let taken = self.take(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        chunk
            .get(..usize::try_from(taken).unwrap_or(0))
            .unwrap_or_default()
    }

    /// Whether the body may end here.
    pub(crate) fn check_complete(&self) -> Result<(), WriteError> {
        match self.length {
            Some(declared) if declared > self.sent && !self.bodiless => Err(WriteError::TooShort {
                sent: self.sent,
                declared,
            }),
            _ => Ok(()),
        }
    }
}

/// Why a response was not whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Send(#[from] AnswerError),
    #[error("{0}")]
    Body(BoxError),
    #[error("its body ended after {sent} bytes, but its Content-Length is {declared}")]
    TooShort { sent: u64, declared: u64 },
}
