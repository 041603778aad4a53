//! What a request's variables must not say, whatever the application.

use super::refusal::Refusal;
use crate::{
    app::Environ,
    protocol::{decimal, is_token},
    server::Limits,
};

/// The length of the body, if the request may pass. `has_more` tells that bytes came behind its variables.
pub(crate) fn examine(environ: &Environ, has_more: bool, limits: &Limits) -> Result<u64, Refusal> {
    let method = environ.get("REQUEST_METHOD").unwrap_or_default();
    // Test clients leave it out: a GET.
    if !method.is_empty() && !is_token(method) {
        return Err(Refusal::Method {
            method: shown(method),
        });
    }
    if let Some((name, at)) = environ.iter().find_map(broken_header) {
        return Err(Refusal::Header {
            name: shown(name),
            at,
        });
    }
    body_length(environ, has_more, limits)
}

fn body_length(environ: &Environ, has_more: bool, limits: &Limits) -> Result<u64, Refusal> {
    let length = match environ.get("CONTENT_LENGTH") {
        None if is_chunked(environ) || had_a_length(environ) => {
            return Err(Refusal::LengthRequired);
        }
        // Without a body it is what nginx sends for auth_request, and what it is told to say where it passes none on.
        None | Some(b"") if has_more => return Err(Refusal::LengthRequired),
        None | Some(b"") => 0,
        Some(digits) => decimal(digits).ok_or_else(|| Refusal::ContentLength {
            value: shown(digits),
        })?,
    };
    match limits.body_size {
        Some(limit) if length > limit => Err(Refusal::BodyTooLarge { length, limit }),
        _ => Ok(length),
    }
}

/// Whether the client's body had no length that it told. nginx tells it all the same, once it has the whole body; where
/// nobody does, a body would be taken for the empty one.
fn is_chunked(environ: &Environ) -> bool {
    environ
        .get("HTTP_TRANSFER_ENCODING")
        .is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// Whether the client told a length that did not become the variable. Its body's first byte may be still to come.
fn had_a_length(environ: &Environ) -> bool {
    environ
        .get("HTTP_CONTENT_LENGTH")
        .is_some_and(|length| !matches!(length, b"" | b"0"))
}

/// A header with a byte in its value that would end it, and where (RFC 9110, section 5.5). Other variables may have
/// such bytes: PATH_INFO is decoded.
fn broken_header<'a>((name, value): (&'a [u8], &[u8])) -> Option<(&'a [u8], usize)> {
    if !name.starts_with(b"HTTP_") {
        return None;
    }
    memchr::memchr3(b'\r', b'\n', 0, value).map(|at| (name, at))
}

