//! Responses on their way to the client.
//!
//! # Layout
//! - `framing`: how much body a head announces; `writer`: the rules that every writer of a response follows.
//! - `streaming`: writes the responses of asynchronous applications; `blocking`: those of blocking ones.
//! - `spool`: takes what a slow client leaves for later.
//! - `corrected`: says once what was corrected in an application's responses.

pub(crate) mod blocking;
pub(crate) mod corrected;
pub(crate) mod framing;
pub(crate) mod spool;
pub(crate) mod streaming;
pub(crate) mod writer;
