use super::Report;
use super::inspect::inspect;
use crate::config::{AppSpec, Found, Interpreter, Mistake, PythonApp};

impl Report {
    /// Checks the interpreter, its spile package, and the applications' source.
    pub(super) fn python(&mut self) {
        let interpreter = match Interpreter::find(&self.config) {
            Ok(interpreter) => interpreter,
            Err(error) => {
                let place = self.origins.of(error.option(), 0);
                return self.mistakes.push(Mistake::at(place, &error));
            }
        };
        let option = if interpreter.found == Found::Venv {
            "venv"
        } else {
            "python"
        };
        let place = self.origins.of(option, 0);
        match interpreter.probe(&self.config) {
            Ok(probe) => {
                let path = interpreter.path.display();
                let why = reason(interpreter.found);
                self.fact("python", format!("{} {path} ({why})", probe.version));
                let venv = if probe.venv {
                    probe.prefix.display().to_string()
                } else {
                    "none".to_owned()
                };
                self.fact("venv", venv);
                if let (Some(version), Some(location)) = (&probe.spile, &probe.location) {
                    self.fact(
                        "package",
                        format!("spile {version} in {}", location.display()),
                    );
                }
                if let Err(error) = probe.verify(&interpreter) {
                    self.mistakes.push(Mistake::at(place, &error));
                }
                self.applications(&interpreter);
            }
            Err(error) => self.mistakes.push(Mistake::at(place, &error)),
        }
    }

    fn applications(&mut self, interpreter: &Interpreter) {
        let indexed: Vec<(usize, PythonApp)> = (self.config.mounts.iter().enumerate())
            .filter_map(|(index, mount)| match &mount.app {
                AppSpec::Wsgi(app) => Some((index, app.clone())),
                _ => None,
            })
            .collect();
        if indexed.is_empty() {
            return;
        }
        let apps: Vec<_> = indexed.iter().map(|(_, app)| app).collect();
        let inspected = match inspect(interpreter, &self.config, &apps) {
            Ok(inspected) => inspected,
            Err(error) => {
                let place = self.origins.of("python", 0);
                return self.mistakes.push(Mistake::at(place, &error));
            }
        };
        for ((index, app), inspected) in indexed.iter().zip(inspected) {
            if let Some(file) = inspected.file {
                let found = inspected.name.as_ref().filter(|_| app.callable.is_none());
                let callable = found.map_or_else(String::new, |name| format!(":{name}"));
                self.fact("source", format!("{app}{callable} in {}", file.display()));
            }
            if let Some(finding) = inspected.finding {
                let place = self.origins.mount(*index);
                let finding = finding.about(app, inspected.name, &self.config);
                self.mistakes.push(Mistake::at(place, &finding));
            }
        }
    }
}

fn reason(found: Found) -> &'static str {
    match found {
        Found::Option => "--python",
        Found::Venv => "--venv",
        Found::Host => "it runs spile",
        Found::ActiveVenv => "$VIRTUAL_ENV",
        Found::SearchPath => "python3 on $PATH",
    }
}