/// What a peer has sent, for people: escaped, and not all of it if there is much.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 80;
    let start = bytes.get(..MOST).unwrap_or(bytes);
    let dots = if bytes.len() > MOST { "…" } else { "" };
    format!("{}{dots}", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(variables: &[(&'static str, &'static [u8])]) -> Result<u64, String> {
        examined_before(variables, false)
    }

    fn examined_before(
        variables: &[(&'static str, &'static [u8])],
        has_more: bool,
    ) -> Result<u64, String> {
        let mut environ = Environ::default();
        for (name, value) in variables {
            environ.set(*name, *value);
        }
        let limits = Limits {
            body_size: Some(1000),
            ..Limits::default()
        };
        examine(&environ, has_more, &limits).map_err(|refusal| {
            let status = refusal.response().map_or(0, |it| it.status().as_u16());
            format!("{status} {refusal}")
        })
    }

    #[test]
    fn a_method_is_a_token_or_missing() {
        for method in [&b""[..], b"GET", b"M-SEARCH", b"get", b"!#$%&'*+-.^_`|~09"] {
            assert_eq!(examined(&[("REQUEST_METHOD", method)]), Ok(0));
        }
        assert_eq!(examined(&[]), Ok(0));
        for method in [
            &b" "[..],
            b"GET ",
            b" GET",
            b"GE T",
            b"GET\r\n",
            b"GET\0",
            b"G\xc3\x89T",
            b"GET/",
            b"(GET)",
            b"A,B",
        ] {
            let said = examined(&[("REQUEST_METHOD", method)]).unwrap_err();
            assert!(said.starts_with("400 the method "), "{said}");
        }
    }

    #[test]
    fn a_content_length_is_digits_alone() {
        let length = |text| examined(&[("CONTENT_LENGTH", text)]);
        assert_eq!(length(b""), Ok(0));
        assert_eq!(length(b"0"), Ok(0));
        assert_eq!(length(b"007"), Ok(7));
        for wrong in [
            &b"+1"[..],
            b"-1",
            b" 1",
            b"1 ",
            b"0x10",
            b"1e3",
            b"1_000",
            b"1,1",
            b"1, 1",
            b"1.0",
            b"\t1",
            b"1\n",
            b"1\0",
            b"\xd9\xa1",
            b"\xef\xbc\x91",
            b"18446744073709551616",
            b"99999999999999999999999",
        ] {
            let said = length(wrong).unwrap_err();
            assert!(said.starts_with("400 CONTENT_LENGTH "), "{said}");
        }
        assert_eq!(length(b"1000"), Ok(1000));
        let most = length(b"18446744073709551615").unwrap_err();
        assert!(
            most.starts_with("413 the body of 18446744073709551615 bytes"),
            "{most}"
        );
        assert!(length(b"1001").unwrap_err().starts_with("413"));
    }

    #[test]
    fn a_body_without_a_length_is_none_unless_there_is_one() {
        let chunked = ("HTTP_TRANSFER_ENCODING", &b"chunked"[..]);
        let empty = ("CONTENT_LENGTH", &b""[..]);
        assert!(examined(&[chunked]).unwrap_err().starts_with("411"));
        assert_eq!(examined(&[chunked, empty]), Ok(0));
        let followed = examined_before(&[chunked, empty], true);
        assert!(followed.unwrap_err().starts_with("411"));
        for variables in [&[empty][..], &[]] {
            let followed = examined_before(variables, true);
            assert!(followed.unwrap_err().starts_with("411"));
        }
        let told = |length: &'static [u8]| ("HTTP_CONTENT_LENGTH", length);
        assert!(examined(&[told(b"7")]).unwrap_err().starts_with("411"));
        assert_eq!(examined(&[told(b"0")]), Ok(0));
        assert_eq!(examined(&[told(b"7"), empty]), Ok(0));
        // As Apache passes on a PUT without content.
        assert_eq!(examined(&[("REQUEST_METHOD", &b"PUT"[..])]), Ok(0));
        assert!(examined(&[("HTTP_TRANSFER_ENCODING", b"gzip, Chunked")]).is_err());
        assert_eq!(examined(&[chunked, ("CONTENT_LENGTH", b"0")]), Ok(0));
        assert_eq!(examined(&[chunked, ("CONTENT_LENGTH", b"7")]), Ok(7));
        assert_eq!(examined(&[("HTTP_TRANSFER_ENCODING", b"identity")]), Ok(0));
        assert_eq!(examined(&[("HTTP_TRANSFER_ENCODING", b"")]), Ok(0));
    }

    #[test]
    fn a_header_is_one_line() {
        for value in [&b"a\r\nX: b"[..], b"\n", b"a\0", b"\r"] {
            let said = examined(&[("HTTP_X", value)]).unwrap_err();
            assert!(said.starts_with("400 the header HTTP_X "), "{said}");
            assert_eq!(
                examined(&[("PATH_INFO", value), ("SSL_CLIENT_CERT", value)]),
                Ok(0)
            );
        }
        assert_eq!(examined(&[("HTTP_X", b"\ta\x01\x7f\xff")]), Ok(0));
    }

    #[test]
    fn what_a_peer_sent_is_shown_in_part() {
        assert_eq!(shown(b"a\"\r\n\x1b[31m"), "a\\\"\\r\\n\\x1b[31m");
        assert_eq!(shown(&[b'a'; 60_000]).chars().count(), 81);
    }
}
