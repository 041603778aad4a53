//! The head of a raw HTTP response, checked as it is written.

use http::StatusCode;
use thiserror::Error;

use super::Corrections;

/// A status line and headers, held as the bytes that go on the wire.
///
/// nginx, Apache and lighttpd all accept a raw `HTTP/1.1 200 OK` line, so that is what is written. Every
/// part is checked when it is added: an application cannot split a response or frame it twice. What is only the
/// server's to say, or has only one meaning, is dropped or completed: [`ResponseHead::corrections`] tells.
///
/// ```
/// use spile::protocol::ResponseHead;
///
/// let mut head = ResponseHead::new(200, b"OK")?;
/// head.push(b"Content-Type", b"text/plain")?;
/// head.push(b"Content-Length", b"3")?;
/// assert_eq!(head.content_length(), Some(3));
/// assert_eq!(
///     head.into_bytes(),
///     b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n"
/// );
/// # Ok::<(), spile::protocol::HeadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ResponseHead {
    wire: Vec<u8>,
    status: u16,
    content_length: Option<u64>,
    corrections: Corrections,
}

impl ResponseHead {
    /// Makes a head with its status line: a code of 200 to 999 and a reason phrase, which may be empty.
    ///
    /// # Errors
    /// [`HeadError::Status`] for a code outside that range (front servers take a 1xx as the final answer)
    /// and [`HeadError::Reason`] for a control character in the reason.
    pub fn new(status: u16, reason: &[u8]) -> Result<Self, HeadError> {
        if !(200..=999).contains(&status) {
            return Err(HeadError::Status {
                status: status.to_string(),
            });
        }
        check_text(reason).map_err(|at| HeadError::Reason { at })?;
        Ok(Self::with_status(status, reason))
    }

    fn with_status(status: u16, reason: &[u8]) -> Self {
        let mut wire = Vec::with_capacity(USUAL_LENGTH);
        wire.extend_from_slice(b"HTTP/1.1 ");
        wire.extend_from_slice(&three_digits(status));
        wire.push(b' ');
        wire.extend_from_slice(reason);
        wire.extend_from_slice(b"\r\n");
        Self {
            wire,
            status,
            content_length: None,
            corrections: Corrections::default(),
        }
    }

    /// Makes a head of 101 Switching Protocols, which hands the connection over to `protocol` (RFC 9110, sections 7.8
    /// and 15.2.2). No other head has the headers Connection and Upgrade.
    ///
    /// Only the server can send one: every public way to a head leads to a final response.
    ///
    /// # Errors
    /// [`HeadError::Value`] for a control character in the protocol's name.
    pub(crate) fn switching_protocols(protocol: &[u8]) -> Result<Self, HeadError> {
        check_text(protocol).map_err(|at| HeadError::Value {
            name: "Upgrade".to_owned(),
            at,
        })?;
        let mut head = Self::with_status(SWITCHING_PROTOCOLS, b"Switching Protocols");
        head.write(b"Connection", b"upgrade");
        head.write(b"Upgrade", protocol);
        Ok(head)
    }

    /// Makes a head from a WSGI status string, `NNN reason` (PEP 3333, "The start_response() Callable"). A code alone
    /// gets the usual reason.
    ///
    /// # Errors
    /// As [`ResponseHead::new`], and [`HeadError::Status`] when the code is not three digits, or what follows is not
    /// a space and a reason, which may be empty (RFC 9112, section 4).
    pub fn from_status_line(line: &[u8]) -> Result<Self, HeadError> {
        let malformed = || HeadError::Status {
            status: String::from_utf8_lossy(line).into_owned(),
        };
        let (code, reason) = match line {
            [a, b, c, b' ', reason @ ..] => ([*a, *b, *c], Some(reason)),
            [a, b, c] => ([*a, *b, *c], None),
            _ => return Err(malformed()),
        };
        let status = decimal(&code).ok_or_else(malformed)?;
        let status = u16::try_from(status).map_err(|_| malformed())?;
        let head = Self::new(status, reason.unwrap_or_else(|| usual_reason(status)));
        let mut head = head.map_err(|error| match error {
            HeadError::Status { .. } => malformed(),
            other => other,
        })?;
        if reason.is_none() {
            head.corrections.add(Corrections::REASON);
        }
        Ok(head)
    }

