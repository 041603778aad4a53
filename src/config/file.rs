use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::foreign::{self, Form};
use super::options::{self, Opt};
use super::{Given, Layer, Mistake, Place};

impl Layer {
    /// Options from a TOML file's text; `file` is its name for the mistakes.
    pub fn file(file: &Path, text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader {
            file,
            text,
            layer: Self::default(),
        };
        let mut broken = Vec::new();
        for error in errors {
            let place = reader.place(error.span().map(|span| span.start), None);
            broken.push(place.clone());
            let message = error.message().replace('\n', ", ");
            let cure = reader.cure_of_syntax(error.span().map(|span| span.start));
            reader.mistake(place, message, cure);
        }
        // A map forgets the order of the file, and mistakes are easier to follow in it.
        let mut entries: Vec<_> = table.into_inner().into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in &entries {
            // What the parser made up to go on is nobody's value.
            if broken.contains(&reader.place(Some(key.span().start), None)) {
                continue;
            }
            reader.entry(key.get_ref(), key.span().start, value);
        }
        reader.layer
    }
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    layer: Layer,
}

impl Reader<'_> {
    fn entry(&mut self, key: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let place = self.place(Some(at), Some(key));
        let Some(option) = options::find(key) else {
            return self.mistake(place, format!("`{key}` is not an option"), suggestion(key));
        };
        if option.key == "config" {
            let what = "a configuration file cannot name another".to_owned();
            return self.mistake(place, what, "name the file with --config or SPILE_CONFIG");
        }
        match value.get_ref() {
            DeValue::Array(items) if option.repeats => {
                for item in items {
                    let place = self.place(Some(item.span().start), Some(key));
                    self.scalar(option, place, "", item.get_ref());
                }
            }
            DeValue::Table(table) if matches!(option.key, "mount" | "env") => {
                let mut entries: Vec<_> = table.iter().collect();
                entries.sort_by_key(|(name, _)| name.span().start);
                for (name, item) in entries {
                    let name_here = format!("{key}.{}", name.get_ref());
                    let place = self.place(Some(name.span().start), Some(&name_here));
                    self.scalar(
                        option,
                        place,
                        &format!("{}=", name.get_ref()),
                        item.get_ref(),
                    );
                }
            }
            value => self.scalar(option, place, "", value),
        }
    }

    fn scalar(&mut self, option: &'static Opt, place: Place, before: &str, value: &DeValue<'_>) {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            // A mode is octal whether or not it is written 0o660.
            DeValue::Integer(number) if number.radix() == 10 || option.value == "MODE" => {
                number.as_str().to_owned()
            }
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(value) => value.to_string(),
                    Err(_) => number.as_str().to_owned(),
                }
            }
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(value) => value.to_string(),
            DeValue::Array(_) | DeValue::Table(_) => {
                let cure = if option.repeats {
                    "give a string, or an array of strings"
                } else {
                    "give one value; this option does not repeat"
                };
                let what = format!("a TOML {} cannot stand here", value.type_str());
                return self.mistake(place, what, cure);
            }
        };
        self.layer.add(
            option,
            Given {
                text: format!("{before}{text}"),
                place,
            },
        );
    }

    /// What to do where the text is no TOML.
    fn cure_of_syntax(&self, at: Option<usize>) -> &'static str {
        let line = at.and_then(|at| {
            let before = self.text.get(..at)?;
            self.text.get(before.rfind('\n').map_or(0, |end| end + 1)..)
        });
        let value = line.and_then(|line| line.lines().next()?.split_once('='));
        let digits = value.and_then(|(_, value)| value.trim_start().strip_prefix('0'));
        if digits.is_some_and(|digits| digits.starts_with(|it: char| it.is_ascii_digit())) {
            return "in TOML no number begins with 0: put quotes around it, as in \"077\"";
        }
        "correct the TOML: https://toml.io shows how it is written"
    }

    fn place(&self, at: Option<usize>, key: Option<&str>) -> Place {
        let line = at
            .and_then(|at| self.text.get(..at))
            .map(|before| before.matches('\n').count() + 1);
        Place::File {
            file: self.file.to_owned(),
            line,
            key: key.map(str::to_owned),
        }
    }

    fn mistake(&mut self, place: Place, what: String, cure: impl Into<String>) {
        self.layer.mistakes.push(Mistake {
            place,
            what,
            cure: cure.into(),
        });
    }
}

