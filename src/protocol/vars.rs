//! The variables of a request.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;
use std::slice;

use bytes::Bytes;

use super::error::DecodeError;
use super::header::Header;
use super::parse;

/// The variables of a packet in the order they came, with repeats.
///
/// They are ranges into the block as it arrived: nothing is copied and nothing but the list of
/// ranges is allocated. Names and values are bytes, in no particular encoding.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Vars {
    block: Bytes,
    ranges: Vec<VarRange>,
}

impl Vars {
    /// Reads a block of variables: a packet without its header and body.
    ///
    /// # Errors
    ///
    /// The block is not made of whole variables, one has an empty name, or the block is longer than
    /// a packet can hold. Offsets in the error count from the packet's header, which would be the
    /// four bytes before the block.
    pub fn parse(block: Bytes) -> Result<Self, DecodeError> {
        let ranges = VarRange::all(&block, usize::MAX)?;
        Ok(Self::new(block, ranges))
    }

    /// Makes variables from a block and the ranges that [`VarRange::all`] found in it.
    pub(super) fn new(block: Bytes, ranges: Vec<VarRange>) -> Self {
        Self { block, ranges }
    }

    /// Counts the variables, repeats included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Tells whether there is no variable at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Iterates over the variables as `(name, value)`, in the order they came.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            block: &self.block,
            ranges: self.ranges.iter(),
        }
    }

    /// Iterates over the names, in the order they came, with repeats.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ranges
            .iter()
            .map(|range| self.block.get(range.name()).unwrap_or_default())
    }

    /// Returns the variable that came at this place, counted from 0, as `(name, value)`.
    #[must_use]
    pub fn nth(&self, at: usize) -> Option<(&[u8], &[u8])> {
        self.ranges
            .get(at)
            .map(|range| Iter::var(&self.block, *range))
    }

    /// Returns the value of the variable of that name, compared byte for byte. Of several the last one.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .rev()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Returns the block the variables were read from.
    #[must_use]
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// Returns the block, and where in it each variable lies.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Vec<VarRange>) {
        (self.block, self.ranges)
    }
}

impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (text(name), text(value))))
            .finish()
    }
}

impl<'a> IntoIterator for &'a Vars {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Where a variable lies in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarRange {
    name_start: u16,
    name_len: u16,
    value_len: u16,
}

impl VarRange {
    /// Finds where each variable of a block lies, in their order; at most `limit` variables.
    pub(super) fn all(block: &[u8], limit: usize) -> Result<Vec<Self>, DecodeError> {
        if block.len() > MAX_BLOCK {
            return Err(DecodeError::BlockTooLarge {
                size: block.len(),
                limit: MAX_BLOCK,
            });
        }
        let mut ranges = Vec::with_capacity(USUAL_COUNT.min(block.len() / SHORTEST));
        let mut rest = block;
        while !rest.is_empty() {
            let start = block.len() - rest.len() + LENGTH;
            if ranges.len() == limit {
                let at = Header::LEN + start - LENGTH;
                return Err(DecodeError::TooManyVars { at, limit });
            }
            let (after, (name, value)) =
                parse::variable(rest).map_err(|error| located(error, block.len()))?;
            ranges.push(Self::new(start, name.len(), value.len()));
            rest = after;
        }
        Ok(ranges)
    }

    /// The range of a variable that lies wholly within a block, so that no offset passes 65535.
    fn new(name_start: usize, name_len: usize, value_len: usize) -> Self {
        Self {
            name_start: name_start as u16,
            name_len: name_len as u16,
            value_len: value_len as u16,
        }
    }

    /// Returns the bytes of the block that are the name.
    #[must_use]
    pub fn name(self) -> Range<usize> {
        let start = usize::from(self.name_start);
        start..start + usize::from(self.name_len)
    }

    /// Returns the bytes of the block that are the value.
    #[must_use]
    pub fn value(self) -> Range<usize> {
        let start = self.name().end + LENGTH;
        start..start + usize::from(self.value_len)
    }
}

/// The bytes of a length before a name or a value.
const LENGTH: usize = 2;

/// The longest block a header can announce.
const MAX_BLOCK: usize = u16::MAX as usize;

/// The shortest variable: two lengths, a name of one byte, an empty value.
const SHORTEST: usize = 2 * LENGTH + 1;

/// Room made at first: nginx sends about 25 variables for a browser's request.
const USUAL_COUNT: usize = 32;

/// Turns a parser's fault into an error that says where in the packet it is.
#[cold]
fn located(error: nom::Err<parse::Fault>, block: usize) -> DecodeError {
    use parse::Fault;

    let at = |rest| Header::LEN + block - rest;
    match error {
        nom::Err::Error(fault) | nom::Err::Failure(fault) => match fault {
            Fault::LengthCutShort { rest } => DecodeError::LengthCutShort {
                at: at(rest),
                left: rest,
            },
            Fault::EmptyName { rest } => DecodeError::EmptyName { at: at(rest) },
            Fault::NamePastEnd { rest, len } => DecodeError::NamePastEnd {
                at: at(rest),
                len: usize::from(len),
                left: rest - LENGTH,
            },
            Fault::ValuePastEnd { rest, len } => DecodeError::ValuePastEnd {
                at: at(rest),
                len: usize::from(len),
                left: rest - LENGTH,
            },
        },
        // A block is parsed by `complete` parsers, which never ask for more.
        nom::Err::Incomplete(_) => DecodeError::LengthCutShort { at: at(0), left: 0 },
    }
}

/// Variables as `(name, value)`; made by [`Vars::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    block: &'a [u8],
    ranges: slice::Iter<'a, VarRange>,
}

impl<'a> Iter<'a> {
    fn var(block: &'a [u8], range: VarRange) -> (&'a [u8], &'a [u8]) {
        // Ranges are made from this very block, so neither is ever outside it.
        let part = |range| block.get(range).unwrap_or_default();
        (part(range.name()), part(range.value()))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.ranges
            .next()
            .map(|range| Self::var(self.block, *range))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranges.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.ranges
            .next_back()
            .map(|range| Self::var(self.block, *range))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Bytes = Bytes::from_static(b"\x01\0A\x01\x001\x01\0B\0\0\x01\0A\x01\x002");

    #[test]
    fn the_last_of_a_name_wins() {
        let vars = Vars::parse(BLOCK).unwrap();
        assert_eq!(vars.get(b"A"), Some(&b"2"[..]));
        assert_eq!(vars.get(b"B"), Some(&b""[..]));
        assert_eq!(vars.get(b"C"), None);
    }

    #[test]
    fn both_ends_are_walked() {
        let vars = Vars::parse(BLOCK).unwrap();
        let names = |vars: &mut dyn Iterator<Item = (&[u8], &[u8])>| {
            vars.map(|(name, value)| [name, value].concat())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&mut vars.iter()), [&b"A1"[..], b"B", b"A2"]);
        assert_eq!(names(&mut vars.iter().rev()), [&b"A2"[..], b"B", b"A1"]);
        assert_eq!(vars.iter().len(), 3);
    }

    #[test]
    fn values_are_not_copied() {
        let vars = Vars::parse(BLOCK).unwrap();
        let value = vars.get(b"A").unwrap();
        assert!(BLOCK.as_ptr_range().contains(&value.as_ptr()));
    }

    #[test]
    fn a_block_longer_than_any_packet_is_refused() {
        assert_eq!(
            Vars::parse(Bytes::from(vec![0; 65536])),
            Err(DecodeError::BlockTooLarge {
                size: 65536,
                limit: 65535
            })
        );
    }
}
