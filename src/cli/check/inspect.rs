use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use crate::config::{Config, Cure, Interpreter, ProbeError, PythonApp, PythonTarget};

/// Lets the interpreter find the applications and read their source, without importing or running any of it. One
/// result for each, in order.
pub(super) fn inspect(
    interpreter: &Interpreter,
    config: &Config,
    apps: &[&PythonApp],
) -> Result<Vec<Inspected>, ProbeError> {
    // As text: Python reads it as JSON, and `Config::load` takes no other paths.
    let path: Vec<_> = config
        .search_path()
        .map(|path| path.to_string_lossy())
        .collect();
    let request = json!({"path": path, "apps": apps}).to_string();
    let output = interpreter.run(config, include_str!("inspect.py"), &request)?;
    serde_json::from_str(output.lines().last().unwrap_or_default()).map_err(|_| {
        ProbeError::NotPython {
            python: interpreter.path.clone(),
        }
    })
}

/// What is known of an application without running it.
#[derive(Debug, Deserialize)]
pub(super) struct Inspected {
    /// Where its source is, when it was found.
    pub(super) file: Option<PathBuf>,
    /// What is wrong with it.
    pub(super) finding: Option<Finding>,
}

/// What is wrong with an application's source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Finding {
    NoModule { part: String },
    NotPackage { part: String },
    Namespace { directory: String },
    Unreadable { why: String },
    Syntax { line: u32, why: String },
    NoName { names: Vec<String> },
    IsAsync,
    IsFactory,
    FactoryTakesArguments,
}

impl Finding {
    /// The finding as an error about `app`.
    pub(super) fn about(self, app: &PythonApp, config: &Config) -> AppFinding {
        let target = match &app.target {
            PythonTarget::File(path) => path.display().to_string(),
            PythonTarget::Module(module) => module.clone(),
        };
        let directories: Vec<_> = config
            .search_path()
            .map(|path| path.display().to_string())
            .collect();
        AppFinding {
            finding: self,
            app: app.clone(),
            target,
            searched: directories.join(", "),
        }
    }
}

/// A [`Finding`], with what is needed to say it.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.what())]
pub(super) struct AppFinding {
    finding: Finding,
    app: PythonApp,
    target: String,
    searched: String,
}

impl AppFinding {
    fn what(&self) -> String {
        let Self {
            target,
            app: PythonApp { callable, .. },
            ..
        } = self;
        match &self.finding {
            Finding::NoModule { part } => {
                format!(
                    "there is no module `{part}` in {}, nor among the interpreter's packages",
                    self.searched
                )
            }
            Finding::NotPackage { part } => {
                format!("there is no module `{target}`: `{part}` is a module, not a package")
            }
            Finding::Namespace { directory } => {
                format!("`{target}` is a directory without an __init__.py: {directory}")
            }
            Finding::Unreadable { why } => format!("cannot read `{target}`: {why}"),
            Finding::Syntax { line, why } => {
                format!("`{target}`, line {line}: syntax error: {why}")
            }
            Finding::NoName { .. } => format!("`{target}` has no `{}`", first(callable)),
            Finding::IsAsync => {
                format!(
                    "`{callable}` in `{target}` is an async function, and spile serves WSGI applications"
                )
            }
            Finding::IsFactory => {
                format!(
                    "`{callable}` in `{target}` takes no arguments: it is a factory, not an application"
                )
            }
            Finding::FactoryTakesArguments => {
                format!("`{callable}` in `{target}` cannot be called without arguments")
            }
        }
    }
}

