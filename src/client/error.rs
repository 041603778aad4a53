use std::io;
use std::time::Duration;

use crate::address::SocketAddress;
use crate::plain::plain;
use crate::protocol::EncodeError;

/// The reason why there is no complete answer to a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request does not fit into a packet.
    #[error("the request cannot be sent: {0}")]
    Packet(#[from] EncodeError),
    /// The host name has no address.
    #[error("cannot find the host of {address}: {error}")]
    Resolve {
        /// The address asked for.
        address: SocketAddress,
        /// What the resolver said.
        error: io::Error,
    },
    /// No connection.
    #[error("cannot connect to {address}: {}", said(.error))]
    Connect {
        /// The address.
        address: SocketAddress,
        /// What the system said.
        error: io::Error,
    },
    /// The request's body cannot be read.
    #[error("cannot read the request's body: {}", said(.0))]
    Content(io::Error),
    /// Nothing moved for too long.
    #[error("the server sent nothing for {} seconds, after {received} bytes", waited.as_secs_f64())]
    TimedOut {
        /// How long.
        waited: Duration,
        /// Bytes of the answer that had come.
        received: u64,
    },
    /// The connection ended before the first byte.
    #[error("the server closed the connection without an answer")]
    NoAnswer,
    /// The connection ended within the head.
    #[error("the answer ended within its headers, after {received} bytes")]
    HeadCutShort {
        /// Bytes that had come.
        received: u64,
    },
    /// More headers than this client takes.
    #[error("the answer's headers are longer than {limit} bytes")]
    HeadTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The answer is not HTTP.
    #[error("the answer is not HTTP ({why}); it starts with {start}")]
    NotHttp {
        /// What the parser said.
        why: String,
        /// Its first bytes, escaped.
        start: String,
    },
    /// A Content-Length that is no number, or a second one. nginx answers 502 to both.
    #[error("the answer's Content-Length is wrong: {value}")]
    ContentLength {
        /// The header's values.
        value: String,
    },
    /// Fewer bytes than Content-Length promised.
    #[error("the answer ended after {received} of {expected} bytes")]
    BodyCutShort {
        /// Bytes of the body that came.
        received: u64,
        /// What Content-Length said.
        expected: u64,
    },
    /// More bytes than there may be.
    #[error("the answer goes on after the {expected} bytes that it may have")]
    BodyTooLong {
        /// What Content-Length said; 0 where the status or the method allows no body.
        expected: u64,
    },
    /// The connection was reset: how a server says that it failed in the middle.
    #[error("the server reset the connection after {received} bytes of the answer's body")]
    Reset {
        /// Bytes of the body that came.
        received: u64,
    },
    /// Another failure of the connection.
    #[error("the connection failed: {}", said(.0))]
    Connection(io::Error),
    /// The answer cannot be written to where it should go.
    #[error("cannot write the answer: {}", said(.0))]
    Output(io::Error),
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        // What a unix socket with a full queue gives once SO_SNDTIMEO is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "nobody accepts it in time".to_owned()
        }
        _ => plain(error),
    }
}
