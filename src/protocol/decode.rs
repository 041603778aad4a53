//! From bytes that arrive piece by piece to a packet.

use std::mem;

use bytes::{Buf, BytesMut};
use nom::{Err, Needed};

use super::error::DecodeError;
use super::header::Header;
use super::parse;
use super::vars::{VarRange, Vars};

/// Finds the packet at the front of what a connection has sent so far.
///
/// It keeps nothing between calls, so one decoder serves every connection.
///
/// ```
/// use bytes::BytesMut;
/// use spile::protocol::{Decoder, Encoder, Progress};
///
/// let sent = Encoder::new().var("REQUEST_METHOD", "POST").finish()?;
/// let decoder = Decoder::default();
///
/// let mut buf = BytesMut::from(&sent[..10]);
/// assert_eq!(decoder.decode(&mut buf)?, Progress::Need(sent.len() - 10));
///
/// buf.extend_from_slice(&sent[10..]);
/// buf.extend_from_slice(b"a body");
/// let Progress::Packet(packet) = decoder.decode(&mut buf)? else { unreachable!() };
/// assert_eq!(packet.vars.get(b"REQUEST_METHOD"), Some(&b"POST"[..]));
/// assert_eq!(buf, "a body");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    max_block: usize,
    max_vars: usize,
}

impl Decoder {
    /// Makes a decoder that refuses packets with more than `max_block` bytes of variables.
    ///
    /// A block can never be larger than 65535 bytes, so a larger limit is no limit.
    #[must_use]
    pub const fn new(max_block: usize) -> Self {
        Self {
            max_block,
            max_vars: usize::MAX,
        }
    }

    /// The same, which also refuses packets with more than `max_vars` variables, repeats included.
    ///
    /// A block has room for 13107 at most, so a larger limit is no limit.
    #[must_use]
    pub const fn max_vars(self, max_vars: usize) -> Self {
        Self { max_vars, ..self }
    }

    /// Looks at what has arrived. Once the packet is whole it is taken off the front of `buf`, and
    /// what remains there is the beginning of the body; until then `buf` is left as it is.
    ///
    /// # Errors
    ///
    /// The packet is not one that is served. What the header alone tells is said as soon as its
    /// four bytes are there, before the variables are waited for. `buf` is left as it is.
    pub fn decode(&self, buf: &mut BytesMut) -> Result<Progress, DecodeError> {
        let (rest, header) = match parse::header(buf) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Progress::Need(missing(error))),
        };
        header.check(self.max_block)?;
        let ranges = match parse::block(rest, header.size) {
            Ok((_, block)) => VarRange::all(block, self.max_vars)?,
            Err(error) => return Ok(Progress::Need(missing(error))),
        };
        buf.advance(Header::LEN);
        let size = usize::from(header.size);
        let block = if buf.len() == size {
            // Nearly always. A buffer that need not be shared with what follows needs no counter of references.
            mem::take(buf)
        } else {
            buf.split_to(size)
        };
        Ok(Progress::Packet(Packet {
            header,
            vars: Vars::new(block.freeze(), ranges),
        }))
    }
}

impl Default for Decoder {
    /// Makes a decoder that accepts as many variables as a packet can hold: 65535 bytes.
    fn default() -> Self {
        Self::new(usize::from(u16::MAX))
    }
}

/// How many bytes a streaming parser asked for.
fn missing(error: Err<()>) -> usize {
    match error {
        Err::Incomplete(Needed::Size(more)) => more.get(),
        // `take` always knows the number and has no other error; one byte more is never too many.
        _ => 1,
    }
}

/// How far a packet has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least this many more bytes are needed; never 0.
    ///
    /// Short of a header it is what the header lacks, after that all that the packet lacks.
    Need(usize),
    /// The packet is complete.
    Packet(Packet),
}

/// A header and the variables behind it: a request's, whose body may follow on the connection, or a ping's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The four bytes before the variables.
    pub header: Header,
    /// The variables.
    pub vars: Vars,
}
