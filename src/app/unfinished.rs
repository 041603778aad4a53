//! A request's body that ends too early.

use std::{error::Error, io, time::Duration};

use http::StatusCode;

/// The reason why a request's body cannot be read to its end. That is the client's doing, or the network's.
///
/// [`Body::chunk`](super::Body::chunk) gives it. A handler that returns it, or an error that comes from it, answers
/// with [`UnfinishedBody::status`], and not with the 500 that other errors are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnfinishedBody {
    /// The client closed its side, or its connection broke.
    #[error("{0}")]
    Left(#[source] io::Error),
    /// It sent nothing for [`Limits::read_timeout`](crate::Limits::read_timeout).
    #[error("the client sent nothing of its body for {after:?}")]
    TimedOut {
        /// For so long.
        after: Duration,
    },
}

impl UnfinishedBody {
    /// 408 when the time was up, 400 when the client has left (RFC 9110, sections 15.5.9 and 15.5.1).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Left(_) => StatusCode::BAD_REQUEST,
            Self::TimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// Finds the unfinished body that an error is, or comes from.
    #[must_use]
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| (*error).source())
            .find_map(|error| error.downcast_ref())
    }
}
