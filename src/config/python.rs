use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

use super::{Config, Cure};
use crate::plain::plain;

/// The interpreter that runs the Python applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its path: not resolved further, since a virtual environment is known by the link to its interpreter.
    pub path: PathBuf,
    /// The reason why this one.
    pub found: Found,
}

/// What led to an [`Interpreter`], in the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// `--python` names it.
    Option,
    /// It is `bin/python` in `--venv`.
    Venv,
    /// spile was started by it.
    Host,
    /// It is `bin/python` in `$VIRTUAL_ENV`.
    ActiveVenv,
    /// It is the first `python3` on `$PATH`.
    SearchPath,
}

impl Interpreter {
    /// Finds the interpreter: `--python`, else `bin/python` in `--venv`, else the one that runs spile, else
    /// `bin/python` in `$VIRTUAL_ENV` if it is there, else `python3` on `$PATH`. Runs nothing.
    ///
    /// # Errors
    ///
    /// When what was asked for is not an executable file, or nothing is found.
    pub fn find(config: &Config) -> Result<Self, InterpreterError> {
        let active = std::env::var_os("VIRTUAL_ENV").filter(|venv| !venv.is_empty());
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        find(config, active.as_deref(), &search_path)
    }

    /// Runs the interpreter to see what it is and whether it has the `spile` package.
    ///
    /// # Errors
    ///
    /// When it does not run, or is no Python.
    pub fn probe(&self, config: &Config) -> Result<Probe, ProbeError> {
        let output = self.run(config, include_str!("probe.py"), "")?;
        let line = output.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|_| ProbeError::NotPython {
            python: self.path.clone(),
        })
    }

    /// Runs a script with one argument, in the applications' directory and environment, and returns what it prints.
    pub(crate) fn run(
        &self,
        config: &Config,
        script: &str,
        argument: &str,
    ) -> Result<String, ProbeError> {
        let mut command = Command::new(&self.path);
        command.args(["-c", script, argument]).envs(&config.env);
        if config.chdir.is_dir() {
            command.current_dir(&config.chdir);
        }
        let python = self.path.clone();
        match output_of(command) {
            Ok((status, output, _)) if status.success() => Ok(output),
            Ok((status, _, said)) => {
                let said = said.lines().last().unwrap_or_default().to_owned();
                Err(ProbeError::Failed {
                    python,
                    status,
                    said,
                })
            }
            Err(RunError::TimedOut) => Err(ProbeError::TimedOut { python }),
            Err(RunError::Io(error)) => Err(ProbeError::CannotRun {
                python,
                error: plain(&error),
            }),
        }
    }
}

fn find(
    config: &Config,
    active: Option<&OsStr>,
    search_path: &OsStr,
) -> Result<Interpreter, InterpreterError> {
    if let Some(python) = &config.python {
        let path = if python.components().count() == 1 {
            on_path(python, search_path)
        } else {
            Some(python.clone())
        };
        let path = path.filter(|path| is_executable(path));
        return match path {
            Some(path) => Ok(Interpreter {
                path,
                found: Found::Option,
            }),
            None => Err(InterpreterError::NoSuchPython {
                python: python.clone(),
            }),
        };
    }
    if let Some(venv) = &config.venv {
        let path = venv.join("bin/python");
        return if is_executable(&path) {
            Ok(Interpreter {
                path,
                found: Found::Venv,
            })
        } else {
            Err(InterpreterError::NoVenv { venv: venv.clone() })
        };
    }
    if let Some(path) = &config.host_python {
        return Ok(Interpreter {
            path: path.clone(),
            found: Found::Host,
        });
    }
    let active = active
        .map(|venv| Path::new(venv).join("bin/python"))
        .filter(|path| is_executable(path));
    if let Some(path) = active {
        return Ok(Interpreter {
            path,
            found: Found::ActiveVenv,
        });
    }
    match on_path(Path::new("python3"), search_path) {
        Some(path) => Ok(Interpreter {
            path,
            found: Found::SearchPath,
        }),
        None => Err(InterpreterError::NotOnPath),
    }
}

fn on_path(name: &Path, search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The reason why there is no interpreter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpreterError {
    /// `--python` names none.
    #[error("`{}` is not a program", python.display())]
    NoSuchPython {
        /// What it names.
        python: PathBuf,
    },
    /// `--venv` has none.
    #[error("`{}` is not a virtual environment: it has no bin/python", venv.display())]
    NoVenv {
        /// The directory.
        venv: PathBuf,
    },
    /// Nothing was asked for, and `$PATH` has none.
    #[error("there is no python3 on $PATH")]
    NotOnPath,
}

impl InterpreterError {
    /// Returns the option it is about.
    pub fn option(&self) -> &'static str {
        match self {
            Self::NoVenv { .. } => "venv",
            Self::NoSuchPython { .. } | Self::NotOnPath => "python",
        }
    }
}