/// What to do about an unknown key.
fn suggestion(key: &str) -> String {
    let key = key.trim_start_matches('-');
    let answers = foreign::answers(key, Form::Key);
    if !answers.is_empty() {
        return answers.join("; ");
    }
    match options::near(key) {
        Some(near) => format!("did you mean `{}`?", near.key),
        None => "the keys are the long options of `spile serve --help`, all at the top level of the file".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Layer {
        Layer::file(Path::new("spile.toml"), text)
    }

    fn texts<'a>(layer: &'a Layer, key: &str) -> Vec<&'a str> {
        layer
            .get(key)
            .iter()
            .map(|given| given.text.as_str())
            .collect()
    }

    #[test]
    fn keys_are_options_and_arrays_repeat() {
        let layer = read(
            "app = 'shop:app'\nsocket = ['/a.sock', '127.0.0.1:0']\nworkers = 4\nsocket-mode = 0o660\n\
             read-timeout = 2.5\nbacklog = 0x10\npythonpath = 'lib'\n\
             [mount]\n'/a' = 'echo://'\n\"/b\" = 'hello://'\n[env]\nDEBUG = 1\n",
        );
        assert_eq!(layer.mistakes, []);
        for (key, expected) in [
            ("app", &["shop:app"][..]),
            ("socket", &["/a.sock", "127.0.0.1:0"]),
            ("workers", &["4"]),
            ("socket-mode", &["660"]),
            ("read-timeout", &["2.5"]),
            ("backlog", &["16"]),
            ("pythonpath", &["lib"]),
            ("mount", &["/a=echo://", "/b=hello://"]),
            ("env", &["DEBUG=1"]),
        ] {
            assert_eq!(texts(&layer, key), expected, "{key}");
        }
        assert_eq!(
            layer.get("workers")[0].place.to_string(),
            "spile.toml, line 3, workers"
        );
        assert_eq!(
            layer.get("mount")[1].place.to_string(),
            "spile.toml, line 10, mount./b"
        );
    }

    #[test]
    fn every_mistake_is_found_and_has_its_line() {
        let layer = read("worker = 4\nthreads = [1]\nconfig = 'x'\n\n[server]\nport = 1\n");
        let said: Vec<_> = layer
            .mistakes
            .iter()
            .map(|m| (m.to_string(), m.cure.as_str()))
            .collect();
        let elsewhere = "the keys are the long options of `spile serve --help`, all at the top level of the file";
        let expected = [
            (
                "spile.toml, line 1, worker: `worker` is not an option",
                "did you mean `workers`?",
            ),
            (
                "spile.toml, line 2, threads: a TOML array cannot stand here",
                "give one value; this option does not repeat",
            ),
            (
                "spile.toml, line 3, config: a configuration file cannot name another",
                "name the file with --config or SPILE_CONFIG",
            ),
            (
                "spile.toml, line 5, server: `server` is not an option",
                elsewhere,
            ),
        ];
        assert_eq!(said, expected.map(|(what, cure)| (what.to_owned(), cure)));
    }

    #[test]
    fn broken_toml_does_not_hide_the_rest() {
        let layer = read("workers = \nthreads = 2\n");
        assert_eq!(layer.mistakes.len(), 1);
        assert_eq!(layer.mistakes[0].place.to_string(), "spile.toml, line 1");
        assert_eq!(texts(&layer, "threads"), ["2"]);
    }

    #[test]
    fn a_mode_without_quotes_is_told_of_them() {
        for text in ["workers = 2\numask = 077\nthreads = 2\n", "umask=077"] {
            let layer = read(text);
            let cures: Vec<_> = layer.mistakes.iter().map(|it| it.cure.as_str()).collect();
            assert!(!cures.is_empty());
            assert!(cures.iter().all(|it| it.contains("\"077\"")), "{cures:?}");
        }
    }

    #[test]
    fn near_misses_are_suggested() {
        assert_eq!(suggestion("socket_mode"), "did you mean `socket-mode`?");
        assert_eq!(suggestion("thread"), "did you mean `threads`?");
        assert_eq!(suggestion("acces-log"), "did you mean `access-log`?");
        assert!(suggestion("colour").starts_with("the keys are"));
    }
}
