//! The parser's errors, with what the options of other servers are called here.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::{
    foreign::{self, Form},
    options,
};

/// Adds to the parser's error what was probably meant. `args` is the whole command line, the program's name first.
pub(super) fn add(mut error: clap::Error, args: &[OsString]) -> clap::Error {
    let words: Vec<_> = args.iter().skip(1).map(|it| it.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let Some((&first, rest)) = words.split_first() else {
        return error;
    };
    let is_serve = matches!(first, "serve" | "check");
    let tips = match error.kind() {
        ErrorKind::UnknownArgument if is_serve => foreign_options(rest),
        ErrorKind::UnknownArgument if first.starts_with('-') => {
            let mut tips = vec!["a command comes first, as in 'spile serve APP …'".to_owned()];
            tips.extend(foreign_options(&words));
            tips
        }
        ErrorKind::InvalidSubcommand => {
            let is_application = first.contains([':', '.', '/']);
            if is_application {
                error.remove(ContextKind::SuggestedSubcommand);
            }
            if error.get(ContextKind::SuggestedSubcommand).is_some() {
                return error;
            }
            vec![format!(
                "a command comes first, as in 'spile serve {}'",
                words.join(" ")
            )]
        }
        // Elsewhere it is on or off, and takes no value.
        ErrorKind::InvalidValue if is_serve => {
            let option = text(&error, ContextKind::InvalidArg);
            let has_none = text(&error, ContextKind::InvalidValue).is_empty();
            let option = option.split_whitespace().next().filter(|_| has_none);
            option.map(answers).unwrap_or_default()
        }
        _ => return error,
    };
    if tips.is_empty() {
        return error;
    }
    let unknown = text(&error, ContextKind::InvalidArg);
    let mut all = Vec::new();
    if answers(&unknown).is_empty() {
        if let Some(ContextValue::StyledStrs(own)) = error.remove(ContextKind::Suggested) {
            all = own;
        }
    } else {
        // It looks like another option only by its letters.
        error.remove(ContextKind::SuggestedArg);
    }
    all.extend(tips.into_iter().map(StyledStr::from));
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(all));
    error
}

/// What all the options of other servers among these words are here: the parser stops at the first.
fn foreign_options(words: &[&str]) -> Vec<String> {
    let mut tips = Vec::new();
    for word in words.iter().take_while(|word| **word != "--") {
        let name = word.split('=').next().unwrap_or_default();
        let is_ours = match (name.strip_prefix("--"), name.chars().nth(1)) {
            (Some(name), _) => options::find(name).is_some(),
            (None, letter) => options::ALL.iter().any(|option| option.short == letter),
        };
        if !is_ours {
            for tip in answers(name) {
                if !tips.contains(&tip) {
                    tips.push(tip);
                }
            }
        }
    }
    tips
}

/// What an option of another server is here; of a letter with more behind it, the letter.
fn answers(word: &str) -> Vec<String> {
    match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(name), _) => foreign::answers(name, Form::CommandLine),
        (None, Some(letters)) => {
            let letter = letters.chars().next();
            letter.map(foreign::answers_to_letter).unwrap_or_default()
        }
        (None, None) => Vec::new(),
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Cli;
    use super::*;

    /// The tips, a line each.
    fn tips(args: &[&str]) -> Vec<String> {
        let args: Vec<OsString> = ["spile"].iter().chain(args).map(OsString::from).collect();
        let error = Cli::try_parse_from(&args).unwrap_err();
        let said = add(error, &args).to_string();
        let tips = said
            .lines()
            .filter_map(|line| line.trim().strip_prefix("tip: "));
        tips.map(str::to_owned).collect()
    }

    #[test]
    fn the_table_comes_before_the_parsers_guess() {
        let said = tips(&["serve", "app:app", "--timeout", "30"]);
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with("gunicorn's --timeout is --request-timeout here"),
            "{said:?}"
        );
    }

    #[test]
    fn all_of_them_are_told_at_once_and_ours_are_not() {
        let said = tips(&[
            "check",
            "-b",
            ":8000",
            "-w4",
            "--threads=2",
            "-kgevent",
            "--pid=x",
            "--",
            "--uid",
        ]);
        let begin = [
            "gunicorn's -b is",
            "leave it out: uWSGI's -b",
            "leave it out: gunicorn's -k",
            "gunicorn's --pid is",
        ];
        assert_eq!(said.len(), begin.len(), "{said:?}");
        for (tip, begin) in said.iter().zip(begin) {
            assert!(tip.starts_with(begin), "{tip}");
        }
    }

    #[test]
    fn a_misspelling_of_ours_stays_the_parsers() {
        let said = tips(&["serve", "--sockett", "x"]);
        assert_eq!(said, ["a similar argument exists: '--socket'"]);
    }

    #[test]
    fn a_command_comes_first() {
        assert_eq!(
            tips(&["app:app", "-w", "2"]),
            ["a command comes first, as in 'spile serve app:app -w 2'"]
        );
        let said = tips(&["--bind", ":8000", "app:app"]);
        assert_eq!(said[0], "a command comes first, as in 'spile serve APP …'");
        assert!(
            said[1].starts_with("gunicorn's --bind is --socket here"),
            "{said:?}"
        );
        assert_eq!(tips(&["serv"]), ["a similar subcommand exists: 'serve'"]);
    }

    #[test]
    fn a_switch_of_others_may_take_a_value_here() {
        let said = tips(&["serve", "app:app", "--access-log"]);
        assert!(
            said[0].contains("`--access-log -` is standard output"),
            "{said:?}"
        );
    }
}
