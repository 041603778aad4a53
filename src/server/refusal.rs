//! Requests that never reach an application, and what their peers are told.

use std::{io, time::Duration};

use http::StatusCode;
use thiserror::Error;

use super::connection::Connection;
use crate::{app::Response, protocol::DecodeError};

/// What a request that reached no application is counted by.
pub const REFUSAL_REASONS: [&str; 6] = [
    "malformed",
    "cut_short",
    "timed_out",
    "content_length",
    "spool",
    "client_gone",
];

/// Why a request was not taken.
#[derive(Debug, Error)]
pub(super) enum Refusal {
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
    #[error("CONTENT_LENGTH {value:?} is not a number of bytes")]
    ContentLength { value: String },
    #[error("the body cannot be kept in a temporary file: {0}")]
    Spool(io::Error),
    #[error("{0}")]
    Io(io::Error),
}

impl Refusal {
    /// One of [`REFUSAL_REASONS`].
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::CutShort { .. } => "cut_short",
            Self::TimedOut { .. } | Self::BodyTimedOut { .. } => "timed_out",
            Self::ContentLength { .. } => "content_length",
            Self::Spool(_) => "spool",
            Self::Io(_) => "client_gone",
        }
    }

    /// The answer, where there is somebody left to read it.
    pub(super) fn response(&self) -> Option<Response> {
        let status = match self {
            Self::Malformed(DecodeError::UnknownModifier { .. }) => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed(DecodeError::BlockTooLarge { .. }) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Malformed(_) | Self::CutShort { .. } | Self::ContentLength { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::TimedOut { .. } | Self::BodyTimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
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
            Self::Spool(_) => Some("free space where TMPDIR points, or point it elsewhere"),
            Self::CutShort { .. } | Self::ContentLength { .. } | Self::Io(_) => None,
        }
    }

    pub(super) fn log(&self, connection: &Connection) {
        let peer = connection.stream.peer();
        match self {
            Self::Io(error) => {
                tracing::debug!(%peer, %error, "the client left before its request was whole")
            }
            Self::Spool(_) => tracing::error!(%peer, cure = self.cure(), "{self}"),
            _ => tracing::warn!(%peer, cure = self.cure(), "{self}"),
        }
    }
}
