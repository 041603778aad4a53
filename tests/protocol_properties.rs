//! What holds for every packet and for any bytes at all.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use spile::protocol::{DecodeError, Decoder, Encoder, Packet, Progress};

mod naive;

use naive::{agree, decoder};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is encoded is decoded: the same variables in the same order, and the body untouched.
    #[test]
    fn round_trip(vars in vars(), modifier2: u8, body in vec(any::<u8>(), 0..50)) {
        let mut buf = BytesMut::from(&*packet(&vars, modifier2));
        buf.extend_from_slice(&body);

        let Ok(Progress::Packet(packet)) = Decoder::default().decode(&mut buf) else {
            return Err(TestCaseError::fail("the packet was not decoded"));
        };
        prop_assert_eq!(packet.header.modifier2, modifier2);
        prop_assert_eq!(&buf[..], &body[..]);
        prop_assert_eq!(packet.vars.len(), vars.len());
        for (found, (name, value)) in packet.vars.iter().zip(&vars) {
            prop_assert_eq!(found, (&name[..], &value[..]));
        }
        let (block, ranges) = packet.vars.into_parts();
        for (range, (name, value)) in ranges.iter().zip(&vars) {
            prop_assert_eq!(&block[range.name()], &name[..]);
            prop_assert_eq!(&block[range.value()], &value[..]);
        }
    }

    /// Bytes of any kind, in pieces of any size, come to what they come to in one piece, and to what
    /// a naive decoder makes of them. What is decoded encodes to the same bytes; what is not is left
    /// in the buffer.
    #[test]
    fn pieces_and_whole_agree(
        bytes in prop_oneof![noise(), damaged_packet()],
        cuts in vec(any::<Index>(), 0..8),
        max_block in prop_oneof![Just(65535), 0..600usize],
        max_vars in prop_oneof![Just(13107), 0..30usize],
    ) {
        let decoder = Decoder::new(max_block).max_vars(max_vars);
        let mut rest = BytesMut::from(&bytes[..]);
        let whole = decoder.decode(&mut rest);
        agree::decoded(&bytes, &whole, &rest, &decoder::decode(&bytes, max_block, max_vars))
            .map_err(TestCaseError::fail)?;

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (pieces, left) = in_pieces(decoder, &bytes, &cuts)?;
        prop_assert_eq!(&pieces, &whole);
        prop_assert_eq!(&left[..], &rest[..]);

        match whole {
            Ok(Progress::Packet(Packet { header, vars })) => {
                prop_assert!(vars.len() <= max_vars);
                let again = Encoder::new().modifier1(header.modifier1).modifier2(header.modifier2);
                let again = again.vars(&vars).finish();
                let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!([&again[..], &rest[..]].concat(), bytes);
            }
            Ok(Progress::Need(more)) => {
                prop_assert!(more > 0);
                prop_assert_eq!(&rest[..], &bytes[..]);
            }
            Err(error) => {
                prop_assert!(error.offset() <= bytes.len(), "{error} is past the end");
                prop_assert_eq!(&rest[..], &bytes[..]);
            }
        }
    }
}

/// Decodes after each cut until there is an outcome, then adds the rest. Checks that no piece that
/// is shorter than the decoder asked for was enough.
fn in_pieces(
    decoder: Decoder,
    bytes: &[u8],
    cuts: &[usize],
) -> Result<(Result<Progress, DecodeError>, BytesMut), TestCaseError> {
    let mut buf = BytesMut::new();
    let mut outcome = decoder.decode(&mut buf);
    let mut arrived = 0;
    for &cut in cuts {
        let piece = bytes.get(arrived..cut).unwrap_or_default();
        arrived = cut;
        buf.extend_from_slice(piece);
        if let Ok(Progress::Need(need)) = outcome {
            outcome = decoder.decode(&mut buf);
            if piece.len() < need {
                prop_assert!(
                    matches!(outcome, Ok(Progress::Need(_))),
                    "{need} were not needed"
                );
            }
        }
    }
    Ok((outcome, buf))
}

type Var = (Vec<u8>, Vec<u8>);

fn vars() -> impl Strategy<Value = Vec<Var>> {
    let value = prop_oneof![9 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 200..600)];
    vec((vec(any::<u8>(), 1..20), value), 0..30)
}

fn packet(vars: &[Var], modifier2: u8) -> Vec<u8> {
    let vars = vars.iter().map(|(name, value)| (name, value));
    Encoder::new()
        .modifier2(modifier2)
        .vars(vars)
        .finish()
        .unwrap_or_default()
}

/// Bytes without a plan, the first of them often 0 so that it is not refused at once.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    (
        prop_oneof![Just(0), Just(100), any::<u8>()],
        vec(prop_oneof![0..4u8, any::<u8>()], 0..200),
    )
        .prop_map(|(first, rest)| {
            let mut bytes = vec![first];
            bytes.extend(rest);
            bytes
        })
}

/// A packet in which a few bytes were changed and the end may be missing.
fn damaged_packet() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), 0..8u8), 0..3);
    (vars(), changes, 0..10usize).prop_map(|(vars, changes, missing)| {
        let mut bytes = packet(&vars, 0);
        for (at, new) in changes {
            *at.get_mut(&mut bytes) = new;
        }
        bytes.truncate(bytes.len().saturating_sub(missing.saturating_sub(4)));
        bytes
    })
}