    /// Adds a header after those already there; a name may come more than once. Hop-by-hop headers are left out,
    /// because the server sends them (PEP 3333), and so is a Content-Length that repeats the one before it. With a 204
    /// none is sent (RFC 9110, section 8.6).
    ///
    /// # Errors
    /// The name is not a token, the value holds a control character, or Content-Length is not a number or contradicts
    /// the one before it (nginx answers 502 then).
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        if !is_token(name) {
            return Err(HeadError::Name {
                name: String::from_utf8_lossy(name).into_owned(),
            });
        }
        check_text(value).map_err(|at| HeadError::Value {
            name: String::from_utf8_lossy(name).into_owned(),
            at,
        })?;
        if let Some(dropped) = Corrections::of_hop_by_hop(name) {
            self.corrections.add(dropped);
            return Ok(());
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            return self.push_content_length(name, value);
        }
        self.write(name, value);
        Ok(())
    }

    fn push_content_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        let mut lengths = value.split(|&byte| byte == b',').map(|each| {
            let length = decimal(each.trim_ascii());
            length.ok_or_else(|| HeadError::ContentLength {
                value: String::from_utf8_lossy(value).into_owned(),
            })
        });
        let first = self.content_length.map(Ok).or_else(|| lengths.next());
        let Some(first) = first.transpose()? else {
            return Ok(());
        };
        let mut is_repeated = false;
        for length in lengths {
            let second = length?;
            if second != first {
                return Err(HeadError::ContentLengths { first, second });
            }
            is_repeated = true;
        }
        if is_repeated {
            self.corrections.add(Corrections::CONTENT_LENGTH);
        }
        if !self.allows_length() || self.content_length.is_some() {
            return Ok(());
        }
        if is_repeated {
            self.set_content_length(first);
        } else {
            self.content_length = Some(first);
            self.write(name, value);
        }
        Ok(())
    }

    /// Adds the Content-Length that the application left out, unless the status is one that has none.
    pub fn set_content_length(&mut self, length: u64) {
        if self.content_length.is_none() && self.allows_length() {
            self.content_length = Some(length);
            self.wire.extend_from_slice(b"Content-Length: ");
            write_decimal(&mut self.wire, length);
            self.wire.extend_from_slice(b"\r\n");
        }
    }

    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the body's length in bytes as the headers promise it.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Returns what was left out of the head or completed.
    #[must_use]
    pub fn corrections(&self) -> Corrections {
        self.corrections
    }

    /// Tells whether this status may have a body at all (RFC 9110, sections 15.2, 15.3.5 and 15.4.5).
    #[must_use]
    pub fn allows_body(&self) -> bool {
        !matches!(self.status, SWITCHING_PROTOCOLS | 204 | 304)
    }

    /// Tells whether this status may have a Content-Length (RFC 9110, section 8.6).
    fn allows_length(&self) -> bool {
        !matches!(self.status, SWITCHING_PROTOCOLS | 204)
    }

    /// Returns the wire form, with the empty line that ends it.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.wire.extend_from_slice(b"\r\n");
        self.wire
    }

    fn write(&mut self, name: &[u8], value: &[u8]) {
        self.wire.extend_from_slice(name);
        self.wire.extend_from_slice(b": ");
        self.wire.extend_from_slice(value);
        self.wire.extend_from_slice(b"\r\n");
    }
}

/// The only status below 200 that is sent, and only by [`ResponseHead::switching_protocols`].
const SWITCHING_PROTOCOLS: u16 = 101;

/// Room made at first: a page of Django's with a cookie has 400 bytes of head.
const USUAL_LENGTH: usize = 512;

/// The reason why a response head was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// Not three digits of 200 to 999, with a space and a reason behind them or nothing.
    #[error("the status {status:?} is not of the form \"NNN reason\" with NNN from 200 to 999")]
    Status {
        /// What the application gave.
        status: String,
    },
    /// 101 Switching Protocols, where nothing takes the connection over.
    #[error(
        "101 Switching Protocols can only be given to a client that asks for it, by accepting its upgrade: see \
         `Request::upgrade`, or with a tower service, hyper's `OnUpgrade`"
    )]
    SwitchingProtocols,
    /// A control character in the reason phrase.
    #[error("the reason phrase has a control character at byte {at}")]
    Reason {
        /// Offset in the reason.
        at: usize,
    },
    /// A header name that is not a token (RFC 9110, section 5.1).
    #[error("{name:?} is not a header name")]
    Name {
        /// The name as given.
        name: String,
    },
    /// A control character in a value.
    #[error("the value of {name} has a control character at byte {at}")]
    Value {
        /// The header.
        name: String,
        /// Offset in the value.
        at: usize,
    },
    /// A Content-Length that is not digits or does not fit 64 bits.
    #[error("Content-Length {value:?} is not a number of bytes")]
    ContentLength {
        /// What was given.
        value: String,
    },
    /// A second Content-Length that is not the first.
    #[error("Content-Length was given twice, as {first} and as {second}")]
    ContentLengths {
        /// What was given first.
        first: u64,
        /// What was given after it.
        second: u64,
    },
}

