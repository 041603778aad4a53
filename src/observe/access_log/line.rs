//! How a line of the access log is made.

use std::{io::Write, time::SystemTime};

use serde::Serialize;

use crate::{
    app::Environ,
    config::{AccessLogFormat, FormatString, LogFormat, LogPart},
    server::Answered,
};

/// A format that is ready for use.
#[derive(Debug)]
pub(super) enum Line {
    Json,
    Parts(FormatString),
}

impl Line {
    /// The format of that name; without one it goes with the log's.
    pub(super) fn new(format: Option<&AccessLogFormat>, log: LogFormat) -> Self {
        let well_known = |text: &str| text.parse().map_or(Self::Json, Self::Parts);
        match (format, log) {
            (Some(AccessLogFormat::Custom(format)), _) => Self::Parts(format.clone()),
            (Some(AccessLogFormat::Common), _) => well_known(AccessLogFormat::COMMON),
            (Some(AccessLogFormat::Combined), _) | (None, LogFormat::Text) => {
                well_known(AccessLogFormat::COMBINED)
            }
            (Some(AccessLogFormat::Json), _) | (None, LogFormat::Json) => Self::Json,
        }
    }

    /// Appends the line of a request that is answered `now`, with its end.
    pub(super) fn write(&self, answered: &Answered<'_>, now: SystemTime, line: &mut Vec<u8>) {
        let start = now.checked_sub(answered.duration).unwrap_or(now);
        match self {
            Self::Json => json(answered, start, line),
            Self::Parts(format) => {
                for part in format.parts() {
                    put(part, answered, start, line);
                }
            }
        }
        line.push(b'\n');
    }
}

fn put(part: &LogPart, answered: &Answered<'_>, start: SystemTime, line: &mut Vec<u8>) {
    let environ = answered.environ;
    let duration = answered.duration;
    let mut value = |name: &str| escape(environ.get(name), line);
    match part {
        LogPart::Text(text) => line.extend_from_slice(text.as_bytes()),
        LogPart::Address => value("REMOTE_ADDR"),
        LogPart::Identity => line.push(b'-'),
        LogPart::User => user(environ, line),
        LogPart::Time => number(line, format_args!("[{}]", common_time(start))),
        LogPart::RequestLine => {
            value("REQUEST_METHOD");
            line.push(b' ');
            escape(environ.get("REQUEST_URI"), line);
            line.push(b' ');
            escape(environ.get("SERVER_PROTOCOL"), line);
        }
        // The connection ended before there was one.
        LogPart::Status if answered.status == 0 => line.push(b'-'),
        LogPart::Status => number(line, format_args!("{}", answered.status)),
        LogPart::BytesOrDash if answered.body_bytes == 0 => line.push(b'-'),
        LogPart::BytesOrDash | LogPart::Bytes => {
            number(line, format_args!("{}", answered.body_bytes));
        }
        LogPart::Seconds => number(line, format_args!("{}", duration.as_secs())),
        LogPart::Milliseconds => number(line, format_args!("{}", duration.as_millis())),
        LogPart::Microseconds => number(line, format_args!("{}", duration.as_micros())),
        LogPart::Method => value("REQUEST_METHOD"),
        LogPart::Path => {
            let of = |name| environ.get(name).unwrap_or_default();
            match (of("SCRIPT_NAME"), of("PATH_INFO")) {
                (b"", b"") => line.push(b'-'),
                (mount, path) => {
                    escape_bytes(mount, line);
                    escape_bytes(path, line);
                }
            }
        }
        LogPart::Query => match environ.get("QUERY_STRING") {
            None | Some(b"") => {}
            query => {
                line.push(b'?');
                escape(query, line);
            }
        },
        LogPart::Protocol => value("SERVER_PROTOCOL"),
        LogPart::ServerName => value("SERVER_NAME"),
        LogPart::ServerPort => value("SERVER_PORT"),
        LogPart::Pid => number(line, format_args!("{}", std::process::id())),
        LogPart::End => line.push(if answered.complete { b'-' } else { b'X' }),
        LogPart::Variable(name) => value(name),
    }
}

