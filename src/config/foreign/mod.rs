//! The options of other servers, and what each is here. One table serves the mistakes of the command line, of
//! spile.toml and of variables, and the pages in `docs/` on moving from those servers.
//!
//! # Layout
//!
//! - `row`: an option of another server, and its place here.
//! - `gunicorn`, `uwsgi`, `uvicorn`, `granian`: the table, a server a file.
//! - `files`: their configuration files.
//! - `pages`: a test holds the pages equal to the table.

use std::collections::BTreeMap;

use super::options;
use row::{Here, Row, Section};

pub(super) mod files;
mod granian;
mod gunicorn;
#[cfg(test)]
mod pages;
mod row;
mod uvicorn;
mod uwsgi;

/// A server whose options people write by habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Gunicorn,
    Uwsgi,
    Uvicorn,
    Granian,
}

impl Program {
    const ALL: [Self; 4] = [Self::Gunicorn, Self::Uwsgi, Self::Uvicorn, Self::Granian];

    fn name(self) -> &'static str {
        match self {
            Self::Gunicorn => "gunicorn",
            Self::Uwsgi => "uWSGI",
            Self::Uvicorn => "uvicorn",
            Self::Granian => "granian",
        }
    }

    fn sections(self) -> &'static [Section] {
        match self {
            Self::Gunicorn => gunicorn::SECTIONS,
            Self::Uwsgi => uwsgi::SECTIONS,
            Self::Uvicorn => uvicorn::SECTIONS,
            Self::Granian => granian::SECTIONS,
        }
    }

    fn rows(self) -> impl Iterator<Item = &'static Row> {
        self.sections().iter().flat_map(|section| section.rows)
    }
}

/// Where an option was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
pub(crate) enum Form {
    /// After `--`, or one letter after `-`.
    CommandLine,
    /// As a key of the file.
    Key,
    /// As a variable, after `SPILE_`.
    Variable,
}

impl Form {
    /// An option of spile's in this form.
    fn of(self, key: &str) -> String {
        match (self, options::find(key)) {
            (Self::CommandLine, _) if key == "app" => {
                "APP (the argument without dashes)".to_owned()
            }
            (Self::CommandLine, _) => format!("--{key}"),
            (Self::Key, _) => format!("`{key}`"),
            (Self::Variable, option) => option.map_or(key, |it| it.variable).to_owned(),
        }
    }
}

/// What the option `name` of other servers is here: an answer for each way they mean it. Underscores count as dashes,
/// and capitals as small letters. A variable gets one only where an option of spile's was meant: others may be the
/// application's own.
pub(crate) fn answers(name: &str, form: Form) -> Vec<String> {
    let name = name.replace('_', "-").to_lowercase();
    let is_it = |row: &Row| {
        let mut names = row.names.iter().chain(row.settings);
        let is_named = names.any(|it| it.replace('_', "-") == name);
        is_named && (form != Form::Variable || matches!(row.here, Here::Options(_)))
    };
    let shown = match form {
        Form::CommandLine => format!("--{name}"),
        Form::Key | Form::Variable => format!("`{name}`"),
    };
    said(&shown, form, is_it)
}

/// Does the same for an option that is written as a letter.
#[cfg(feature = "cli")]
pub(crate) fn answers_to_letter(letter: char) -> Vec<String> {
    let shown = format!("-{letter}");
    said(&shown, Form::CommandLine, |row| {
        row.letters.contains(letter)
    })
}

