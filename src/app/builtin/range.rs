//! Which part of a file is asked for (RFC 9110, sections 13.1.5 and 14).

use http::{HeaderMap, HeaderValue, header};

/// What a request says of the part it wants.
#[derive(Debug)]
pub(super) struct Wanted {
    range: Option<HeaderValue>,
    if_range: Option<HeaderValue>,
}

/// The part that it gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it, as without a Range.
    Whole,
    /// These bytes.
    Bytes {
        /// The first.
        first: u64,
        /// The last, which is not before the first.
        last: u64,
    },
    /// None: the file has nothing of what was asked for.
    Unsatisfiable,
}

impl Wanted {
    /// Takes it out of a request's headers.
    pub(super) fn taken_from(headers: &mut HeaderMap) -> Self {
        Self {
            range: headers.remove(header::RANGE),
            if_range: headers.remove(header::IF_RANGE),
        }
    }

    /// Returns the part of a file with this many bytes, which a response with these headers is about.
    pub(super) fn of(&self, length: u64, found: &HeaderMap) -> Part {
        match &self.range {
            Some(range) if self.is_still(found) => part(range.as_bytes(), length),
            _ => Part::Whole,
        }
    }

    /// Tells whether the file is the one of which the client has another part.
    fn is_still(&self, found: &HeaderMap) -> bool {
        // No weak ETag is among those that files have, so that this is the strong comparison.
        self.if_range.as_ref().is_none_or(|validator| {
            [header::ETAG, header::LAST_MODIFIED]
                .iter()
                .any(|name| found.get(name) == Some(validator))
        })
    }
}

/// A Range of several parts, of another unit or without meaning may be ignored, and is.
fn part(range: &[u8], length: u64) -> Part {
    let Some((first, last)) = bounds(range) else {
        return Part::Whole;
    };
    let end = length.checked_sub(1);
    match (first, last, end) {
        (Some(first), Some(last), _) if last < first => Part::Whole,
        (Some(first), last, Some(end)) if first <= end => Part::Bytes {
            first,
            last: last.map_or(end, |last| last.min(end)),
        },
        (None, Some(1..), None) => Part::Whole,
        (None, Some(suffix @ 1..), Some(end)) => Part::Bytes {
            first: length.saturating_sub(suffix),
            last: end,
        },
        _ => Part::Unsatisfiable,
    }
}

/// What stands before and behind the dash of `bytes=2-4`, `bytes=2-` or `bytes=-4`.
fn bounds(range: &[u8]) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = std::str::from_utf8(range).ok()?.split_once('=')?;
    let (first, last) = range.trim_matches([' ', '\t']).split_once('-')?;
    let is_one = unit.eq_ignore_ascii_case("bytes") && !(first.is_empty() && last.is_empty());
    is_one.then_some((bound(first)?, bound(last)?))
}

/// `None` for what is no number. One that no file is long enough for is as good as any other such.
fn bound(digits: &str) -> Option<Option<u64>> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(first: u64, last: u64) -> Part {
        Part::Bytes { first, last }
    }

    #[test]
    fn one_range_is_cut_to_the_file() {
        for (range, expected) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=2-4", bytes(2, 4)),
            ("bytes=2-", bytes(2, 9)),
            ("bytes=9-99", bytes(9, 9)),
            ("bytes=0-99999999999999999999999", bytes(0, 9)),
            ("bytes=-1", bytes(9, 9)),
            ("bytes=-10", bytes(0, 9)),
            ("bytes=-11", bytes(0, 9)),
            ("bytes=-99999999999999999999999", bytes(0, 9)),
            ("Bytes= 007-8 ", bytes(7, 8)),
        ] {
            assert_eq!(part(range.as_bytes(), 10), expected, "{range}");
        }
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_ignored() {
        for range in [
            "",
            "junk",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=x-",
            "bytes=1-x",
            "bytes=+1-2",
            "bytes=--1",
            "bytes=1 -2",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "bits=0-1",
            " bytes=0-1",
            "bytes=\u{661}-",
        ] {
            assert_eq!(part(range.as_bytes(), 10), Part::Whole, "{range}");
        }
        assert_eq!(part(b"bytes=\xff-", 10), Part::Whole);
    }

    #[test]
    fn nothing_is_got_of_what_is_not_there() {
        for (range, length) in [
            ("bytes=10-", 10),
            ("bytes=10-12", 10),
            ("bytes=99999999999999999999999-", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=-0", 0),
        ] {
            assert_eq!(
                part(range.as_bytes(), length),
                Part::Unsatisfiable,
                "{range}"
            );
        }
        // All of an empty file is none of its bytes, which no Content-Range can say.
        assert_eq!(part(b"bytes=-5", 0), Part::Whole);
    }
}
