//! Several values in one text, as a variable of the environment holds those of an option that repeats.

use super::options::Opt;

/// Splits at line ends if there are any, else at commas. What is empty is left out, and `\,` is a comma.
///
/// Some values have commas of their own: those in parentheses are an application's arguments, and what follows a
/// comma in `--env` without a `NAME=` belongs to the value before.
pub(super) fn split(option: &Opt, text: &str) -> Vec<String> {
    let text = text.trim();
    if text.contains('\n') {
        return kept(text.lines());
    }
    let pieces = match option.key {
        "mount" => at_commas(text, true).unwrap_or_default(),
        _ => Vec::new(),
    };
    // Without a closing parenthesis there are no arguments.
    let pieces = if pieces.is_empty() {
        at_commas(text, false).unwrap_or_default()
    } else {
        pieces
    };
    match option.key {
        "env" => kept(variables(pieces).iter().map(String::as_str)),
        _ => kept(pieces.iter().map(String::as_str)),
    }
}

fn kept<'a>(pieces: impl Iterator<Item = &'a str>) -> Vec<String> {
    let pieces = pieces.map(str::trim).filter(|piece| !piece.is_empty());
    pieces.map(str::to_owned).collect()
}

/// Returns the pieces between commas, with `arguments` those outside parentheses; `None` if one of these is never
/// closed.
fn at_commas(text: &str, arguments: bool) -> Option<Vec<String>> {
    let mut pieces = vec![String::new()];
    let mut depth = 0_usize;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && depth == 0 {
            pieces.push(String::new());
            continue;
        }
        let piece = pieces.last_mut()?;
        if letter == '\\' && depth == 0 && letters.next_if_eq(&',').is_some() {
            piece.push(',');
            continue;
        }
        piece.push(letter);
        match (quote, letter) {
            (Some(_), '\\') => piece.extend(letters.next()),
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') if depth > 0 => quote = Some(letter),
            (None, '(') if arguments => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (depth == 0).then_some(pieces)
}

/// Puts together what belongs to one variable.
fn variables(pieces: Vec<String>) -> Vec<String> {
    let mut variables: Vec<String> = Vec::new();
    let count = pieces.len();
    for (index, piece) in pieces.into_iter().enumerate() {
        let is_end = index + 1 == count && piece.trim().is_empty();
        match variables.last_mut() {
            Some(_) if is_end => {}
            Some(before) if !begins_with_name(&piece) => {
                before.push(',');
                before.push_str(&piece);
            }
            _ => variables.push(piece),
        }
    }
    variables
}

/// Tells whether `NAME=` stands first, with a name that a shell takes.
fn begins_with_name(piece: &str) -> bool {
    piece.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim_start();
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || char == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::*;

    fn pieces(key: &str, text: &str) -> Vec<String> {
        split(options::find(key).unwrap(), text)
    }

    #[test]
    fn commas_or_line_ends_separate() {
        assert_eq!(
            pieces("socket", "/a.sock, 127.0.0.1:0,"),
            ["/a.sock", "127.0.0.1:0"]
        );
        assert_eq!(
            pieces("socket", "/a,b.sock\n /c.sock\n\n"),
            ["/a,b.sock", "/c.sock"]
        );
        assert_eq!(
            pieces("warmup", "/a?b=1\\,2,/c\\d\n"),
            ["/a?b=1,2", "/c\\d"]
        );
        assert_eq!(pieces("socket", " , "), [""; 0]);
    }

    #[test]
    fn what_has_no_name_belongs_to_the_variable_before() {
        let text = "ALLOWED=a.example, b.example,DEBUG=1,";
        assert_eq!(
            pieces("env", text),
            ["ALLOWED=a.example, b.example", "DEBUG=1"]
        );
        assert_eq!(pieces("env", "A=1,B=,C=x=y"), ["A=1", "B=", "C=x=y"]);
        assert_eq!(pieces("env", "A=/?x=1\\,b=2,1=2"), ["A=/?x=1,b=2,1=2"]);
        assert_eq!(pieces("env", "A=1,,2"), ["A=1,,2"]);
        assert_eq!(pieces("env", "SECRET,A=1"), ["SECRET", "A=1"]);
        assert_eq!(pieces("env", "A=1,2\nB=3"), ["A=1,2", "B=3"]);
    }

    #[test]
    fn arguments_stay_together() {
        let text = r#"/a=pkg:app("x,)", debug=True),/b=m:f(g(1, 2), 'it\'s, so')"#;
        assert_eq!(
            pieces("mount", text),
            [
                r#"/a=pkg:app("x,)", debug=True)"#,
                r#"/b=m:f(g(1, 2), 'it\'s, so')"#
            ]
        );
        assert_eq!(pieces("mount", "/a=x(,/b=y"), ["/a=x(", "/b=y"]);
        assert_eq!(
            pieces("mount", "/a=x),/b=it's,/c=y"),
            ["/a=x)", "/b=it's", "/c=y"]
        );
    }
}