impl Cure for InterpreterError {
    fn cure(&self) -> String {
        match self {
            Self::NoSuchPython { .. } => {
                "name an interpreter by its path, such as /usr/bin/python3, or a command on $PATH"
                    .to_owned()
            }
            Self::NoVenv { venv } => {
                let venv = venv.display();
                format!(
                    "make it with python3 -m venv {venv}; then {}",
                    install(&format!("{venv}/bin/pip install"))
                )
            }
            Self::NotOnPath => {
                "install Python 3.9 or newer, or name one with --python or --venv".to_owned()
            }
        }
    }
}

/// What an interpreter says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Probe {
    /// Its version, `3.13.1`.
    pub version: String,
    /// `sys.prefix`: the virtual environment's directory, if it is one.
    pub prefix: PathBuf,
    /// Whether it is a virtual environment's.
    pub venv: bool,
    /// The version of the `spile` package in it, if it has one.
    pub spile: Option<String>,
    /// Where that package is: its `__init__.py`.
    pub location: Option<PathBuf>,
    /// The reason why the package is there and cannot be imported.
    pub error: Option<String>,
}

impl Probe {
    /// Tells whether spile can serve Python with this interpreter.
    ///
    /// # Errors
    ///
    /// When it is too old, or the package is missing, broken or of another version than this program.
    pub fn verify(&self, interpreter: &Interpreter) -> Result<(), ProbeError> {
        let python = interpreter.path.clone();
        let mut numbers = self
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < (3, 9) {
            return Err(ProbeError::TooOld {
                python,
                version: self.version.clone(),
            });
        }
        match (&self.spile, &self.error) {
            (_, Some(error)) => Err(ProbeError::Broken {
                python,
                error: error.clone(),
            }),
            (None, None) => Err(ProbeError::NoPackage { python }),
            (Some(version), None) if version != env!("CARGO_PKG_VERSION") => {
                Err(ProbeError::OtherVersion {
                    python,
                    version: version.clone(),
                })
            }
            (Some(_), None) => Ok(()),
        }
    }
}

/// The reason why an interpreter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The system would not start it.
    #[error("cannot run `{}`: {error}", python.display())]
    CannotRun {
        /// The interpreter.
        python: PathBuf,
        /// What the system said.
        error: String,
    },
    /// It ran and failed.
    #[error("`{}` failed with {status}: {said}", python.display())]
    Failed {
        /// The interpreter.
        python: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last line it wrote to standard error.
        said: String,
    },
    /// It gave no answer.
    #[error("`{}` gave no answer within {} seconds", python.display(), PATIENCE.as_secs())]
    TimedOut {
        /// The interpreter.
        python: PathBuf,
    },
    /// It is another program.
    #[error("`{}` is not a Python interpreter", python.display())]
    NotPython {
        /// The program.
        python: PathBuf,
    },
    /// It is older than 3.9.
    #[error("`{}` is Python {version}", python.display())]
    TooOld {
        /// The interpreter.
        python: PathBuf,
        /// Its version.
        version: String,
    },
    /// It has no `spile` package.
    #[error("`{}` has no spile package", python.display())]
    NoPackage {
        /// The interpreter.
        python: PathBuf,
    },
    /// It has one that cannot be imported.
    #[error("`{}` cannot import its spile package: {error}", python.display())]
    Broken {
        /// The interpreter.
        python: PathBuf,
        /// What Python said.
        error: String,
    },
    /// It has one of another version.
    #[error("`{}` has spile {version}, and this is {}", python.display(), env!("CARGO_PKG_VERSION"))]
    OtherVersion {
        /// The interpreter.
        python: PathBuf,
        /// The package's version.
        version: String,
    },
}

impl Cure for ProbeError {
    fn cure(&self) -> String {
        match self {
            Self::CannotRun { .. }
            | Self::Failed { .. }
            | Self::TimedOut { .. }
            | Self::NotPython { .. } => {
                "name a working Python 3.9 or newer with --python or --venv".to_owned()
            }
            Self::TooOld { .. } => "use Python 3.9 or newer, with --python or --venv".to_owned(),
            Self::NoPackage { python } => install(&format!("{} -m pip install", python.display())),
            Self::Broken { python, .. } => install(&format!(
                "{} -m pip install --force-reinstall",
                python.display()
            )),
            Self::OtherVersion { python, version } => format!(
                "{}; or use spile {version} here",
                install(&format!("{} -m pip install", python.display()))
            ),
        }
    }
}

/// How this program's own package gets into an interpreter. Never by its name alone: until it is published, another
/// may have that on PyPI.
fn install(pip: &str) -> String {
    format!(
        "in a checkout of spile {} run {pip} . (it is not on PyPI yet)",
        env!("CARGO_PKG_VERSION")
    )
}

/// How long an interpreter may take to start, import and answer: even a cold disk needs less.
const PATIENCE: Duration = Duration::from_secs(30);

/// More output than any honest answer.
const MOST_OUTPUT: u64 = 4 << 20;

enum RunError {
    Io(std::io::Error),
    TimedOut,
}