/// Reads a number in digits alone, as RFC 9110 section 8.6 has Content-Length: no sign, no space, a value that fits.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// `Err` with the offset of the first control character; a tab is allowed (RFC 9110, section 5.5).
fn check_text(text: &[u8]) -> Result<(), usize> {
    let is_control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    // To the end in any case: only so does the compiler look at many bytes at once.
    let found = text
        .iter()
        .fold(false, |found, &byte| found | is_control(byte));
    if !found {
        return Ok(());
    }
    match text.iter().position(|&byte| is_control(byte)) {
        None => Ok(()),
        Some(at) => Err(at),
    }
}

/// Tells whether a text is a token (RFC 9110, section 5.6.2), as methods and header names have to be.
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    let in_table = |byte: u8| TCHAR.get(usize::from(byte)).is_some_and(|&it| it);
    !text.is_empty() && text.iter().all(|&byte| in_table(byte))
}

/// Which bytes may stand in a token.
#[allow(clippy::indexing_slicing, reason = "by the compiler")]
const TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &[u8] =
        b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    while let [byte, after @ ..] = rest {
        table[*byte as usize] = true;
        rest = after;
    }
    table
};

/// Returns the reason phrase that a status has where the application gives none.
fn usual_reason(status: u16) -> &'static [u8] {
    let usual = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    usual.unwrap_or("Unknown").as_bytes()
}

/// Appends a number without the allocation that `to_string` costs.
fn write_decimal(wire: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut left = number;
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        length += 1;
        if left == 0 {
            break;
        }
    }
    wire.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

