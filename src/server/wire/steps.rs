//! What a wire says of a connection: how far a request has come, and what follows its response.

use crate::protocol::Vars;

/// How far a request's head has come.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// All of it is there.
    Head(Vars),
    /// The wire has answered it without an application: a ping.
    Answered,
    /// Some of it, or nothing, is there.
    NotYet,
    /// The peer left before it sent a byte.
    Left,
}

/// How a connection goes on after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is closed. The peer takes the response for whole.
    Close,
    /// It is reset, so that the peer takes the response for broken.
    Reset,
    /// It is kept for the peer's next request.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a connection carries one request of uwsgi")
    )]
    Again,
}
