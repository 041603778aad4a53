//! Whether the library's decoder and the naive one say the same.

use spile::protocol::{DecodeError, Progress};

use super::decoder::Outcome;

/// Compares what came of some bytes, and what the decoder left of them in its buffer. `Err` says how they differ.
pub fn decoded(
    bytes: &[u8],
    outcome: &Result<Progress, DecodeError>,
    rest: &[u8],
    naive: &Outcome,
) -> Result<(), String> {
    let same = match (outcome, naive) {
        (Ok(Progress::Need(more)), Outcome::Lacks(lacking)) => more == lacking && rest == bytes,
        (Err(error), Outcome::Wrong(what, at)) => {
            (kind(error), error.offset()) == (what, *at) && rest == bytes
        }
        (
            Ok(Progress::Packet(packet)),
            Outcome::Packet {
                modifier1,
                modifier2,
                vars,
                body,
            },
        ) => {
            let vars = vars.iter().map(|(name, value)| (&name[..], &value[..]));
            let header = packet.header;
            (header.modifier1, header.modifier2) == (*modifier1, *modifier2)
                && packet.vars.iter().eq(vars)
                && rest == body
        }
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(format!(
            "{outcome:?} with {} bytes left, but {naive:?}",
            rest.len()
        ))
    }
}

/// An error's kind in the words of protocol-spec/README.md, those about the modifier taken together.
fn kind(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::UnknownModifier { .. }
        | DecodeError::LooksLikeHttp
        | DecodeError::LooksLikeTls => "modifier",
        DecodeError::BlockTooLarge { .. } => "block-too-large",
        DecodeError::TooManyVars { .. } => "too-many-vars",
        DecodeError::NamePastEnd { .. } => "name-past-end",
        DecodeError::ValuePastEnd { .. } => "value-past-end",
        DecodeError::LengthCutShort { .. } => "length-cut-short",
        DecodeError::EmptyName { .. } => "empty-name",
        _ => "unknown",
    }
}
