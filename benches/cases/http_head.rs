//! HTTP/1.1, to compare with: httparse finds the headers, and where they lie is noted as hyper does.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};

use super::Var;

/// Variables that the request line carries.
const IN_LINE: [&[u8]; 3] = [b"REQUEST_METHOD", b"REQUEST_URI", b"SERVER_PROTOCOL"];

/// All of the variables: three in the request line, each other one as a header.
pub(super) fn encode(vars: &[Var]) -> Vec<u8> {
    head(
        vars,
        vars.iter()
            .filter(|(name, _)| !IN_LINE.contains(&&name[..])),
    )
}

/// What `proxy_pass` sends of the same request with the usual `proxy_set_header`s: a server makes the other
/// variables itself, of these and of the connection.
pub(super) fn proxied(vars: &[Var]) -> Vec<u8> {
    let client = get(vars, b"REMOTE_ADDR");
    let added = [
        (&b"HTTP_X_REAL_IP"[..], client),
        (b"HTTP_X_FORWARDED_FOR", client),
        (b"HTTP_X_FORWARDED_PROTO", get(vars, b"REQUEST_SCHEME")),
    ]
    .map(|(name, value)| (name.to_vec(), value.to_vec()));
    let own = vars.iter().filter(|(name, _)| name.starts_with(b"HTTP_"));
    head(vars, added.iter().chain(own))
}

fn head<'a>(vars: &[Var], headers: impl Iterator<Item = &'a Var>) -> Vec<u8> {
    let mut head = IN_LINE.map(|name| get(vars, name)).join(&b' ');
    head.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        let name = String::from_utf8_lossy(name.strip_prefix(b"HTTP_").unwrap_or(name));
        let words: Vec<String> = name.split('_').map(capitalised).collect();
        head.extend_from_slice(words.join("-").as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn capitalised(word: &str) -> String {
    word[..1].to_owned() + &word[1..].to_ascii_lowercase()
}

fn get<'a>(vars: &'a [Var], name: &[u8]) -> &'a [u8] {
    &vars.iter().find(|(other, _)| other == name).unwrap().1
}

/// Where a header lies, in a head of less than 64 KiB.
#[derive(Clone, Copy)]
pub(super) struct Range {
    _name: (u16, u16),
    _value: (u16, u16),
}

/// A head: its bytes, where method and target lie, and its headers.
pub(super) struct Head {
    _bytes: Bytes,
    _line: Range,
    _headers: Vec<Range>,
}

/// The head at the front of a buffer, which keeps what follows; `None` if it is not whole or not valid.
pub(super) fn decode(mut received: BytesMut) -> Option<(BytesMut, Head)> {
    let mut headers = [MaybeUninit::uninit(); 64];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(&received, &mut headers);
    let httparse::Status::Complete(length) = parsed.ok()? else {
        return None;
    };
    let start = received.as_ptr() as usize;
    let lies = |text: &[u8]| {
        let offset = text.as_ptr() as usize - start;
        (offset as u16, text.len() as u16)
    };
    let line = Range {
        _name: lies(request.method?.as_bytes()),
        _value: lies(request.path?.as_bytes()),
    };
    let headers = request.headers.iter().map(|header| Range {
        _name: lies(header.name.as_bytes()),
        _value: lies(header.value),
    });
    let headers = headers.collect();
    let head = Head {
        _bytes: received.split_to(length).freeze(),
        _line: line,
        _headers: headers,
    };
    Some((received, head))
}
