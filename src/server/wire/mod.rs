//! What a front server speaks on a connection.
//!
//! A wire reads a request's head and body from a stream, and says how the connection goes on after the response. No
//! other part of the server knows a protocol's bytes.
//!
//! # Layout
//! - [`Wire`]: the interface; `uwsgi`: nginx's `uwsgi_pass`; `steps`: what a wire says of a connection.
//! - `duplex`: both directions of a connection, once an application has taken it over.

pub(super) mod duplex;
mod steps;
mod uwsgi;

use std::io;

use bytes::BytesMut;

pub(crate) use self::steps::{Arrived, Next};
use self::uwsgi::Uwsgi;
use super::{net::stream::Stream, request::refusal::Refusal};
use crate::protocol::Decoder;

/// The protocol of one connection, with what it remembers of the request that is being served.
#[derive(Debug)]
pub(crate) enum Wire {
    /// uwsgi: one request, its response, and the end of the connection.
    Uwsgi(Uwsgi),
    /// uwsgi, one request after another: no front server does that, and tests do.
    #[cfg(test)]
    Kept(Uwsgi),
}

impl Wire {
    /// Returns nginx's `uwsgi_pass`.
    pub(crate) fn uwsgi() -> Self {
        Self::Uwsgi(Uwsgi::default())
    }

    /// Returns one whose connections go on after each response.
    #[cfg(test)]
    pub(crate) fn kept() -> Self {
        Self::Kept(Uwsgi::default())
    }

    /// Reads what has arrived of a request's head. `received` is what came before; after the head it begins with the
    /// body.
    ///
    /// # Errors
    /// What has arrived is no request, is larger than the decoder takes, or ends too soon.
    pub(crate) fn read_head(
        &self,
        stream: &Stream,
        decoder: &Decoder,
        received: &mut BytesMut,
    ) -> Result<Arrived, Refusal> {
        self.protocol().read_head(stream, decoder, received)
    }

    /// Receives some of a body of which `left` bytes, at least one, were not received yet.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived, `UnexpectedEof` when the peer has left.
    pub(crate) fn receive_body(
        &self,
        stream: &Stream,
        left: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.protocol().receive_body(stream, left, into)
    }

    /// Takes out of the socket what was read and left there, so that closing it is a clean end.
    pub(crate) fn let_go(&self, stream: &Stream) {
        self.protocol().let_go(stream);
    }

    /// Says how a connection goes on after a response that was whole or not.
    pub(crate) fn next(&self, is_whole: bool) -> Next {
        match self {
            _ if !is_whole => Next::Reset,
            Self::Uwsgi(_) => Next::Close,
            #[cfg(test)]
            Self::Kept(_) => Next::Again,
        }
    }

    fn protocol(&self) -> &Uwsgi {
        match self {
            Self::Uwsgi(uwsgi) => uwsgi,
            #[cfg(test)]
            Self::Kept(uwsgi) => uwsgi,
        }
    }
}