fn three_digits(status: u16) -> [u8; 3] {
    let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or(0);
    [digit(status / 100), digit(status / 10), digit(status)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_needs_digits_and_a_reason() {
        assert_eq!(
            ResponseHead::from_status_line(b"418 I'm a teapot")
                .unwrap()
                .status(),
            418
        );
        for bad in [
            &b"20"[..],
            b"20 OK",
            b"abc OK",
            b"200OK",
            b"101 Switch",
            b"101",
            b"abc",
            b"2000",
        ] {
            assert!(
                matches!(
                    ResponseHead::from_status_line(bad),
                    Err(HeadError::Status { .. })
                ),
                "{bad:?}"
            );
        }
        let split = ResponseHead::from_status_line(b"200 OK\r\nX: y");
        assert!(matches!(split, Err(HeadError::Reason { at: 2 })));
    }

    #[test]
    fn a_204_tells_no_length() {
        let mut head = ResponseHead::new(204, b"No Content").unwrap();
        head.push(b"Content-Length", b"5").unwrap();
        assert_eq!(head.content_length(), None);
        assert_eq!(head.into_bytes(), b"HTTP/1.1 204 No Content\r\n\r\n");
    }

    #[test]
    fn a_101_names_the_protocol_and_frames_nothing() {
        let mut head = ResponseHead::switching_protocols(b"websocket").unwrap();
        head.push(b"Content-Length", b"0").unwrap();
        head.set_content_length(5);
        head.push(b"Connection", b"close").unwrap();
        head.push(b"Upgrade", b"h2c").unwrap();
        head.push(b"X", b"y").unwrap();
        assert!(!head.allows_body());
        assert_eq!(head.content_length(), None);
        assert_eq!(
            head.into_bytes(),
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n"
        );
        let split = ResponseHead::switching_protocols(b"a\r\nX: y");
        assert!(matches!(split, Err(HeadError::Value { at: 1, .. })));
    }

    #[test]
    fn a_reason_may_be_empty() {
        let head = ResponseHead::from_status_line(b"200 ").unwrap();
        assert_eq!(head.into_bytes(), b"HTTP/1.1 200 \r\n\r\n");
    }

    #[test]
    fn a_code_alone_gets_the_usual_reason() {
        for (line, expected) in [
            (&b"200"[..], &b"HTTP/1.1 200 OK\r\n\r\n"[..]),
            (b"404", b"HTTP/1.1 404 Not Found\r\n\r\n"),
            (b"299", b"HTTP/1.1 299 Unknown\r\n\r\n"),
        ] {
            let head = ResponseHead::from_status_line(line).unwrap();
            assert!(head.corrections().contains(Corrections::REASON));
            assert_eq!(head.into_bytes(), expected);
        }
    }

    #[test]
    fn headers_of_the_connection_are_left_out() {
        let mut head = ResponseHead::new(200, b"OK").unwrap();
        head.push(b"tRANSFER-encoding", b"chunked").unwrap();
        head.push(b"Connection", b"keep-alive").unwrap();
        head.push(b"Connection-Id", b"5").unwrap();
        assert_eq!(
            head.push(b"Connection", b"close\r\nX: y"),
            Err(HeadError::Value {
                name: "Connection".to_owned(),
                at: 5
            })
        );
        assert!(!head.corrections().is_empty());
        assert_eq!(
            head.into_bytes(),
            b"HTTP/1.1 200 OK\r\nConnection-Id: 5\r\n\r\n"
        );
    }

    #[test]
    fn equal_lengths_count_as_one() {
        for values in [&[&b"7"[..], b"7"][..], &[b"7, 7"], &[b"7,07", b" 7 "]] {
            let mut head = ResponseHead::new(200, b"OK").unwrap();
            for value in values {
                head.push(b"Content-Length", value).unwrap();
            }
            assert_eq!(head.content_length(), Some(7));
            assert!(head.corrections().contains(Corrections::CONTENT_LENGTH));
            assert_eq!(
                head.into_bytes(),
                b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
            );
        }
    }

    #[test]
    fn a_control_character_is_found_wherever_it_is() {
        for at in 0..100 {
            let mut value = [b'v'; 100];
            value[at] = 0x7f;
            let mut head = ResponseHead::new(200, b"OK").unwrap();
            let name = "X".to_owned();
            assert_eq!(
                head.push(b"X", &value),
                Err(HeadError::Value { name, at }),
                "{at}"
            );
            value[at] = b'\t';
            assert_eq!(head.push(b"X", &value), Ok(()), "{at}");
        }
    }

    #[test]
    fn a_name_is_of_token_characters() {
        for byte in 0..=u8::MAX {
            let allowed = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let mut head = ResponseHead::new(200, b"OK").unwrap();
            assert_eq!(head.push(&[b'x', byte], b"").is_ok(), allowed, "{byte:#x}");
        }
    }

    #[test]
    fn any_length_is_written_in_full() {
        for length in [0, 9, 10, 5_432, u64::MAX] {
            let mut head = ResponseHead::new(200, b"OK").unwrap();
            head.set_content_length(length);
            let wire = String::from_utf8(head.into_bytes()).unwrap();
            assert_eq!(
                wire,
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
            );
        }
    }

    #[test]
    fn headers_cannot_split_or_frame_the_response() {
        let mut head = ResponseHead::new(200, b"OK").unwrap();
        assert!(matches!(
            head.push(b"X y", b""),
            Err(HeadError::Name { .. })
        ));
        assert!(matches!(head.push(b"", b""), Err(HeadError::Name { .. })));
        assert!(matches!(
            head.push(b"X", b"a\r\nb"),
            Err(HeadError::Value { at: 1, .. })
        ));
        assert!(matches!(
            head.push(b"Content-Length", b"+1"),
            Err(HeadError::ContentLength { .. })
        ));
        assert!(matches!(
            head.push(b"Content-Length", b"18446744073709551616"),
            Err(HeadError::ContentLength { .. })
        ));
        assert!(matches!(
            head.push(b"Content-Length", b"1, 2"),
            Err(HeadError::ContentLengths {
                first: 1,
                second: 2
            })
        ));
        head.push(b"content-length", b"1").unwrap();
        assert!(matches!(
            head.push(b"Content-Length", b"2"),
            Err(HeadError::ContentLengths {
                first: 1,
                second: 2
            })
        ));
        assert!(head.corrections().is_empty());
        assert_eq!(
            head.into_bytes(),
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"
        );
    }
}
