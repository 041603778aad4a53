//! What options are loaded from, and what comes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Config, Layer, Mistake, Place};

/// Where the options come from, and what they are relative to.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The command line's options.
    pub command_line: Layer,
    /// The environment's.
    pub environment: Layer,
    /// What relative paths mean, wherever they are written: the directory spile was started in.
    pub directory: PathBuf,
    /// The interpreter that runs spile, if one does.
    pub host_python: Option<PathBuf>,
}

/// A configuration, where its values came from, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; what could not be understood is left out of it.
    pub config: Config,
    /// Where its values came from.
    pub origins: Origins,
    /// Every mistake that shows without looking at the machine.
    pub mistakes: Vec<Mistake>,
    /// What may be a mistake, and is no reason not to serve.
    pub doubts: Vec<Mistake>,
}

impl Loaded {
    /// Returns the configuration, if it is without mistakes.
    ///
    /// # Errors
    ///
    /// All the mistakes.
    pub fn into_result(self) -> Result<Config, Vec<Mistake>> {
        if self.mistakes.is_empty() {
            Ok(self.config)
        } else {
            Err(self.mistakes)
        }
    }
}

/// Where the values of a [`Config`] were written.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    pub(super) places: BTreeMap<&'static str, Vec<Place>>,
    pub(super) mounts: Vec<Place>,
    pub(super) file: Option<PathBuf>,
}

impl Origins {
    /// Returns the place of an option's value; `index` counts those of an option that repeats. The option itself, if
    /// its value is the default.
    pub fn of(&self, key: &'static str, index: usize) -> Place {
        let place = self.places.get(key).and_then(|places| places.get(index));
        place.cloned().unwrap_or(Place::CommandLine(key))
    }

    /// Returns the place of `config.mounts[index]`, which APP or a mount may have given.
    pub fn mount(&self, index: usize) -> Place {
        self.mounts
            .get(index)
            .cloned()
            .unwrap_or(Place::CommandLine("app"))
    }

    /// Returns the configuration file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Tells whether the option was given at all.
    pub fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }
}
