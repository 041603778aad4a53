//! The uwsgi protocol: bytes in, packet out.
//!
//! Nothing here reads a socket, waits or logs. `protocol-spec/` in the source tree describes the
//! protocol and holds packets with what must come of them.
//!
//! - [`Decoder`] finds a [`Packet`] at the front of a connection's bytes, or says how many more it
//!   needs ([`Progress`]) or why there will never be one ([`DecodeError`]).
//! - [`Vars`] are a packet's variables.
//! - [`Encoder`] builds a packet, as a client does.

mod corrections;
mod decode;
mod encode;
mod error;
mod header;
mod parse;
mod response_head;
mod vars;

pub use corrections::Corrections;
pub use decode::{Decoder, Packet, Progress};
pub use encode::Encoder;
pub use error::{DecodeError, EncodeError};
pub use header::Header;
pub use response_head::{HeadError, ResponseHead, decimal, is_token};
pub use vars::{Iter, VarRange, Vars};
