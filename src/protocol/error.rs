//! What can be wrong with a packet.

/// The reason why the bytes that arrived are not a request that is served.
///
/// Every offset (`at`, and [`offset`](Self::offset)) counts bytes from the packet's first; in a
/// variable it is that of the 2-byte length where things go wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The header announces more variables than are accepted.
    #[error("the request's variables take {size} bytes, and at most {limit} are accepted")]
    BlockTooLarge {
        /// The announced size, in bytes.
        size: usize,
        /// The largest accepted, in bytes.
        limit: usize,
    },

    /// There are more variables than are accepted.
    #[error("at byte {at} a variable more than the {limit} begins that a request may have")]
    TooManyVars {
        /// Where the first one too many begins.
        at: usize,
        /// The largest number accepted.
        limit: usize,
    },

    /// The packet is of a kind that is not served.
    #[error(
        "a packet of modifier1 {modifier1} and modifier2 {modifier2} arrived, and only modifier1 0, \
         a request, is served"
    )]
    UnknownModifier {
        /// The packet's first byte.
        modifier1: u8,
        /// The packet's fourth byte.
        modifier2: u8,
    },

    /// The first four bytes begin an HTTP request.
    #[error("HTTP was sent to a uwsgi socket")]
    LooksLikeHttp,

    /// The first four bytes begin a TLS handshake.
    #[error("TLS was sent to a uwsgi socket")]
    LooksLikeTls,

    /// A variable's name is longer than what is left of the variables.
    #[error("at byte {at} a variable's name of {len} bytes begins, but only {left} are left")]
    NamePastEnd {
        /// Where the name's length is.
        at: usize,
        /// The length it gives, in bytes.
        len: usize,
        /// The bytes of the block after it.
        left: usize,
    },

    /// A variable's value is longer than what is left of the variables.
    #[error("at byte {at} a variable's value of {len} bytes begins, but only {left} are left")]
    ValuePastEnd {
        /// Where the value's length is.
        at: usize,
        /// The length it gives, in bytes.
        len: usize,
        /// The bytes of the block after it.
        left: usize,
    },

    /// The variables end where the 2-byte length of a name or a value must be.
    #[error("at byte {at} a length of 2 bytes must be, but the variables end after {left}")]
    LengthCutShort {
        /// Where the length begins.
        at: usize,
        /// How many of its bytes are there: 0 or 1.
        left: usize,
    },

    /// A variable has no name.
    #[error("at byte {at} a variable has an empty name")]
    EmptyName {
        /// Where the name's length, which is 0, is.
        at: usize,
    },
}

impl DecodeError {
    /// Returns what to do about it, in one sentence for the server's operator.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::BlockTooLarge { .. } => {
                "look for a client that sends very large headers (most often cookies), or raise \
                 the limit on a request's variables"
            }
            Self::TooManyVars { .. } => {
                "look for a client that sends very many headers, or raise the limit on the number of \
                 a request's variables"
            }
            Self::UnknownModifier { .. } => {
                "remove uwsgi_modifier1 from the front server's configuration, or set it to 0; if it \
                 is not there, something that does not speak uwsgi connects to this socket"
            }
            Self::LooksLikeHttp => {
                "in nginx use uwsgi_pass, not proxy_pass, and point browsers and HTTP health checks \
                 at nginx, not at this socket"
            }
            Self::LooksLikeTls => {
                "in nginx write uwsgi_pass without suwsgi://, or give spile --tls-cert and \
                 --tls-key, which make TCP sockets speak TLS"
            }
            Self::NamePastEnd { .. }
            | Self::ValuePastEnd { .. }
            | Self::LengthCutShort { .. }
            | Self::EmptyName { .. } => {
                "find out what connects to this socket: front servers do not send such packets, so \
                 it speaks another protocol or has a fault"
            }
        }
    }

    /// Returns the byte of the packet at which it shows, counted from 0.
    #[must_use]
    pub fn offset(&self) -> usize {
        match *self {
            Self::UnknownModifier { .. } | Self::LooksLikeHttp | Self::LooksLikeTls => 0,
            Self::BlockTooLarge { .. } => 1,
            Self::NamePastEnd { at, .. }
            | Self::ValuePastEnd { at, .. }
            | Self::LengthCutShort { at, .. }
            | Self::TooManyVars { at, .. }
            | Self::EmptyName { at } => at,
        }
    }
}

/// The reason why variables cannot be put into a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A name is longer than its 2-byte length can say.
    #[error("a variable's name has {len} bytes, and the uwsgi protocol allows 65535")]
    NameTooLong {
        /// The name's length, in bytes.
        len: usize,
    },

    /// A value is longer than its 2-byte length can say.
    #[error("the value of {name} has {len} bytes, and the uwsgi protocol allows 65535")]
    ValueTooLong {
        /// The variable's name, with bytes that are not printable ASCII escaped.
        name: String,
        /// The value's length, in bytes.
        len: usize,
    },

    /// The variables together are longer than the header can say.
    #[error("the variables take {size} bytes, and the uwsgi protocol allows 65535")]
    BlockTooLarge {
        /// Their length on the wire, in bytes.
        size: usize,
    },

    /// A variable has no name.
    #[error("a variable's name is empty")]
    EmptyName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_cures_read_as_one_text() {
        let told = |error: DecodeError| format!("{error}: {}", error.cure());
        assert_eq!(
            told(DecodeError::LooksLikeHttp),
            "HTTP was sent to a uwsgi socket: in nginx use uwsgi_pass, not proxy_pass, and point \
             browsers and HTTP health checks at nginx, not at this socket"
        );
        assert_eq!(
            told(DecodeError::UnknownModifier {
                modifier1: 5,
                modifier2: 0
            }),
            "a packet of modifier1 5 and modifier2 0 arrived, and only modifier1 0, a request, is \
             served: remove uwsgi_modifier1 from the front server's configuration, or set it to 0; \
             if it is not there, something that does not speak uwsgi connects to this socket"
        );
        assert_eq!(
            DecodeError::NamePastEnd {
                at: 4,
                len: 9,
                left: 2
            }
            .to_string(),
            "at byte 4 a variable's name of 9 bytes begins, but only 2 are left"
        );
    }
}
