use std::collections::BTreeMap;

use super::options::{self, Opt};
use super::{Mistake, Place};

/// What one source says: values as text, each with its place, and what is wrong with the source itself.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    values: BTreeMap<&'static str, Vec<Given>>,
    pub(super) mistakes: Vec<Mistake>,
    /// What is probably a mistake.
    pub(super) doubts: Vec<Mistake>,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The text.
    pub text: String,
    /// Where it was written.
    pub place: Place,
}

impl Layer {
    /// Options from the command line: the option and its value, in order.
    pub fn command_line(options: impl IntoIterator<Item = (&'static Opt, String)>) -> Self {
        let mut layer = Self::default();
        for (option, text) in options {
            layer.add(
                option,
                Given {
                    text,
                    place: Place::CommandLine(option.key),
                },
            );
        }
        layer
    }

    /// Adds a value; an option that does not repeat keeps the last.
    pub(super) fn add(&mut self, option: &'static Opt, given: Given) {
        let values = self.values.entry(option.key).or_default();
        if !option.repeats {
            values.clear();
        }
        values.push(given);
    }

    /// This layer over another: what it has replaces what is below, option by option.
    pub(super) fn over(mut self, below: Self) -> Self {
        for (key, values) in below.values {
            self.values.entry(key).or_insert(values);
        }
        self.mistakes.splice(0..0, below.mistakes);
        self.doubts.splice(0..0, below.doubts);
        self
    }

    /// Returns the values of an option, or none.
    pub fn get(&self, key: &str) -> &[Given] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns the options that have a value here.
    pub fn keys(&self) -> impl Iterator<Item = &'static Opt> + '_ {
        self.values.keys().filter_map(|key| options::find(key))
    }
}
