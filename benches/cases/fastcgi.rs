//! FastCGI, to compare with: <https://fastcgi-archives.github.io/FastCGI_Specification.html>, section 3.3 and 3.4.
//!
//! No crate that is kept decodes the server's side, so this does, with as little work as the format allows: like
//! spile's own decoder it notes where in one shared buffer the variables lie. It takes what nginx sends, which has all
//! params in one record ("fastcgi request record is too big" if they do not fit).

use bytes::{Buf, Bytes, BytesMut};

use super::Var;

const BEGIN_REQUEST: u8 = 1;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const HEADER: usize = 8;

/// The records that nginx sends for a request without a body: all params in one.
pub(super) fn encode(vars: &[Var]) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in vars {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(length @ ..=127) => params.push(length),
                _ => {
                    params.extend((0x8000_0000 | u32::try_from(text.len()).unwrap()).to_be_bytes())
                }
            }
        }
        params.extend_from_slice(name);
        params.extend_from_slice(value);
    }
    [
        record(BEGIN_REQUEST, &[0, 1, 0, 0, 0, 0, 0, 0]),
        record(PARAMS, &params),
        record(PARAMS, b""),
        record(STDIN, b""),
    ]
    .concat()
}

/// Padded to a multiple of eight bytes.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() % 8;
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut record = vec![1, kind, 0, 1, high, low, padding as u8, 0];
    record.extend_from_slice(content);
    record.resize(record.len() + padding, 0);
    record
}

/// Where a variable lies: the value follows its name.
#[derive(Clone, Copy)]
pub(super) struct Range {
    _name: u16,
    _name_length: u16,
    _value_length: u16,
}

/// The variables of the request at the front of a buffer, which keeps what follows them; `None` if it is not whole or
/// not valid.
pub(super) fn decode(mut received: BytesMut) -> Option<(BytesMut, Bytes, Vec<Range>)> {
    let begin = Record::read(&received)?;
    if begin.kind != BEGIN_REQUEST || begin.length != 8 {
        return None;
    }
    received.advance(begin.size());
    let params = Record::read(&received)?;
    if params.kind != PARAMS {
        return None;
    }
    received.advance(HEADER);
    let block = received.split_to(params.length).freeze();
    received.advance(params.padding);
    let last = Record::read(&received)?;
    if last.kind != PARAMS || last.length != 0 {
        return None;
    }
    received.advance(last.size());
    let ranges = ranges(&block)?;
    Some((received, block, ranges))
}

struct Record {
    kind: u8,
    length: usize,
    padding: usize,
}

impl Record {
    /// The header of a record that is there with all of its content.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let [1, kind, _, _, high, low, padding, _] = *bytes.first_chunk::<HEADER>()? else {
            return None;
        };
        let record = Self {
            kind,
            length: usize::from(u16::from_be_bytes([high, low])),
            padding: usize::from(padding),
        };
        (bytes.len() >= record.size()).then_some(record)
    }

    fn size(&self) -> usize {
        HEADER + self.length + self.padding
    }
}

#[inline]
fn ranges(block: &[u8]) -> Option<Vec<Range>> {
    let mut ranges = Vec::with_capacity(32.min(block.len() / 3));
    let mut at = 0;
    while at < block.len() {
        let name_length = length(block, &mut at)?;
        let value_length = length(block, &mut at)?;
        let end = at + name_length + value_length;
        if end > block.len() {
            return None;
        }
        ranges.push(Range {
            _name: at as u16,
            _name_length: name_length as u16,
            _value_length: value_length as u16,
        });
        at = end;
    }
    Some(ranges)
}

/// One byte, or four if the first has its highest bit set.
#[inline]
fn length(block: &[u8], at: &mut usize) -> Option<usize> {
    let rest = block.get(*at..)?;
    match *rest.first()? {
        short @ ..=127 => {
            *at += 1;
            Some(usize::from(short))
        }
        _ => {
            *at += 4;
            Some((u32::from_be_bytes(*rest.first_chunk()?) & 0x7fff_ffff) as usize)
        }
    }
}
