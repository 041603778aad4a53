//! From variables to a packet: the client's side.

use super::error::EncodeError;
use super::header::Header;

/// Builds the packet a front server would send.
///
/// ```
/// use spile::protocol::Encoder;
///
/// let packet = Encoder::new().var("A", "bc").finish()?;
/// assert_eq!(packet, b"\x00\x07\x00\x00\x01\x00A\x02\x00bc");
/// # Ok::<(), spile::protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a packet is made by `finish`"]
pub struct Encoder {
    header: Header,
    /// Room for the header, then the variables.
    packet: Vec<u8>,
    /// The first thing that went wrong; `finish` tells it.
    error: Option<EncodeError>,
}

impl Encoder {
    /// Makes a request without variables: both modifiers are 0.
    pub fn new() -> Self {
        Self {
            header: Header::default(),
            packet: vec![0; Header::LEN],
            error: None,
        }
    }

    /// Sets the kind of packet; 0, a request, if never called.
    pub fn modifier1(mut self, modifier1: u8) -> Self {
        self.header.modifier1 = modifier1;
        self
    }

    /// Sets the kind's detail; 0 if never called.
    pub fn modifier2(mut self, modifier2: u8) -> Self {
        self.header.modifier2 = modifier2;
        self
    }

    /// Adds a variable after those already there. A name given twice is sent twice.
    pub fn var(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        if self.error.is_none() {
            self.error = self.push(name.as_ref(), value.as_ref()).err();
        }
        self
    }

    /// Adds variables in their order, as [`var`](Self::var) adds one.
    pub fn vars<N, V>(self, vars: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        vars.into_iter()
            .fold(self, |encoder, (name, value)| encoder.var(name, value))
    }

    /// Returns the packet's bytes. A body, if there is one, is sent right after them.
    ///
    /// # Errors
    ///
    /// A variable does not fit the format, or all of them together do not: the first that did not.
    pub fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let size = self.packet.len() - Header::LEN;
        self.header.size = u16::try_from(size).map_err(|_| EncodeError::BlockTooLarge { size })?;
        if let Some(header) = self.packet.first_chunk_mut() {
            *header = self.header.encode();
        }
        Ok(self.packet)
    }

    fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
        if name.is_empty() {
            return Err(EncodeError::EmptyName);
        }
        let name_len =
            u16::try_from(name.len()).map_err(|_| EncodeError::NameTooLong { len: name.len() })?;
        let value_len = u16::try_from(value.len()).map_err(|_| EncodeError::ValueTooLong {
            name: name.escape_ascii().to_string(),
            len: value.len(),
        })?;
        self.packet.extend_from_slice(&name_len.to_le_bytes());
        self.packet.extend_from_slice(name);
        self.packet.extend_from_slice(&value_len.to_le_bytes());
        self.packet.extend_from_slice(value);
        Ok(())
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = u16::MAX as usize;

    fn refused(encoder: Encoder) -> EncodeError {
        encoder.finish().unwrap_err()
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let encoder = Encoder::new;
        assert_eq!(refused(encoder().var("", "x")), EncodeError::EmptyName);
        assert_eq!(
            refused(encoder().var(vec![b'n'; MOST + 1], "")),
            EncodeError::NameTooLong { len: MOST + 1 }
        );
        assert_eq!(
            refused(encoder().var("A\u{ff}", vec![b'v'; MOST + 1])),
            EncodeError::ValueTooLong {
                name: r"A\xc3\xbf".into(),
                len: MOST + 1
            }
        );
        assert_eq!(
            refused(encoder().var("A", vec![b'v'; MOST - 5 + 1])),
            EncodeError::BlockTooLarge { size: MOST + 1 }
        );
        assert_eq!(
            encoder()
                .var("A", vec![b'v'; MOST - 5])
                .finish()
                .unwrap()
                .len(),
            4 + MOST
        );
    }

    #[test]
    fn the_first_mistake_is_told() {
        let encoder = Encoder::new().var("", "").var(vec![b'n'; MOST + 1], "");
        assert_eq!(refused(encoder), EncodeError::EmptyName);
    }
}
