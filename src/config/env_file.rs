//! A file of variables, for `--env-file`.
//!
//! Lines are `NAME=VALUE`, as in systemd's `EnvironmentFile=` and in the `.env` files of dotenv. Nothing is expanded.
//! What those read differently from one another is a mistake here, so that no value is cut or changed unseen. None of
//! the crates for such files will do: they expand `$NAME`, and their errors show the line, which may be a secret.

use std::fs::File;
use std::io::{self, Read as _};
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

use super::Cure;

/// A variable, or what is wrong, with the line it begins on.
pub(super) type Line = (usize, Result<(String, String), EnvFileError>);

/// More than a process can be given.
const MOST: u64 = 1 << 20;

/// Returns the text of such a file, which is not what an endless device would give.
///
/// # Errors
/// It cannot be read, is 1 MiB long or longer, or is not UTF-8.
pub(super) fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MOST);
    file.read_to_string(&mut text)?;
    if file.limit() == 0 {
        return Err(io::Error::other("it is longer than a process can be given"));
    }
    Ok(text)
}

/// Reads the lines of such a file in their order.
pub(super) fn read(text: &str) -> Vec<Line> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let mut text = Text {
        rest: text.chars().peekable(),
        line: 1,
    };
    let mut lines = Vec::new();
    while let Some(first) = text.next_if(|_| true) {
        match first {
            '#' | ';' => drop(text.rest_of_line()),
            _ if first.is_whitespace() => {}
            _ => {
                let line = text.line;
                let variable = text.variable(first);
                if variable.is_err() {
                    text.rest_of_line();
                }
                lines.push((line, variable));
            }
        }
    }
    lines
}

/// What is still to be read, and where.
struct Text<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Text<'_> {
    fn next_if(&mut self, is_wanted: impl Fn(char) -> bool) -> Option<char> {
        let next = self.rest.next_if(|next| is_wanted(*next));
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn rest_of_line(&mut self) -> String {
        std::iter::from_fn(|| self.next_if(|next| next != '\n')).collect()
    }

    fn blanks(&mut self) -> bool {
        let is_blank = |next: char| next.is_whitespace() && next != '\n';
        let blanks = std::iter::from_fn(|| self.next_if(is_blank));
        blanks.count() > 0
    }

    /// One variable, from its first letter to the end of its line.
    fn variable(&mut self, first: char) -> Result<(String, String), EnvFileError> {
        if first == '=' {
            return Err(EnvFileError::BadName);
        }
        let mut name = String::from(first);
        name.extend(std::iter::from_fn(|| {
            self.next_if(|next| !"=\n".contains(next))
        }));
        if self.next_if(|next| next == '=').is_none() {
            return Err(EnvFileError::NoEquals);
        }
        let written = name.strip_prefix("export ").unwrap_or(&name).trim();
        let name = written.to_owned();
        if !is_name(&name) {
            return Err(EnvFileError::BadName);
        }
        let is_apart = self.blanks();
        let value = match self.next_if(|next| "'\"".contains(next)) {
            Some(quote) => self.quoted(&name, quote)?,
            None => self.plain(&name, is_apart)?,
        };
        if value.contains('\0') {
            return Err(EnvFileError::Nul { name });
        }
        Ok((name, value))
    }

    fn plain(&mut self, name: &str, is_apart: bool) -> Result<String, EnvFileError> {
        let value = self.rest_of_line();
        let value = value.trim_end();
        let name = name.to_owned();
        let is_comment = |(at, _): (usize, &str)| {
            let before = value
                .get(..at)
                .and_then(|before| before.chars().next_back());
            before.map_or(is_apart, char::is_whitespace)
        };
        if value.match_indices('#').any(is_comment) {
            return Err(EnvFileError::Comment { name });
        }
        if value.contains('\\') {
            return Err(EnvFileError::Backslash { name });
        }
        if value.contains("${") {
            return Err(EnvFileError::Expansion { name });
        }
        Ok(value.to_owned())
    }

    /// A value up to its closing quote, which may be some lines below.
    fn quoted(&mut self, name: &str, quote: char) -> Result<String, EnvFileError> {
        let name = name.to_owned();
        let mut value = String::new();
        loop {
            let Some(next) = self.next_if(|_| true) else {
                return Err(EnvFileError::Unclosed { name });
            };
            match next {
                _ if next == quote => break,
                '\\' if quote == '"' => match self.next_if(|_| true) {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    Some(kept @ ('\\' | '"' | '\'' | '$' | '`')) => value.push(kept),
                    // The line goes on.
                    Some('\n') => {}
                    _ => return Err(EnvFileError::Escape { name }),
                },
                '$' if quote == '"' && self.rest.peek() == Some(&'{') => {
                    return Err(EnvFileError::Expansion { name });
                }
                _ => value.push(next),
            }
        }
        let is_apart = self.blanks();
        match self.rest_of_line().chars().next() {
            None => Ok(value),
            Some('#') if is_apart => Ok(value),
            Some(_) => Err(EnvFileError::AfterQuote { name }),
        }
    }
}