/// A user's name may hold spaces, and stands without quotes in the well-known formats.
fn user(environ: &Environ, line: &mut Vec<u8>) {
    match environ.get("REMOTE_USER") {
        None | Some(b"") => line.push(b'-'),
        Some(name) => {
            for (at, word) in name.split(|byte| *byte == b' ').enumerate() {
                if at > 0 {
                    line.extend_from_slice(b"\\x20");
                }
                escape_bytes(word, line);
            }
        }
    }
}

fn number(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = line.write_fmt(text);
}

/// A value, `-` for none or an empty one.
fn escape(value: Option<&[u8]>, line: &mut Vec<u8>) {
    match value {
        None | Some(b"") => line.push(b'-'),
        Some(value) => escape_bytes(value, line),
    }
}

/// As nginx escapes: what could end a field or a line, and all that is not printable ASCII, is `\xHH`.
fn escape_bytes(value: &[u8], line: &mut Vec<u8>) {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| !plain(byte)) {
        let (clean, other) = rest.split_at(at);
        line.extend_from_slice(clean);
        if let Some((byte, after)) = other.split_first() {
            number(line, format_args!("\\x{byte:02X}"));
            rest = after;
        }
    }
    line.extend_from_slice(rest);
}

/// A line of JSON. What a request does not have is null.
#[derive(Serialize)]
struct Facts<'a> {
    time: String,
    remote_addr: Option<&'a str>,
    remote_user: Option<&'a str>,
    method: Option<&'a str>,
    uri: Option<&'a str>,
    protocol: Option<&'a str>,
    status: Option<u16>,
    body_bytes: u64,
    referer: Option<&'a str>,
    user_agent: Option<&'a str>,
    seconds: f64,
    complete: bool,
    pid: u32,
}

fn json(answered: &Answered<'_>, start: SystemTime, line: &mut Vec<u8>) {
    // JSON is UTF-8: other bytes become U+FFFD rather than cost the whole value.
    let text = |name: &str| {
        let value = answered.environ.get(name).filter(|value| !value.is_empty());
        value.map(String::from_utf8_lossy)
    };
    let (addr, user) = (text("REMOTE_ADDR"), text("REMOTE_USER"));
    let (method, uri) = (text("REQUEST_METHOD"), text("REQUEST_URI"));
    let protocol = text("SERVER_PROTOCOL");
    let (referer, user_agent) = (text("HTTP_REFERER"), text("HTTP_USER_AGENT"));
    let facts = Facts {
        time: json_time(start),
        remote_addr: addr.as_deref(),
        remote_user: user.as_deref(),
        method: method.as_deref(),
        uri: uri.as_deref(),
        protocol: protocol.as_deref(),
        status: (answered.status != 0).then_some(answered.status),
        body_bytes: answered.body_bytes,
        referer: referer.as_deref(),
        user_agent: user_agent.as_deref(),
        seconds: answered.duration.as_secs_f64(),
        complete: answered.complete,
        pid: std::process::id(),
    };
    // Neither the values nor the memory they go to can make it fail.
    let _ = serde_json::to_writer(line, &facts);
}

/// `10/Oct/2000:13:55:36 +0000`, from `Tue, 10 Oct 2000 13:55:36 GMT`.
fn common_time(time: SystemTime) -> String {
    let text = httpdate::fmt_http_date(time);
    let part = |range| text.get(range).unwrap_or_default();
    let (day, month, year, clock) = (part(5..7), part(8..11), part(12..16), part(17..25));
    format!("{day}/{month}/{year}:{clock} +0000")
}

