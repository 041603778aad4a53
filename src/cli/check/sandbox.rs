//! The places of `--sandbox`, and what they would give away.

use std::path::Path;

use super::{Report, sources};
use crate::config::{Mistake, Place};
use crate::supervisor::Sandbox;

impl Report {
    /// What the kernel of this machine cannot restrict.
    pub(super) fn gap(&mut self) {
        let sandbox = Sandbox::of(&self.config).map(Sandbox::of_what_is_there);
        let gap = sandbox.and_then(|it| it.run(|| ()).ok()?.1);
        if let Some(gap) = gap {
            self.fact("sandbox", format!("{}; {}", gap.what(), gap.cure()));
        }
    }

    /// Checks the places that may be written to in the sandbox.
    pub(super) fn sandbox(&self) -> Vec<Mistake> {
        let paths = self.config.sandbox_write.iter().enumerate();
        let named = paths.map(|(index, path)| (self.origins.of("sandbox-write", index), path));
        let Some(sandbox) = Sandbox::of(&self.config) else {
            let useless = |(place, _): (Place, _)| Mistake {
                place,
                what: "without --sandbox applications may write anywhere".to_owned(),
                cure: "give --sandbox too, or leave this out".to_owned(),
            };
            return named.map(useless).collect();
        };
        let temporary = Place::Variable("TMPDIR".to_owned());
        let missing = |(place, path): (Place, &Path)| Mistake {
            place,
            what: format!("`{}` does not exist", path.display()),
            cure: "make it before, or name another: what may be written to is decided at the start"
                .to_owned(),
        };
        [(temporary, sandbox.temporary())]
            .into_iter()
            .chain(named.map(|(place, path)| (place, path.as_path())))
            .filter(|(_, path)| !path.exists())
            .map(missing)
            .chain(self.given_away(&sandbox))
            .collect()
    }

    /// Code and configuration that the rule for the access log lets applications rewrite: so they would leave the
    /// sandbox at the next start.
    fn given_away(&self, sandbox: &Sandbox) -> Option<Mistake> {
        let directory = sandbox.log_directory()?;
        let found = sources::below(directory, &self.config, &self.origins);
        if found.is_empty() {
            return None;
        }
        Some(Mistake {
            place: self.origins.of("access-log", 0),
            what: format!(
                "with --sandbox applications may write below `{}`, the access log's directory, and so to {}",
                directory.display(),
                found.join(", ")
            ),
            cure: "give the log a directory of its own, such as /var/log/NAME".to_owned(),
        })
    }
}