fn said(shown: &str, form: Form, is_it: impl Fn(&Row) -> bool) -> Vec<String> {
    let mut servers: BTreeMap<(Here, &str), Vec<Program>> = BTreeMap::new();
    for program in Program::ALL {
        for row in program.rows().filter(|row| is_it(row)) {
            let same = servers.entry((row.here, row.note)).or_default();
            same.push(program);
        }
    }
    let mut answers: Vec<_> = servers.into_iter().collect();
    answers.sort_by_key(|(_, programs)| programs.first().copied());
    let answer = |((here, note), programs): ((Here, &str), Vec<Program>)| {
        let whose: Vec<_> = programs
            .iter()
            .map(|it| format!("{}'s", it.name()))
            .collect();
        let what = format!("{} {shown}", whose.join(" and "));
        let note = if note.is_empty() {
            String::new()
        } else {
            format!(": {note}")
        };
        match here {
            Here::Options(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| form.of(key)).collect();
                format!("{what} is {} here{note}", keys.join(" and "))
            }
            Here::Other(other) => format!("{what} is {other} here{note}"),
            Here::Always => format!("leave it out: {what} is what spile always does{note}"),
            Here::No => format!("leave it out: {what} has no counterpart here{note}"),
        }
    };
    answers.into_iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_answer_names_our_option_in_the_form_it_was_written_in() {
        let said = answers("timeout", Form::CommandLine);
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with("gunicorn's --timeout is --request-timeout here: "),
            "{said:?}"
        );
        let said = answers("worker_connections", Form::Key);
        assert!(
            said[0].starts_with("gunicorn's `worker-connections` is `max-in-flight` here"),
            "{said:?}"
        );
        let said = answers("PROCESSES", Form::Variable);
        assert_eq!(said, ["uWSGI's `processes` is SPILE_WORKERS here"]);
        assert_eq!(answers("MASTER", Form::Variable), [""; 0]);
        let said = answers("host", Form::CommandLine);
        assert!(
            said[0].starts_with("uvicorn's and granian's --host is --socket here"),
            "{said:?}"
        );
        assert_eq!(answers("nobody-has-this", Form::Key), [""; 0]);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_letter_may_mean_something_to_several() {
        let said = answers_to_letter('b');
        assert!(
            said[0].starts_with("gunicorn's -b is --socket here"),
            "{said:?}"
        );
        assert!(
            said[1].contains("uWSGI's -b is what spile always does"),
            "{said:?}"
        );
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn the_table_names_options_that_there_are() {
        for program in Program::ALL {
            let mut names = BTreeSet::new();
            for row in program.rows() {
                if let Here::Options(keys) = row.here {
                    for key in keys {
                        assert!(options::find(key).is_some(), "{key}, of {row:?}");
                    }
                }
                for word in row
                    .note
                    .split(|it: char| !(it.is_alphanumeric() || it == '-'))
                {
                    if let Some(key) = word.strip_prefix("--").filter(|key| !key.is_empty()) {
                        assert!(options::find(key).is_some(), "--{key}, of {row:?}");
                    }
                }
                assert!(!row.note.ends_with('.'), "{row:?}");
                if row.here == Here::No {
                    assert!(!row.note.is_empty(), "no cure in {row:?}");
                }
                let others = row.settings.iter().filter(|it| !row.names.contains(it));
                for name in row.names.iter().chain(others) {
                    assert!(names.insert(*name), "{name} twice, of {}", program.name());
                }
            }
        }
    }

    /// `gunicorn.txt` has a line for each setting of gunicorn 27.0: its name, and its options. It comes of
    ///
    /// ```python
    /// from gunicorn.config import KNOWN_SETTINGS
    /// for it in KNOWN_SETTINGS: print(it.name, *it.cli or ())
    /// ```
    #[test]
    fn every_option_of_gunicorn_is_in_the_table() {
        let mut expected = BTreeSet::new();
        for line in include_str!("gunicorn.txt").lines() {
            let mut names = line.split_whitespace();
            expected.extend(names.next().map(|setting| setting.replace('_', "-")));
            // It is written with an underscore there.
            expected.extend(names.map(|option| option.replace('_', "-")));
        }
        let mut found = BTreeSet::new();
        for row in Program::Gunicorn.rows() {
            let names = row
                .names
                .iter()
                .map(|name| format!("--{}", name.replace('_', "-")));
            let letters = row.letters.chars().map(|letter| format!("-{letter}"));
            let settings = match row.settings {
                [] => row.names,
                settings => settings,
            };
            let settings = settings.iter().map(|name| name.replace('_', "-"));
            found.extend(names.chain(letters).chain(settings));
        }
        let differ: Vec<_> = found.symmetric_difference(&expected).collect();
        assert_eq!(differ, [""; 0]);
    }
}
