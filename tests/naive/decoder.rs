//! A decoder after protocol-spec/README.md, sentence by sentence.

/// What the bytes of a connection come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The packet lacks this many bytes, as far as can be told.
    Lacks(usize),
    /// It is none: the kind of fault as the table "Errors" names it, and where.
    Wrong(&'static str, usize),
    /// It is whole.
    Packet {
        modifier1: u8,
        modifier2: u8,
        /// Names and values.
        vars: Vec<(Vec<u8>, Vec<u8>)>,
        /// What follows it.
        body: Vec<u8>,
    },
}

/// Decodes, with limits on the size of the variables and on their number.
pub fn decode(bytes: &[u8], most_bytes: usize, most_vars: usize) -> Outcome {
    if bytes.len() < 4 {
        return Outcome::Lacks(4 - bytes.len());
    }
    let is_request = bytes[0] == 0;
    let is_ping = bytes[0] == 100;
    if !is_request && !is_ping {
        return Outcome::Wrong("modifier", 0);
    }
    let size = number(&bytes[1..3]);
    if size > most_bytes {
        return Outcome::Wrong("block-too-large", 1);
    }
    let end = 4 + size;
    if bytes.len() < end {
        return Outcome::Lacks(end - bytes.len());
    }
    let mut vars = Vec::new();
    let mut at = 4;
    while at < end {
        if vars.len() == most_vars {
            return Outcome::Wrong("too-many-vars", at);
        }
        if end - at < 2 {
            return Outcome::Wrong("length-cut-short", at);
        }
        let name_length = number(&bytes[at..at + 2]);
        if name_length == 0 {
            return Outcome::Wrong("empty-name", at);
        }
        if name_length > end - at - 2 {
            return Outcome::Wrong("name-past-end", at);
        }
        let name = bytes[at + 2..at + 2 + name_length].to_vec();
        at += 2 + name_length;

        if end - at < 2 {
            return Outcome::Wrong("length-cut-short", at);
        }
        let value_length = number(&bytes[at..at + 2]);
        if value_length > end - at - 2 {
            return Outcome::Wrong("value-past-end", at);
        }
        let value = bytes[at + 2..at + 2 + value_length].to_vec();
        at += 2 + value_length;

        vars.push((name, value));
    }
    Outcome::Packet {
        modifier1: bytes[0],
        modifier2: bytes[3],
        vars,
        body: bytes[end..].to_vec(),
    }
}

/// Two bytes, the lower first.
fn number(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) + 256 * usize::from(bytes[1])
}
