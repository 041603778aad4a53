//! What a front server makes of an answer.

use crate::site::End;

/// An answer that is whole and well formed.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names and values, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The answer in what was received: `None` for nothing at all, or for what ended with a reset.
    ///
    /// Panics when it is neither that nor exactly one HTTP response.
    pub fn of(received: &[u8], end: End, head_only: bool) -> Option<Self> {
        if received.is_empty() {
            return None;
        }
        let Some(reply) = Self::parse(received) else {
            assert_eq!(end, End::Reset, "the head ends early: {}", text(received));
            return None;
        };
        let named = |wanted: &str| {
            let headers = reply.headers.iter();
            headers
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        for hop_by_hop in [
            "Connection",
            "Keep-Alive",
            "Transfer-Encoding",
            "Trailer",
            "Upgrade",
        ] {
            assert!(
                named(hop_by_hop).is_empty(),
                "{hop_by_hop} is not the application's"
            );
        }
        let lengths = named("Content-Length");
        assert!(lengths.len() < 2, "framed twice: {}", text(received));
        let promised = lengths.first().map(|length| {
            let length = std::str::from_utf8(length).expect("digits").trim_ascii();
            length.parse::<u64>().expect("a number of bytes")
        });
        let has = reply.body.len() as u64;
        // A HEAD that the server refuses may have a body, which front servers drop.
        let bodiless = matches!(reply.status, 204 | 304) || (head_only && reply.status < 400);
        match (end, promised) {
            (End::Clean, _) if bodiless => assert_eq!(has, 0, "a body where there is none"),
            (End::Clean, Some(promised)) if !(head_only && has == 0) => {
                assert_eq!(has, promised, "the length is not true: {}", text(received));
            }
            (End::Reset, Some(promised)) => assert!(has <= promised, "more than promised"),
            _ => {}
        }
        (end == End::Clean).then_some(reply)
    }

    /// The head, and what follows it; `None` when the head is not whole.
    fn parse(received: &[u8]) -> Option<Self> {
        // As many as the longest input has room for.
        let mut headers = vec![httparse::EMPTY_HEADER; 4096];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(received);
        let parsed = parsed.unwrap_or_else(|error| panic!("{error}: {}", text(received)));
        let httparse::Status::Complete(head) = parsed else {
            return None;
        };
        let status = response.code.expect("a status");
        assert!((200..=999).contains(&status), "the status {status}");
        assert_eq!(response.version, Some(1));
        Some(Self {
            status,
            headers: response
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), header.value.to_vec()))
                .collect(),
            body: received[head..].to_vec(),
        })
    }
}

/// The beginning of some bytes, readable.
fn text(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(2000)];
    shown.escape_ascii().to_string()
}