/// Tells whether a shell would take the name.
fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|it| it.is_ascii_alphanumeric() || it == '_')
}

/// The reason why a line sets no variable. Values are not shown: they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnvFileError {
    #[error("the line is not NAME=VALUE")]
    NoEquals,
    #[error("what stands before the equals sign is not the name of a variable")]
    BadName,
    #[error("the value of {name} has no closing quote")]
    Unclosed { name: String },
    #[error("the value of {name} goes on after its closing quote")]
    AfterQuote { name: String },
    #[error(
        "in the value of {name}, ` #` begins a comment for some programs and is part of the value for others"
    )]
    Comment { name: String },
    #[error("the value of {name} has a backslash outside quotes, which programs read differently")]
    Backslash { name: String },
    #[error("the value of {name} has a backslash before a letter that it means nothing with")]
    Escape { name: String },
    #[error("the value of {name} has `${{…}}`, and nothing is put in its place")]
    Expansion { name: String },
    #[error("the value of {name} has a NUL character")]
    Nul { name: String },
}

impl Cure for EnvFileError {
    fn cure(&self) -> String {
        match self {
            Self::NoEquals | Self::BadName => {
                "write NAME=VALUE, with letters, digits and _ in the name; a comment begins with #"
            }
            Self::Unclosed { .. } => "close it, or put the value into the other kind of quotes",
            Self::AfterQuote { .. } => "put the whole value into one pair of quotes",
            Self::Comment { .. } => "put the value into quotes, or the comment on a line of its own",
            Self::Backslash { .. } => "put the value into single quotes, which keep it as it is",
            Self::Escape { .. } => {
                r#"double it, or put the value into single quotes; \n, \r, \t, \\, \" and \$ are known in double quotes"#
            }
            Self::Expansion { .. } => {
                "write the whole value out; where it is meant as it stands, put it into single quotes"
            }
            Self::Nul { .. } => "leave it out",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Vec<(String, String)> {
        read(text)
            .into_iter()
            .map(|(line, it)| it.unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect()
    }

    fn values(text: &str) -> Vec<String> {
        good(text).into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn comments_export_and_blanks() {
        let text = "\u{feff}# first\r\n\r\n; second\nexport A=1\r\n  B = two words  \nC=\n_d9=x=y";
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            good(text),
            [
                own("A", "1"),
                own("B", "two words"),
                own("C", ""),
                own("_d9", "x=y")
            ]
        );
        assert_eq!(good("\n# nothing\n"), []);
    }

    #[test]
    fn quotes_keep_what_is_in_them() {
        assert_eq!(
            values(r#"A='a # b\n$c "d"' # comment"#),
            [r#"a # b\n$c "d""#]
        );
        assert_eq!(
            values(r#"A="a # b\n\$c \"d\" \\" "#),
            ["a # b\n$c \"d\" \\"]
        );
        assert_eq!(
            values("A=\"one\ntwo\"\nB='three\nfour'\nC=5"),
            ["one\ntwo", "three\nfour", "5"]
        );
        assert_eq!(values("A=\"one\\\ntwo\""), ["onetwo"]);
        assert_eq!(
            values("A=it's $5 #1".replace(" #", "#").as_str()),
            ["it's $5#1"]
        );
        assert_eq!(values("A=#fff\nB=\"\"\nC=''"), ["#fff", "", ""]);
    }

    #[test]
    fn what_others_read_differently_is_a_mistake_with_its_line() {
        let name = || "A".to_owned();
        for (text, error) in [
            ("A=1\n\nDEBUG\n", EnvFileError::NoEquals),
            ("\n\n1A=1", EnvFileError::BadName),
            ("\n\n=1", EnvFileError::BadName),
            ("\n\nA B=1", EnvFileError::BadName),
            ("\n\nA='1\n2", EnvFileError::Unclosed { name: name() }),
            ("\n\nA='1'2", EnvFileError::AfterQuote { name: name() }),
            ("\n\nA=\"1\"#2", EnvFileError::AfterQuote { name: name() }),
            ("\n\nA=1 # one", EnvFileError::Comment { name: name() }),
            ("\n\nA= # one", EnvFileError::Comment { name: name() }),
            ("\n\nA=a\\nb", EnvFileError::Backslash { name: name() }),
            ("\n\nA=\"a\\qb\"", EnvFileError::Escape { name: name() }),
            ("\n\nA=\"${B}\"", EnvFileError::Expansion { name: name() }),
            ("\n\nA=${B}", EnvFileError::Expansion { name: name() }),
            ("\n\nA=a\0", EnvFileError::Nul { name: name() }),
        ] {
            let found = read(text).into_iter().find(|(_, it)| it.is_err());
            assert_eq!(found, Some((3, Err(error))), "{text:?}");
        }
    }

    #[test]
    fn a_mistake_hides_none_of_the_lines_after_it() {
        let lines: Vec<_> = read("A\nB=1\nC=\"${D}\nE=1\n")
            .into_iter()
            .map(|(line, it)| (line, it.is_ok()))
            .collect();
        assert_eq!(lines, [(1, false), (2, true), (3, false), (4, true)]);
    }
}
