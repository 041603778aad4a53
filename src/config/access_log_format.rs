use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Cure;

/// How a line of the access log looks. Written `common`, `combined`, `json`, or as a format string with the
/// directives of Apache's mod_log_config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AccessLogFormat {
    /// The Common Log Format: [`AccessLogFormat::COMMON`].
    Common,
    /// That with the referrer and the user agent: [`AccessLogFormat::COMBINED`].
    Combined,
    /// A JSON object.
    Json,
    /// What a format string says.
    Custom(FormatString),
}

impl AccessLogFormat {
    /// What `common` stands for.
    pub const COMMON: &'static str = r#"%h %l %u %t "%r" %>s %b"#;
    /// What `combined` stands for.
    pub const COMBINED: &'static str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
}

impl FromStr for AccessLogFormat {
    type Err = AccessLogFormatError;

    fn from_str(text: &str) -> Result<Self, AccessLogFormatError> {
        Ok(match text {
            "common" => Self::Common,
            "combined" => Self::Combined,
            "json" => Self::Json,
            _ => Self::Custom(text.parse()?),
        })
    }
}

impl fmt::Display for AccessLogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Json => "json",
            Self::Custom(format) => &format.text,
        })
    }
}

impl TryFrom<String> for AccessLogFormat {
    type Error = AccessLogFormatError;

    fn try_from(text: String) -> Result<Self, AccessLogFormatError> {
        text.parse()
    }
}

impl From<AccessLogFormat> for String {
    fn from(format: AccessLogFormat) -> Self {
        format.to_string()
    }
}

/// A format string, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatString {
    text: String,
    parts: Vec<LogPart>,
}

impl FormatString {
    /// Its parts, in their order.
    #[must_use]
    pub fn parts(&self) -> &[LogPart] {
        &self.parts
    }
}

/// A part of a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// Text that is written as it is.
    Text(String),
    /// `%h`, `%a`: the client's address.
    Address,
    /// `%l`: the client's name by identd, which nobody asks; always `-`.
    Identity,
    /// `%u`: the user that nginx has authenticated.
    User,
    /// `%t`: when the request came, in UTC.
    Time,
    /// `%r`: method, URI and protocol as the client sent them.
    RequestLine,
    /// `%s`, `%>s`: the status.
    Status,
    /// `%b`: the bytes of the body, `-` for none.
    BytesOrDash,
    /// `%B`: the bytes of the body.
    Bytes,
    /// `%T`, `%{s}T`: the whole seconds it took.
    Seconds,
    /// `%{ms}T`: the milliseconds it took.
    Milliseconds,
    /// `%D`, `%{us}T`: the microseconds it took.
    Microseconds,
    /// `%m`: the method.
    Method,
    /// `%U`: the path, without the query.
    Path,
    /// `%q`: the query with its `?`; nothing for none.
    Query,
    /// `%H`: the protocol.
    Protocol,
    /// `%v`: the name of nginx's server.
    ServerName,
    /// `%p`: the port of nginx's server.
    ServerPort,
    /// `%P`: the process that answered.
    Pid,
    /// `%X`: `X` when the response was cut off, `-` when it was whole.
    End,
    /// `%{NAME}e`: a variable; `%{Name}i`: the variable of a request header.
    Variable(String),
}

impl FromStr for FormatString {
    type Err = AccessLogFormatError;

    fn from_str(text: &str) -> Result<Self, AccessLogFormatError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut characters = text
            .chars()
            .enumerate()
            .map(|(at, c)| (at + 1, c))
            .peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '%' => {}
                '\\' => return Err(AccessLogFormatError::Backslash { at }),
                _ if character.is_control() && character != '\t' => {
                    return Err(AccessLogFormatError::Control { at });
                }
                _ => {
                    literal.push(character);
                    continue;
                }
            }
            // Of a redirected request `>` means the last, `<` the first. Here it is always the same.
            let _ = characters.next_if(|(_, c)| matches!(c, '<' | '>'));
            let mut argument = None;
            if characters.next_if(|(_, c)| *c == '{').is_some() {
                let name: String = characters
                    .by_ref()
                    .map(|(_, c)| c)
                    .take_while(|c| *c != '}')
                    .collect();
                argument = Some(name);
            }
            let (end, letter) = characters
                .next()
                .ok_or(AccessLogFormatError::Unfinished { at })?;
            if (argument.is_none(), letter) == (true, '%') {
                literal.push('%');
                continue;
            }
            let part = part(letter, argument.as_deref()).ok_or_else(|| {
                let directive = text.chars().skip(at - 1).take(end + 1 - at).collect();
                AccessLogFormatError::Unknown { directive, at }
            })?;
            if !literal.is_empty() {
                parts.push(LogPart::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if parts.is_empty() {
            let text = text.to_owned();
            return Err(AccessLogFormatError::NoDirective { text });
        }
        if !literal.is_empty() {
            parts.push(LogPart::Text(literal));
        }
        let text = text.to_owned();
        Ok(Self { text, parts })
    }
}