impl Cure for AppFinding {
    fn cure(&self) -> String {
        let Self { target, .. } = self;
        match &self.finding {
            Finding::NoModule { .. } | Finding::NotPackage { .. } => {
                "name the directory it is in with --chdir or --pythonpath, or install it where --python or --venv says"
                    .to_owned()
            }
            Finding::Namespace { .. } => {
                "name the module in it that has the application, as in package.module:callable".to_owned()
            }
            Finding::Unreadable { .. } => {
                "name a Python file that this user may read; a relative path means --chdir".to_owned()
            }
            Finding::Syntax { .. } => {
                "correct it, or choose the Python it is written for with --python or --venv".to_owned()
            }
            Finding::NoName { names } => named(target, names),
            Finding::IsAsync => "serve it with an ASGI server, or name a WSGI application".to_owned(),
            Finding::IsFactory => format!("write {}()", self.app),
            Finding::FactoryTakesArguments => {
                "name a function that takes none, and pass settings with --env".to_owned()
            }
        }
    }
}

/// What to write instead, given the names that are there.
fn named(target: &str, names: &[String]) -> String {
    let usual = ["application", "app", "wsgi"]
        .into_iter()
        .find(|usual| names.iter().any(|name| name == usual));
    match (usual, names) {
        (Some(usual), _) => format!("did you mean {target}:{usual}?"),
        (None, []) => {
            "name a module that defines the application; this one defines nothing".to_owned()
        }
        (None, names) => {
            let shown: Vec<_> = names.iter().take(12).map(String::as_str).collect();
            let more = if names.len() > shown.len() {
                ", …"
            } else {
                ""
            };
            format!("name one of those it has: {}{more}", shown.join(", "))
        }
    }
}

