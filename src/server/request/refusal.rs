//! Requests that never reach an application, and what their peers are told.

use std::{io, time::Duration};

use http::StatusCode;
use thiserror::Error;

use crate::{app::Response, protocol::DecodeError, server::log_limit::LogLimit};

/// What a request that reached no application, or a connection that was not taken, is counted by.
pub const REFUSAL_REASONS: [&str; 10] = [
    "malformed",
    "cut_short",
    "timed_out",
    "content_length",
    "spool",
    "client_gone",
    "length_required",
    "body_too_large",
    "bad_value",
    NOT_ALLOWED,
];

/// A peer outside [`Limits::allow_from`](crate::server::Limits::allow_from).
pub(crate) const NOT_ALLOWED: &str = "not_allowed";

/// Why a request was not taken.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Malformed(DecodeError),
    #[error("the peer closed after {received} bytes, before its variables were whole")]
    CutShort { received: usize },
    #[error("the variables were not whole after {after:?}: {received} bytes had come")]
    TimedOut { received: usize, after: Duration },
    #[error(
        "the body was not whole: nothing came for {after:?}, after {received} of {length} bytes"
    )]
    BodyTimedOut {
        received: u64,
        length: u64,
        after: Duration,
    },
    #[error("CONTENT_LENGTH \"{value}\" is not a number of bytes")]
    ContentLength { value: String },
    #[error("the length of the body is not told: there is no CONTENT_LENGTH")]
    LengthRequired,
    #[error("the body of {length} bytes is larger than the {limit} that are accepted")]
    BodyTooLarge { length: u64, limit: u64 },
    #[error("the method \"{method}\" is not a token")]
    Method { method: String },
    #[error("the header {name} has a line break or a NUL at byte {at} of its value")]
    Header { name: String, at: usize },
    /// Made where TLS is spoken only.
    #[cfg(feature = "tls")]
    #[error("{what} was sent to a TLS socket")]
    NotTls { what: &'static str },
    #[error("the body cannot be kept in a temporary file: {0}")]
    Spool(io::Error),
    #[error("{0}")]
    Io(io::Error),
}

impl Refusal {
    /// One of [`REFUSAL_REASONS`].
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            #[cfg(feature = "tls")]
            Self::NotTls { .. } => "malformed",
            Self::CutShort { .. } => "cut_short",
            Self::TimedOut { .. } | Self::BodyTimedOut { .. } => "timed_out",
            Self::ContentLength { .. } => "content_length",
            Self::LengthRequired => "length_required",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Method { .. } | Self::Header { .. } => "bad_value",
            Self::Spool(_) => "spool",
            Self::Io(_) => "client_gone",
        }
    }

    /// The answer, where there is somebody left to read it.
    pub(crate) fn response(&self) -> Option<Response> {
        let status = match self {
            Self::Malformed(DecodeError::UnknownModifier { .. }) => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed(
                DecodeError::BlockTooLarge { .. } | DecodeError::TooManyVars { .. },
            ) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Malformed(_)
            | Self::CutShort { .. }
            | Self::ContentLength { .. }
            | Self::Method { .. }
            | Self::Header { .. } => StatusCode::BAD_REQUEST,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut { .. } | Self::BodyTimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
            #[cfg(feature = "tls")]
            Self::NotTls { .. } => StatusCode::BAD_REQUEST,
            Self::Spool(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Io(_) => return None,
        };
        let text = match self {
            // What went wrong on this machine is for the log.
            Self::Spool(_) => "507 the request's body cannot be stored\n".to_owned(),
            _ => format!(
                "{} {self}{}\n",
                status.as_u16(),
                self.cure()
                    .map(|cure| format!(": {cure}"))
                    .unwrap_or_default()
            ),
        };
        Some(Response::text(text).with_status(status))
    }

    /// What an operator can do about it.
    fn cure(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(error) => Some(error.cure()),
            Self::TimedOut { .. } | Self::BodyTimedOut { .. } => {
                Some("a slower client needs a longer --read-timeout, or nginx's request buffering")
            }
            #[cfg(feature = "tls")]
            Self::NotTls { .. } => Some(
                "in nginx write uwsgi_pass suwsgi://HOST:PORT; spile speaks TLS because of --tls-cert",
            ),
            Self::Spool(_) => Some("free space where TMPDIR points, or point it elsewhere"),
            Self::LengthRequired => Some(
                "in nginx pass it on (uwsgi_param CONTENT_LENGTH $content_length); another front server \
                 has to buffer such requests",
            ),
            Self::BodyTooLarge { .. } => {
                Some("send less, or raise --max-body; nginx has client_max_body_size")
            }
            Self::Header { .. } => Some(
                "a variable that the front server makes of several lines, such as a certificate, needs a \
                 name without HTTP_",
            ),
            Self::CutShort { .. }
            | Self::ContentLength { .. }
            | Self::Method { .. }
            | Self::Io(_) => None,
        }
    }

    /// Says it in the log. `peer` is asked only for lines that are written.
    pub(crate) fn log(&self, log_limit: &LogLimit, peer: impl Fn() -> String) {
        if let Self::Io(error) = self {
            return tracing::debug!(
                peer = peer(), %error,
                "the client left before its request was whole"
            );
        }
        log_limit.say(self.cause(), || {
            let peer = peer();
            let (cure, byte) = (self.cure(), self.byte());
            match self {
                Self::Spool(_) => tracing::error!(%peer, byte, cure, "{self}"),
                _ => tracing::warn!(%peer, byte, cure, "{self}"),
            }
        });
    }

    /// The byte of the packet at which it shows, counted from 0.
    fn byte(&self) -> Option<usize> {
        match self {
            Self::Malformed(error) => Some(error.offset()),
            Self::CutShort { received } | Self::TimedOut { received, .. } => Some(*received),
            _ => None,
        }
    }

    /// What the log counts alike when there are many.
    fn cause(&self) -> &'static str {
        match self {
            Self::Malformed(DecodeError::LooksLikeHttp) => "HTTP was sent to a uwsgi socket",
            Self::Malformed(DecodeError::LooksLikeTls) => "TLS was sent to a uwsgi socket",
            Self::Malformed(DecodeError::UnknownModifier { .. }) => {
                "a packet with a modifier that is not served"
            }
            Self::Malformed(
                DecodeError::BlockTooLarge { .. } | DecodeError::TooManyVars { .. },
            ) => "a request with too large or too many variables",
            Self::Malformed(_) => "a malformed packet",
            Self::CutShort { .. } => "a packet that was cut short",
            Self::TimedOut { .. } => "a request whose variables did not come in time",
            Self::BodyTimedOut { .. } => "a request whose body did not come in time",
            Self::ContentLength { .. } => "a CONTENT_LENGTH that is no number of bytes",
            Self::LengthRequired => "a request whose body has no length",
            Self::BodyTooLarge { .. } => "a request whose body is too large",
            Self::Method { .. } => "a method that is not a token",
            #[cfg(feature = "tls")]
            Self::NotTls { .. } => "something that is not TLS",
            Self::Header { .. } => "a header with a line break or a NUL",
            Self::Spool(_) => "a body that cannot be kept in a temporary file",
            Self::Io(_) => "a client that left",
        }
    }
}
