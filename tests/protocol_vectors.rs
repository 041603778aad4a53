//! Every packet of `protocol-spec/vectors` has the outcome written beside it.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use spile::protocol::{DecodeError, Decoder, Encoder, Packet, Progress};

mod naive;
#[path = "../protocol-spec/vectors.rs"]
mod vectors;

use naive::agree;
use vectors::{Expect, Var, Vector};

#[test]
fn packets_that_arrive_at_once() {
    each_vector(|vector| {
        let mut buf = BytesMut::from(&*vector.bytes()?);
        match (
            decoder(vector).decode(&mut buf),
            &vector.expect,
            &vector.error,
        ) {
            (Ok(Progress::Packet(packet)), Some(expect), None) => has(&packet, &buf, expect),
            (Err(error), None, Some(expected)) => same("the error", &described(&error), expected),
            (outcome, ..) => Err(format!("the outcome is {outcome:?}")),
        }
    });
}

/// Short of its end a packet is neither accepted nor refused: the decoder asks for what is missing.
/// An error shows with the byte that makes it certain.
#[test]
fn packets_that_arrive_byte_by_byte() {
    each_vector(|vector| {
        let decoder = decoder(vector);
        let bytes = vector.bytes()?;
        let mut buf = BytesMut::new();
        let mut needs = Vec::new();
        let outcome = loop {
            let have = buf.len();
            match decoder.decode(&mut buf) {
                Ok(Progress::Need(need)) => needs.push(need),
                outcome => break outcome,
            }
            same("what is kept of an unfinished packet", &buf.len(), &have)?;
            match bytes.get(have) {
                Some(byte) => buf.put_u8(*byte),
                None => return Err(format!("after all {have} bytes there is no outcome")),
            }
        };
        for (have, need) in &vector.need {
            same(
                &format!("the need after {have} bytes"),
                &needs.get(*have),
                &Some(need),
            )?;
        }
        match (outcome, &vector.expect, &vector.error) {
            (Ok(Progress::Packet(packet)), Some(expect), None) => {
                let whole = needs.len();
                let missing: Vec<usize> = (0..whole)
                    .map(|have| if have < 4 { 4 - have } else { whole - have })
                    .collect();
                same("the needs", &needs, &missing)?;
                same("the variables", &sent(&packet), &expect.vars()?)
            }
            (Err(error), None, Some(expected)) => {
                same("the error", &described(&error), expected)?;
                same("the bytes it took", &Some(needs.len()), &vector.known_after)
            }
            (outcome, ..) => Err(format!("the outcome is {outcome:?}")),
        }
    });
}

/// The naive decoder reads the specification as this one does.
#[test]
fn packets_that_a_naive_decoder_reads() {
    each_vector(|vector| {
        let bytes = vector.bytes()?;
        let mut rest = BytesMut::from(&*bytes);
        let outcome = decoder(vector).decode(&mut rest);
        let most_bytes = vector.max_block.unwrap_or(65535);
        let most_vars = vector.max_vars.unwrap_or(usize::MAX);
        let naive = naive::decoder::decode(&bytes, most_bytes, most_vars);
        agree::decoded(&bytes, &outcome, &rest, &naive)
    });
}

#[test]
fn packets_that_the_encoder_makes() {
    each_vector(|vector| {
        let Some(expect) = &vector.expect else {
            return Ok(());
        };
        let mut bytes = Encoder::new()
            .modifier1(expect.modifier1)
            .modifier2(expect.modifier2)
            .vars(expect.vars()?)
            .finish()
            .map_err(|error| error.to_string())?;
        bytes.extend(expect.body()?);
        same("the packet", &bytes, &vector.bytes()?)
    });
}

#[test]
fn every_kind_of_error_has_a_vector() {
    let vectors = vectors::all(DIRECTORY).unwrap();
    let kinds: BTreeSet<&str> = vectors
        .iter()
        .filter_map(|vector| vector.error.as_ref()?.get("kind")?.as_str())
        .collect();
    assert_eq!(Vec::from_iter(kinds), KINDS);
}

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-spec/vectors");