/// Runs a program to its end, for a bounded time and with bounded output: `--python` may name anything.
fn output_of(mut command: Command) -> Result<(ExitStatus, String, String), RunError> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(RunError::Io)?;
    let output = read_in_background(child.stdout.take());
    let errors = read_in_background(child.stderr.take());
    let text = output.recv_timeout(PATIENCE);
    if text.is_err() {
        // It may have ended by itself just now.
        let _ = child.kill();
    }
    let status = child.wait().map_err(RunError::Io)?;
    let text = text.map_err(|_| RunError::TimedOut)?;
    // A grandchild may hold the pipe open; what has not come by now is not waited for.
    let errors = errors
        .recv_timeout(Duration::from_secs(1))
        .unwrap_or_default();
    Ok((status, text, errors))
}

fn read_in_background(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // Dropping the pipe at the limit ends a program that never stops writing.
            let _ = pipe.take(MOST_OUTPUT).read_to_end(&mut bytes);
        }
        // Nobody listens any more after the time is up.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory with an executable file of that name in it.
    fn with_program(name: &str, script: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        (directory, path)
    }

    #[test]
    fn the_interpreter_is_looked_for_in_order() {
        let (venv, in_venv) = with_program("bin/python", "");
        let (search, on_path) = with_program("python3", "");
        let nowhere = Path::new("/nonexistent");
        let found = |config: &Config, active: &Path| {
            find(config, Some(active.as_os_str()), search.path().as_os_str())
                .map(|found| (found.path, found.found))
        };

        let mut config = Config::default();
        assert_eq!(
            found(&config, nowhere),
            Ok((on_path.clone(), Found::SearchPath))
        );
        assert_eq!(
            found(&config, venv.path()),
            Ok((in_venv.clone(), Found::ActiveVenv))
        );
        config.host_python = Some("/host/python".into());
        assert_eq!(
            found(&config, venv.path()),
            Ok(("/host/python".into(), Found::Host))
        );
        config.venv = Some(venv.path().to_owned());
        assert_eq!(found(&config, nowhere), Ok((in_venv, Found::Venv)));
        config.python = Some("python3".into());
        assert_eq!(found(&config, nowhere), Ok((on_path, Found::Option)));
    }

    #[test]
    fn what_was_asked_for_must_be_there() {
        let (directory, _) = with_program("python3", "");
        let found = |config: &Config| find(config, None, directory.path().as_os_str());
        let python = PathBuf::from("python9");
        let config = Config {
            python: Some(python.clone()),
            ..Config::default()
        };
        assert_eq!(
            found(&config),
            Err(InterpreterError::NoSuchPython { python })
        );
        let venv = directory.path().to_owned();
        let config = Config {
            venv: Some(venv.clone()),
            ..Config::default()
        };
        assert_eq!(found(&config), Err(InterpreterError::NoVenv { venv }));
        let nothing = find(&Config::default(), None, OsStr::new("/nonexistent"));
        assert_eq!(nothing, Err(InterpreterError::NotOnPath));
    }

    #[test]
    fn a_program_that_is_no_python_is_told_apart() {
        let probe = |path: &str| {
            let interpreter = Interpreter {
                path: path.into(),
                found: Found::Option,
            };
            interpreter
                .probe(&Config::default())
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            probe("/bin/echo"),
            Err("`/bin/echo` is not a Python interpreter".to_owned())
        );
        let said = "`/bin/false` failed with exit status: 1: ";
        assert_eq!(probe("/bin/false"), Err(said.to_owned()));
        let said = "cannot run `/nonexistent`: no such file or directory";
        assert_eq!(probe("/nonexistent"), Err(said.to_owned()));
    }

    #[test]
    fn the_package_must_be_of_this_version() {
        let interpreter = Interpreter {
            path: "/venv/bin/python".into(),
            found: Found::Option,
        };
        let probe = |version: &str, spile: Option<&str>, error: Option<&str>| {
            let probe = Probe {
                version: version.to_owned(),
                prefix: "/venv".into(),
                venv: true,
                spile: spile.map(str::to_owned),
                location: None,
                error: error.map(str::to_owned),
            };
            probe
                .verify(&interpreter)
                .map_err(|error| error.to_string())
        };
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(probe("3.9.0", Some(own), None), Ok(()));
        assert_eq!(probe("3.13.1", Some(own), None), Ok(()));
        for (version, spile, error, said) in [
            (
                "3.8.20",
                Some(own),
                None,
                "`/venv/bin/python` is Python 3.8.20",
            ),
            (
                "3.9.0",
                None,
                None,
                "`/venv/bin/python` has no spile package",
            ),
            (
                "3.9.0",
                None,
                Some("ImportError: bad"),
                "`/venv/bin/python` cannot import its spile package: ImportError: bad",
            ),
        ] {
            assert_eq!(probe(version, spile, error), Err(said.to_owned()));
        }
        assert!(
            probe("3.9.0", Some("0.0.1"), None)
                .unwrap_err()
                .contains("has spile 0.0.1, and this is")
        );
    }
}
