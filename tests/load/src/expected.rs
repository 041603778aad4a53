//! What is sent and what has to come back.

use bytes::Bytes;

/// A body of `size` bytes that no other number has: the number and a space, over and over.
pub(crate) fn body(number: u64, size: usize) -> Bytes {
    let unit = format!("{number} ");
    unit.bytes().cycle().take(size).collect()
}

/// Whether `received` is the whole answer to the request of that number.
pub(crate) fn is_answer(received: &[u8], number: u64, size: usize) -> bool {
    let line = format!("{number}\n");
    received
        .strip_prefix(line.as_bytes())
        .is_some_and(|rest| rest == body(number, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_answer_to_the_same_number_is_right() {
        assert!(is_answer(b"12\n12 12 1", 12, 7));
        assert!(is_answer(b"12\n", 12, 0));
        for wrong in [
            &b"12\n12 12 "[..],
            b"12\n12 12 12",
            b"13\n13 13 1",
            b"12\n13 13 1",
            b"",
        ] {
            assert!(!is_answer(wrong, 12, 7));
        }
    }
}