/// Tries a check on every vector and names each that fails it.
fn each_vector(check: impl Fn(&Vector) -> Result<(), String>) {
    let vectors = vectors::all(DIRECTORY).unwrap_or_default();
    assert!(
        vectors.len() > 50,
        "{} vectors were read from {DIRECTORY}",
        vectors.len()
    );
    let failures: Vec<String> = vectors
        .iter()
        .filter_map(|vector| Some(format!("{}: {}", vector.name, check(vector).err()?)))
        .collect();
    assert!(
        failures.is_empty(),
        "of {} vectors {} failed:\n{}",
        vectors.len(),
        failures.len(),
        failures.join("\n")
    );
}

fn decoder(vector: &Vector) -> Decoder {
    let decoder = vector.max_block.map_or_else(Decoder::default, Decoder::new);
    decoder.max_vars(vector.max_vars.unwrap_or(usize::MAX))
}

fn has(packet: &Packet, rest: &[u8], expect: &Expect) -> Result<(), String> {
    let header = packet.header;
    same("modifier1", &header.modifier1, &expect.modifier1)?;
    same("modifier2", &header.modifier2, &expect.modifier2)?;
    same(
        "the size",
        &usize::from(header.size),
        &packet.vars.block().len(),
    )?;

    let vars = expect.vars()?;
    same("the variables", &sent(packet), &vars)?;
    same("their number", &packet.vars.len(), &vars.len())?;
    for (name, _) in vars.iter().take(100) {
        let last = vars.iter().rev().find(|(other, _)| other == name);
        let last = last.map(|(_, value)| &**value);
        same(
            &name.escape_ascii().to_string(),
            &packet.vars.get(name),
            &last,
        )?;
    }
    same("the body", &rest, &&*expect.body()?)
}

fn sent(packet: &Packet) -> Vec<Var> {
    packet
        .vars
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let show = |value| format!("{value:?}").chars().take(1000).collect::<String>();
    Err(format!(
        "{what}: found {}, expected {}",
        show(found),
        show(expected)
    ))
}

/// The kinds of error, as vectors name them.
const KINDS: [&str; 9] = [
    "block-too-large",
    "empty-name",
    "length-cut-short",
    "looks-like-http",
    "looks-like-tls",
    "name-past-end",
    "too-many-vars",
    "unknown-modifier",
    "value-past-end",
];

/// An error, as vectors write it.
fn described(error: &DecodeError) -> Value {
    let at = error.offset();
    match *error {
        DecodeError::BlockTooLarge { size, limit } => {
            json!({"kind": "block-too-large", "offset": at, "size": size, "limit": limit})
        }
        DecodeError::UnknownModifier {
            modifier1,
            modifier2,
        } => json!({
            "kind": "unknown-modifier",
            "offset": at,
            "modifier1": modifier1,
            "modifier2": modifier2,
        }),
        DecodeError::LooksLikeHttp => json!({"kind": "looks-like-http", "offset": at}),
        DecodeError::LooksLikeTls => json!({"kind": "looks-like-tls", "offset": at}),
        DecodeError::NamePastEnd { len, left, .. } => {
            json!({"kind": "name-past-end", "offset": at, "len": len, "left": left})
        }
        DecodeError::ValuePastEnd { len, left, .. } => {
            json!({"kind": "value-past-end", "offset": at, "len": len, "left": left})
        }
        DecodeError::LengthCutShort { left, .. } => {
            json!({"kind": "length-cut-short", "offset": at, "left": left})
        }
        DecodeError::TooManyVars { limit, .. } => {
            json!({"kind": "too-many-vars", "offset": at, "limit": limit})
        }
        DecodeError::EmptyName { .. } => json!({"kind": "empty-name", "offset": at}),
        _ => json!({"kind": "unknown", "offset": at}),
    }
}