fn part(letter: char, argument: Option<&str>) -> Option<LogPart> {
    Some(match (letter, argument) {
        (_, Some("")) => return None,
        ('i', Some(header)) => LogPart::Variable(variable_of(header)),
        ('e', Some(name)) => LogPart::Variable(name.to_owned()),
        ('T', None | Some("s")) => LogPart::Seconds,
        ('T', Some("ms")) => LogPart::Milliseconds,
        ('D', None) | ('T', Some("us")) => LogPart::Microseconds,
        (_, Some(_)) => return None,
        ('h' | 'a', _) => LogPart::Address,
        ('l', _) => LogPart::Identity,
        ('u', _) => LogPart::User,
        ('t', _) => LogPart::Time,
        ('r', _) => LogPart::RequestLine,
        ('s', _) => LogPart::Status,
        ('b', _) => LogPart::BytesOrDash,
        ('B', _) => LogPart::Bytes,
        ('m', _) => LogPart::Method,
        ('U', _) => LogPart::Path,
        ('q', _) => LogPart::Query,
        ('H', _) => LogPart::Protocol,
        ('v', _) => LogPart::ServerName,
        ('p', _) => LogPart::ServerPort,
        ('P', _) => LogPart::Pid,
        ('X', _) => LogPart::End,
        _ => return None,
    })
}

/// Returns the variable a request header comes in (RFC 3875, sections 4.1.2, 4.1.3 and 4.1.18).
fn variable_of(header: &str) -> String {
    let name = header.to_ascii_uppercase().replace('-', "_");
    match name.as_str() {
        "CONTENT_TYPE" | "CONTENT_LENGTH" => name,
        _ => format!("HTTP_{name}"),
    }
}

/// A format of the access log that cannot be understood. Places count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessLogFormatError {
    /// A directive that there is not.
    #[error("`{directive}` at character {at} is no directive of an access log's format")]
    Unknown {
        /// The directive.
        directive: String,
        /// Where its `%` is.
        at: usize,
    },
    /// A directive whose letter is missing.
    #[error("the directive that begins at character {at} has no end")]
    Unfinished {
        /// Where its `%` is.
        at: usize,
    },
    /// A text without any directive: rather a misspelt name than a format.
    #[error("`{text}` is neither the name of an access log's format nor a format string")]
    NoDirective {
        /// The text.
        text: String,
    },
    /// A control character: a line is one line.
    #[error("character {at} of the access log's format is a control character")]
    Control {
        /// Where it is.
        at: usize,
    },
    /// A backslash, which would stand in each line as it is.
    #[error("character {at} of the access log's format is a backslash")]
    Backslash {
        /// Where it is.
        at: usize,
    },
}

impl Cure for AccessLogFormatError {
    fn cure(&self) -> String {
        match self {
            Self::Unknown { .. } | Self::Unfinished { .. } => {
                "use %h %l %u %t %r %s %b %B %D %T %{ms}T %m %U %q %H %v %p %P %X, %{NAME}i for a request header, \
                 %{NAME}e for a variable, and %% for a percent sign"
            }
            Self::NoDirective { .. } => {
                "give common, combined, json, or a format string such as `%h %t \"%r\" %s %b`"
            }
            Self::Control { .. } => "leave it out: a request is one line",
            Self::Backslash { .. } => {
                "write the character itself: a format string has no escapes"
            }
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<LogPart> {
        text.parse::<FormatString>().unwrap().parts
    }

    #[test]
    fn a_format_is_a_name_or_a_string_of_directives() {
        for text in ["common", "combined", "json", "%h %>s 100%%"] {
            let format: AccessLogFormat = text.parse().unwrap();
            assert_eq!(format.to_string(), text);
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(
                serde_json::from_str::<AccessLogFormat>(&json).unwrap(),
                format
            );
        }
        assert_eq!(
            parts("%h %>s, %<s %{X-Real-Ip}i%{content-type}i%{HTTPS}e %{ms}T %%%T%%"),
            [
                LogPart::Address,
                LogPart::Text(" ".into()),
                LogPart::Status,
                LogPart::Text(", ".into()),
                LogPart::Status,
                LogPart::Text(" ".into()),
                LogPart::Variable("HTTP_X_REAL_IP".into()),
                LogPart::Variable("CONTENT_TYPE".into()),
                LogPart::Variable("HTTPS".into()),
                LogPart::Text(" ".into()),
                LogPart::Milliseconds,
                LogPart::Text(" %".into()),
                LogPart::Seconds,
                LogPart::Text("%".into()),
            ]
        );
    }

    #[test]
    fn the_well_known_formats_parse() {
        assert_eq!(parts(AccessLogFormat::COMMON).len(), 13);
        assert_eq!(parts(AccessLogFormat::COMBINED).len(), 18);
    }

    #[test]
    fn a_mistake_names_the_directive_and_its_place() {
        for (text, said) in [
            ("%h %Z", "`%Z` at character 4 "),
            ("ü %{Server}o", "`%{Server}o` at character 3 "),
            ("%{x}h", "`%{x}h` at character 1 "),
            ("%{}i", "`%{}i` at character 1 "),
            ("%i", "`%i` at character 1 "),
            ("%{m}T", "`%{m}T` at character 1 "),
            ("%400s", "`%4` at character 1 "),
            ("%h %", "begins at character 4 "),
            ("%h %{Referer", "begins at character 4 "),
            ("combind", "`combind` is neither"),
            ("", "`` is neither"),
            ("%h\n%r", "character 3 of"),
            (
                "\\\"%r\\\"",
                "character 1 of the access log's format is a backslash",
            ),
        ] {
            let error = text.parse::<AccessLogFormat>().unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
            assert!(!error.cure().is_empty());
        }
    }
}
