//! What a response head left to the server to drop or complete.

use std::fmt;

/// What was left out of a response head, or added to it: things that applications often give, that are the server's to
/// send or have only one meaning, and that take nothing from the answer.
///
/// Its text continues "the application answers with".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections(u16);

impl Corrections {
    /// The same Content-Length was given more than once.
    pub const CONTENT_LENGTH: Self = Self(1 << HOP_BY_HOP.len());
    /// The status had no reason phrase.
    pub const REASON: Self = Self(2 << HOP_BY_HOP.len());

    /// Tells whether nothing was corrected.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Tells whether all of the other corrections were made too.
    #[must_use]
    pub fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those that are not among others.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// As a set of bits, to be kept somewhere.
    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    pub(crate) fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub(super) fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Returns the correction for a header that concerns one connection only; `None` for any other header.
    pub(super) fn of_hop_by_hop(name: &[u8]) -> Option<Self> {
        let same = |hop: &&str| name.eq_ignore_ascii_case(hop.as_bytes());
        HOP_BY_HOP.iter().position(same).map(|at| Self(1 << at))
    }
}

/// RFC 2616 section 13.5.1's list, which PEP 3333 and wsgiref name; `Trailers` is a slip of that list that stayed.
const HOP_BY_HOP: [&str; 9] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Trailers",
    "Transfer-Encoding",
    "Upgrade",
];

impl fmt::Display for Corrections {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped: Vec<_> = (0..)
            .zip(HOP_BY_HOP)
            .filter(|(at, _)| self.0 & (1 << at) != 0)
            .map(|(_, name)| name)
            .collect();
        let mut parts = Vec::new();
        match dropped.as_slice() {
            [] => {}
            [one] => parts.push(format!(
                "the hop-by-hop header {one}, which only the server may send: it is left out"
            )),
            several => parts.push(format!(
                "the hop-by-hop headers {}, which only the server may send: they are left out",
                several.join(", ")
            )),
        }
        if self.contains(Self::CONTENT_LENGTH) {
            parts.push("the same Content-Length more than once: it is sent once".to_owned());
        }
        if self.contains(Self::REASON) {
            parts.push("a status without a reason: the usual one is added".to_owned());
        }
        out.write_str(&parts.join("; with "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_named() {
        let mut corrections = Corrections::default();
        for name in ["connection", "TRANSFER-ENCODING"] {
            corrections.add(Corrections::of_hop_by_hop(name.as_bytes()).unwrap());
        }
        assert_eq!(
            corrections.to_string(),
            "the hop-by-hop headers Connection, Transfer-Encoding, which only the server may send: they are left out"
        );
        corrections.add(Corrections::CONTENT_LENGTH);
        corrections.add(Corrections::REASON);
        assert!(
            corrections.to_string().ends_with(
                "; with the same Content-Length more than once: it is sent once; with a status without a reason: \
                 the usual one is added"
            )
        );
        assert_eq!(Corrections::of_hop_by_hop(b"Connection-Id"), None);
    }
}