/// `2000-10-10T13:55:36.123Z` (RFC 3339), as the lines of the JSON log have it.
fn json_time(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.subsec_millis());
    let text = httpdate::fmt_http_date(time);
    let part = |range| text.get(range).unwrap_or_default();
    let (day, month, year, clock) = (part(5..7), part(8..11), part(12..16), part(17..25));
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = names.find(month).unwrap_or_default() / 3 + 1;
    format!("{year}-{month:02}-{day}T{clock}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn environ(pairs: &[(&'static str, &'static str)]) -> Environ {
        let mut environ = Environ::default();
        for (name, value) in pairs {
            environ.set(*name, *value);
        }
        environ
    }

    fn get() -> Environ {
        environ(&[
            ("REMOTE_ADDR", "::1"),
            ("REMOTE_USER", "ann"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/app/a%20b?c=1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/a b"),
            ("QUERY_STRING", "c=1"),
            ("SERVER_NAME", "example.com"),
            ("SERVER_PORT", "443"),
            ("HTTP_REFERER", "http://x/"),
            ("HTTP_USER_AGENT", "curl/8"),
        ])
    }

    fn line(format: &str, answered: &Answered<'_>) -> String {
        let format = format.parse().unwrap();
        let mut line = Vec::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(971_186_136_512);
        Line::new(Some(&format), LogFormat::Text).write(answered, now, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn the_well_known_formats_are_what_log_tools_expect() {
        let environ = get();
        let answered = Answered::new(&environ, 200, 12, Duration::from_millis(512), true);
        let common =
            "::1 - ann [10/Oct/2000:13:55:36 +0000] \"GET /app/a%20b?c=1 HTTP/1.1\" 200 12";
        assert_eq!(line("common", &answered), format!("{common}\n"));
        assert_eq!(
            line("combined", &answered),
            format!("{common} \"http://x/\" \"curl/8\"\n")
        );
    }

    #[test]
    fn every_directive() {
        let environ = get();
        let answered = Answered::new(&environ, 404, 0, Duration::from_micros(1_234_567), false);
        for (format, text) in [
            ("%h %a %l %u", "::1 ::1 - ann"),
            ("%t", "[10/Oct/2000:13:55:35 +0000]"),
            ("%s %>s %b %B", "404 404 - 0"),
            ("%T %{s}T %{ms}T %{us}T %D", "1 1 1234 1234567 1234567"),
            ("%m %U%q %H", "GET /app/a b?c=1 HTTP/1.1"),
            ("%v:%p %X", "example.com:443 X"),
            (
                "%{Referer}i %{X-None}i %{SERVER_NAME}e %{NONE}e",
                "http://x/ - example.com -",
            ),
        ] {
            assert_eq!(line(format, &answered), format!("{text}\n"), "{format}");
        }
        assert_eq!(line("%P", &answered), format!("{}\n", std::process::id()));
    }

    #[test]
    fn what_a_request_does_not_have_is_a_dash() {
        let environ = Environ::default();
        let answered = Answered::new(&environ, 0, 0, Duration::ZERO, false);
        assert_eq!(
            line("%h %u \"%r\" %s %b %m %U|%q|%H %X", &answered),
            "- - \"- - -\" - - - -||- X\n"
        );
        let json: serde_json::Value = serde_json::from_str(&line("json", &answered)).unwrap();
        assert!(json["status"].is_null() && json["uri"].is_null());
    }

    #[test]
    fn a_value_cannot_forge_a_line_or_a_field() {
        let mut environ = environ(&[("REMOTE_USER", "a [b] \"c")]);
        environ.set("HTTP_USER_AGENT", &b"a\"\n\\\x00\x7f\xc3\xa9 'b'"[..]);
        let answered = Answered::new(&environ, 200, 12, Duration::ZERO, true);
        assert_eq!(
            line("%u \"%{User-Agent}i\"", &answered),
            "a\\x20[b]\\x20\\x22c \"a\\x22\\x0A\\x5C\\x00\\x7F\\xC3\\xA9 'b'\"\n"
        );
        let text = line("json", &answered);
        assert_eq!(text.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["user_agent"], "a\"\n\\\0\x7fé 'b'");
    }

    #[test]
    fn json_has_the_facts_by_name() {
        let environ = get();
        let answered = Answered::new(&environ, 200, 12, Duration::from_millis(512), true);
        let json: serde_json::Value = serde_json::from_str(&line("json", &answered)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "time": "2000-10-10T13:55:36.000Z", "remote_addr": "::1", "remote_user": "ann", "method": "GET",
                "uri": "/app/a%20b?c=1", "protocol": "HTTP/1.1", "status": 200, "body_bytes": 12,
                "referer": "http://x/", "user_agent": "curl/8", "seconds": 0.512, "complete": true,
                "pid": std::process::id(),
            })
        );
    }
}