fn first(callable: &str) -> &str {
    callable.split('.').next().unwrap_or(callable)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::config::AppSpec;

    /// A directory with these files, and how it is inspected.
    fn directory(files: &[(&str, &str)]) -> (TempDir, Config, Interpreter) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let config = Config {
            chdir: directory.path().to_owned(),
            ..Config::default()
        };
        let interpreter = Interpreter::find(&config).unwrap();
        (directory, config, interpreter)
    }

    /// What is found about `spec` in a directory with these files.
    fn findings(files: &[(&str, &str)], specs: &[&str]) -> Vec<Option<Finding>> {
        let (directory, config, interpreter) = directory(files);
        let apps: Vec<_> = specs
            .iter()
            .map(|spec| app(spec, directory.path()))
            .collect();
        let inspected = inspect(&interpreter, &config, &apps.iter().collect::<Vec<_>>()).unwrap();
        inspected
            .into_iter()
            .map(|inspected| inspected.finding)
            .collect()
    }

    fn app(spec: &str, directory: &Path) -> PythonApp {
        match spec.parse().unwrap() {
            AppSpec::Wsgi(PythonApp {
                target: PythonTarget::File(path),
                callable,
                call,
            }) => PythonApp {
                target: PythonTarget::File(directory.join(path)),
                callable,
                call,
            },
            AppSpec::Wsgi(app) => app,
            other => panic!("{other} is not Python"),
        }
    }

    #[test]
    fn names_are_seen_wherever_a_module_gives_them() {
        let source = "\
            import os.path, json as json_\n\
            from sys import argv\n\
            def application(environ, start_response): pass\n\
            def make(debug=False): global late; late = 1\n\
            if True:\n    inner = 1\n\
            try:\n    tried, [listed] = 1, [2]\n\
            except Exception: pass\n\
            with open('/dev/null') as opened: pass\n\
            for loop in []: pass\n\
            annotated: int = 1\n\
            print(walrus := 1)\n";
        let names = [
            "app",
            "app:os",
            "app:json_",
            "app:argv",
            "app:make()",
            "app:late",
            "app:inner",
            "app:tried",
            "app:listed",
            "app:opened",
            "app:loop",
            "app:annotated",
            "app:walrus",
            "app:inner.attribute",
            "./app.py",
        ];
        assert_eq!(findings(&[("app.py", source)], &names), names.map(|_| None));
    }

    #[test]
    fn source_is_read_and_never_run() {
        let files = [
            ("package/__init__.py", "open('ran', 'w')"),
            ("package/space/wsgi.py", "open('ran', 'w')\napplication = 1"),
            ("json.py", "open('ran', 'w')\napplication = 1"),
        ];
        let (directory, config, interpreter) = directory(&files);
        let apps = ["package.space.wsgi", "json"].map(|spec| app(spec, directory.path()));
        let inspected = inspect(&interpreter, &config, &[&apps[0], &apps[1]]).unwrap();
        let found: Vec<_> = inspected
            .iter()
            .map(|inspected| (&inspected.file, &inspected.finding))
            .collect();
        let expected = [files[1].0, files[2].0].map(|name| Some(directory.path().join(name)));
        assert_eq!(found, [(&expected[0], &None), (&expected[1], &None)]);
        assert!(!directory.path().join("ran").exists());
    }

    #[test]
    fn what_is_not_there_is_said() {
        let files = [
            (
                "app.py",
                "import os\napp = 1\n_hidden = 2\nclass Thing: inside = 1\ndeclared: int\n",
            ),
            ("star.py", "from elsewhere import *\n"),
            ("empty.py", ""),
            ("broken.py", "x = 1\ndef f(:\n"),
            ("outside.py", "return 1\n"),
            ("folder/inner.py", ""),
            ("package/__init__.py", ""),
            ("package/site.py", ""),
        ];
        let own = str::to_owned;
        let names = |names: &[&str]| Finding::NoName {
            names: names.iter().map(|&name| own(name)).collect(),
        };
        let found = ["app", "Thing", "os"];
        for (spec, finding) in [
            (
                "missing:app",
                Some(Finding::NoModule {
                    part: own("missing"),
                }),
            ),
            (
                "package.missing:app",
                Some(Finding::NoModule {
                    part: own("package.missing"),
                }),
            ),
            (
                "app.inner:app",
                Some(Finding::NotPackage { part: own("app") }),
            ),
            (
                "./missing.py",
                Some(Finding::Unreadable {
                    why: own("no such file or directory"),
                }),
            ),
            ("app", Some(names(&found))),
            ("app:inside", Some(names(&found))),
            ("app:declared", Some(names(&found))),
            ("app:app", None),
            ("app:_hidden", None),
            ("star:anything", None),
            ("empty", Some(names(&[]))),
            ("package:site.app", None),
            ("package:other.app", Some(names(&[]))),
        ] {
            assert_eq!(findings(&files, &[spec]), [finding], "{spec}");
        }
        let found = findings(&files, &["broken", "outside", "folder"]);
        assert!(
            matches!(&found[0], Some(Finding::Syntax { line: 2, .. })),
            "{found:?}"
        );
        let why = own("'return' outside function");
        assert_eq!(found[1], Some(Finding::Syntax { line: 1, why }));
        assert!(
            matches!(&found[2], Some(Finding::Namespace { .. })),
            "{found:?}"
        );
    }

    #[test]
    fn factories_are_told_from_applications() {
        let source = "\
            def make(): pass\n\
            def make_with(debug, *, log=None): pass\n\
            def application(environ, start_response): pass\n\
            def flexible(*args): pass\n\
            async def asgi(scope, receive, send): pass\n\
            @decorated\ndef wrapped(): pass\n";
        for (spec, finding) in [
            ("app:make", Some(Finding::IsFactory)),
            ("app:make()", None),
            ("app:make_with()", Some(Finding::FactoryTakesArguments)),
            ("app:application", None),
            ("app:flexible", None),
            ("app:asgi", Some(Finding::IsAsync)),
            ("app:wrapped", None),
        ] {
            assert_eq!(
                findings(&[("app.py", source)], &[spec]),
                [finding],
                "{spec}"
            );
        }
    }

    #[test]
    fn the_cure_names_what_is_there() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            named("shop", &names(&["os", "app"])),
            "did you mean shop:app?"
        );
        assert_eq!(
            named("shop", &names(&["main", "run"])),
            "name one of those it has: main, run"
        );
    }
}
