//! The four bytes every packet begins with.

use super::error::DecodeError;

/// A packet's header: what the packet is, and how many bytes of variables follow.
///
/// On the wire: `modifier1` (1 byte), `size` (2 bytes, little endian), `modifier2` (1 byte).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header {
    /// The kind of packet: 0 is a request, 100 a ping, and spile serves no other.
    pub modifier1: u8,
    /// The length of the variables in bytes. The body that may follow is not counted.
    pub size: u16,
    /// A detail of the kind. Neither kind uses it; any value is accepted.
    pub modifier2: u8,
}

impl Header {
    /// The length of a header on the wire, in bytes.
    pub const LEN: usize = 4;

    /// The `modifier1` of a request.
    pub const REQUEST: u8 = 0;

    /// The `modifier1` of a ping, by which uWSGI is asked whether it is there.
    pub const PING: u8 = 100;

    /// The answer to a ping, and all of it: uWSGI's own, `modifier2` 1 and no message.
    pub const PONG: Self = Self {
        modifier1: Self::PING,
        size: 0,
        modifier2: 1,
    };

    /// Reads a header. Every four bytes are one; whether it is served is the decoder's question.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::LEN]) -> Self {
        let [modifier1, low, high, modifier2] = *bytes;
        Self {
            modifier1,
            size: u16::from_le_bytes([low, high]),
            modifier2,
        }
    }

    /// Returns the header as it goes on the wire.
    #[must_use]
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [low, high] = self.size.to_le_bytes();
        [self.modifier1, low, high, self.modifier2]
    }

    /// Says what is wrong with the packet, as far as its header tells.
    pub(super) fn check(self, max_block: usize) -> Result<(), DecodeError> {
        if self.modifier1 != Self::REQUEST && self.modifier1 != Self::PING {
            return Err(self.mistaken_for());
        }
        let size = usize::from(self.size);
        if size > max_block {
            return Err(DecodeError::BlockTooLarge {
                size,
                limit: max_block,
            });
        }
        Ok(())
    }

    /// Names the protocol that a header which is no request belongs to.
    #[cold]
    fn mistaken_for(self) -> DecodeError {
        match &self.encode() {
            [0x16, 0x03, 0x00..=0x04, _] => DecodeError::LooksLikeTls,
            start if HTTP_STARTS.contains(&start) => DecodeError::LooksLikeHttp,
            _ => DecodeError::UnknownModifier {
                modifier1: self.modifier1,
                modifier2: self.modifier2,
            },
        }
    }
}

/// The first four bytes of a request line for the methods of RFC 9110, PATCH, WebDAV's, and those
/// that caches and search use; and of the preface that begins HTTP/2.
const HTTP_STARTS: [&[u8; Header::LEN]; 20] = [
    b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"CONN", b"OPTI", b"TRAC", b"PATC", b"PROP",
    b"MKCO", b"COPY", b"MOVE", b"LOCK", b"UNLO", b"REPO", b"SEAR", b"PURG", b"QUER", b"PRI ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_has_its_low_byte_first() {
        let header = Header {
            modifier1: 1,
            size: 0x0203,
            modifier2: 4,
        };
        assert_eq!(header.encode(), [1, 3, 2, 4]);
        assert_eq!(Header::parse(&[1, 3, 2, 4]), header);
    }
}
