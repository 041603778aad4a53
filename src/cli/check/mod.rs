//! `spile check`: what `serve` would run, and every mistake, without running it.

use super::outcome::{Status, refuse};
use crate::{
    config::{AppSpec, Config, Loaded, Mistake, Origins},
    supervisor::Sandbox,
};
use std::io::{self, Write};

mod files;
mod inspect;
mod processes;
mod python;
mod reach;
mod roles;
mod sandbox;
mod sockets;
mod sources;

/// Prints the facts to standard output, then the mistakes to standard error.
pub(super) fn run(loaded: Loaded) -> Status {
    let report = Report::of(loaded);
    let mut out = io::stdout().lock();
    for (name, fact) in &report.facts {
        // Nobody reads on when it fails.
        let _ = writeln!(out, "{name:<12}{fact}");
    }
    let end = match report.mistakes.len() {
        0 => "no mistakes".to_owned(),
        1 => "1 mistake".to_owned(),
        several => format!("{several} mistakes"),
    };
    let _ = writeln!(out, "{:<12}{end}", "found").and_then(|()| out.flush());
    if report.mistakes.is_empty() {
        Status::Success
    } else {
        refuse(&report.mistakes)
    }
}

/// Returns the configuration, if `serve` can begin with it: directories and files are looked at, but no more.
pub(super) fn passed(loaded: Loaded) -> Result<Config, Vec<Mistake>> {
    let mut report = Report::new(loaded);
    report.files();
    report.identity();
    if report.mistakes.is_empty() {
        Ok(report.config)
    } else {
        Err(report.mistakes)
    }
}

/// What would run, and what is wrong with it.
struct Report {
    config: Config,
    origins: Origins,
    facts: Vec<(&'static str, String)>,
    mistakes: Vec<Mistake>,
    doubts: Vec<Mistake>,
}

impl Report {
    fn new(loaded: Loaded) -> Self {
        let Loaded {
            config,
            origins,
            mistakes,
            doubts,
        } = loaded;
        Self {
            config,
            origins,
            facts: Vec::new(),
            mistakes,
            doubts,
        }
    }

    fn of(loaded: Loaded) -> Self {
        let mut report = Self::new(loaded);
        report.fact("spile", env!("CARGO_PKG_VERSION"));
        for doubt in std::mem::take(&mut report.doubts) {
            report.fact("warning", format!("{doubt}; {}", doubt.cure));
        }
        report.sockets();
        report.mounts();
        let asked = report.origins.has("python") || report.origins.has("venv");
        if asked || report.config.python_apps().next().is_some() {
            report.python_inside();
        }
        report.processes();
        report.identity();
        report.files();
        report.gap();
        report
    }

    /// Has Python asked in the sandbox that it would run in, if there is one to be.
    fn python_inside(&mut self) {
        match Sandbox::of(&self.config) {
            None => self.python(),
            // A place that is not there is a mistake of its own.
            Some(sandbox) => {
                if let Err(error) = sandbox.of_what_is_there().run(|| self.python()) {
                    let place = self.origins.of("sandbox", 0);
                    self.mistakes.push(Mistake::at(place, &error));
                }
            }
        }
    }

    fn mounts(&mut self) {
        for mount in self.config.mounts.clone() {
            let app = match &mount.app {
                AppSpec::Static(directory) => format!("the files below {}", directory.display()),
                AppSpec::Echo | AppSpec::Hello => format!("{} (built in)", mount.app),
                AppSpec::Wsgi(app) => app.to_string(),
            };
            self.fact("mount", format!("{} = {app}", mount.path()));
        }
    }

    fn fact(&mut self, name: &'static str, fact: impl Into<String>) {
        self.facts.push((name, fact.into()));
    }
}
