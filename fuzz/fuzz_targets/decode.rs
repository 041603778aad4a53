//! The packet decoder, on any bytes: it agrees with a naive one; the same bytes in pieces have the same outcome; what
//! it decodes encodes to the same bytes.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use spile::protocol::{DecodeError, Decoder, Encoder, Progress};
use spile_fuzz::naive::{agree, decoder};

fuzz_target!(|data: &[u8]| {
    for (bytes, vars) in [(65535, usize::MAX), (300, 3)] {
        let decoder = Decoder::new(bytes).max_vars(vars);
        let mut rest = BytesMut::from(data);
        let whole = decoder.decode(&mut rest);
        assert_eq!(in_pieces(decoder, data), (whole.clone(), rest.clone()));
        agree::decoded(data, &whole, &rest, &decoder::decode(data, bytes, vars)).unwrap();

        match whole {
            Ok(Progress::Packet(packet)) => {
                let encoder = Encoder::new().modifier1(packet.header.modifier1);
                let encoder = encoder.modifier2(packet.header.modifier2);
                let mut again = encoder.vars(&packet.vars).finish().unwrap();
                again.extend_from_slice(&rest);
                assert_eq!(again, data);
            }
            Ok(Progress::Need(_)) => {}
            Err(error) => assert!(!error.to_string().is_empty() && !error.cure().is_empty()),
        }
    }
});

/// Feeds the bytes in pieces whose lengths the bytes themselves give.
fn in_pieces(decoder: Decoder, data: &[u8]) -> (Result<Progress, DecodeError>, BytesMut) {
    let mut buf = BytesMut::new();
    let mut outcome = decoder.decode(&mut buf);
    let mut rest = data;
    while let Some(first) = rest.first() {
        let (piece, after) = rest.split_at(rest.len().min(1 + usize::from(first % 32)));
        buf.extend_from_slice(piece);
        rest = after;
        if let Ok(Progress::Need(need)) = outcome {
            outcome = decoder.decode(&mut buf);
            assert!(piece.len() >= need || matches!(outcome, Ok(Progress::Need(_))));
        }
    }
    (outcome, buf)
}
