//! The options' values as they were given, parsed one by one; where each was written, and what is wrong with it.

use std::path::Path;

use super::foreign::files;
use super::loaded::{Loaded, Origins, Sources};
use super::{Config, Cure, Layer, Mistake};
use crate::plain::plain;

/// Parses what the layers hold.
pub(super) struct Reader {
    values: Layer,
    pub(super) origins: Origins,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) doubts: Vec<Mistake>,
}

impl Reader {
    /// Lays the layers over one another, with the file that `--config` names below the others.
    pub(super) fn new(sources: Sources) -> Self {
        let values = sources.command_line.over(sources.environment);
        let mut values = with_file(values, &sources.directory);
        let mistakes = std::mem::take(&mut values.mistakes);
        let doubts = std::mem::take(&mut values.doubts);
        let named = values.get("config").first();
        let file = named.map(|named| sources.directory.join(&named.text));
        Self {
            values,
            origins: Origins {
                file,
                ..Origins::default()
            },
            mistakes,
            doubts,
        }
    }

    pub(super) fn loaded(self, config: Config) -> Loaded {
        Loaded {
            config,
            origins: self.origins,
            mistakes: self.mistakes,
            doubts: self.doubts,
        }
    }

    /// Tells whether an option was given, be it with a value that is a mistake.
    pub(super) fn is_given(&self, key: &str) -> bool {
        !self.values.get(key).is_empty()
    }

    /// Sets a field, if its option was given.
    pub(super) fn set<T, E: Cure>(
        &mut self,
        field: &mut T,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) {
        if let Some(value) = self.one(key, parse) {
            *field = value;
        }
    }

    /// An option's value, if it was given without a mistake.
    pub(super) fn one<T, E: Cure>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.many(key, parse).pop()
    }

    /// Returns the values of an option that repeats, as they were written.
    pub(super) fn many<T, E: Cure>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for given in self.values.get(key) {
            let place = given.place.clone();
            // No path, name or variable of the system can hold it.
            if given.text.contains('\0') {
                let (what, cure) = (
                    "the value has a NUL character".to_owned(),
                    "leave it out".to_owned(),
                );
                self.mistakes.push(Mistake { place, what, cure });
                continue;
            }
            match parse(&given.text) {
                Ok(value) => {
                    parsed.push(value);
                    self.origins.places.entry(key).or_default().push(place);
                }
                Err(error) => self.mistakes.push(Mistake::at(place, &error)),
            }
        }
        parsed
    }
}

fn with_file(values: Layer, directory: &Path) -> Layer {
    let Some(named) = values.get("config").first().cloned() else {
        return values;
    };
    let file = Path::new(&named.text);
    let (what, cure) = match std::fs::read_to_string(directory.join(file)) {
        Ok(text) => match files::recognise(file, &text) {
            Some((what, cure)) => (format!("`{}` {what}", named.text), cure),
            None => return values.over(Layer::file(file, &text)),
        },
        Err(error) => (
            format!("cannot read `{}`: {}", named.text, plain(&error)),
            "name a TOML file that this user may read",
        ),
    };
    let mut values = values;
    values.mistakes.push(Mistake {
        place: named.place,
        what,
        cure: cure.to_owned(),
    });
    values
}
