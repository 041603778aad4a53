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
    let chdir = config.chdir.to_string_lossy();
    let request = json!({"path": path, "chdir": chdir, "apps": apps}).to_string();
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
    /// What it is called there: as it was written, or what was found if nothing was.
    pub(super) name: Option<String>,
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
    Taken(Taken),
    Hides { line: u32, other: String },
    Unreadable { why: String },
    Syntax { line: u32, why: String },
    NoName { names: Vec<String> },
    NoDefault { names: Vec<String> },
    NotCallable { names: Vec<String> },
    NotLiteral,
    Arguments { why: String },
    IsAsync,
    IsFactory,
    NotWsgi,
}

/// A module of the project's that Python has one of its own in place of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Taken {
    /// The name of both.
    top: String,
    /// The project's file, or its directory.
    place: String,
    /// Python's file, or "built-in".
    own: String,
    /// Whether the project's is a file and no package.
    is_file: bool,
}

impl Finding {
    /// Returns the finding as an error about `app`, which is called `name`.
    pub(super) fn about(
        self,
        app: &PythonApp,
        name: Option<String>,
        config: &Config,
    ) -> AppFinding {
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
            name: name.unwrap_or_default(),
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
    name: String,
    target: String,
    searched: String,
}

impl AppFinding {
    fn what(&self) -> String {
        let Self { target, name, .. } = self;
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
            Finding::Taken(Taken {
                top, place, own, ..
            }) => {
                format!(
                    "`{top}` is {place}, but Python has loaded its own module of that name ({own})"
                )
            }
            Finding::Hides { line, other } => {
                format!("`{target}`, line {line}: it imports from itself, because it hides {other}")
            }
            Finding::Unreadable { why } => format!("cannot read `{target}`: {why}"),
            Finding::Syntax { line, why } => {
                format!("`{target}`, line {line}: syntax error: {why}")
            }
            Finding::NoName { .. } => format!("`{target}` has no `{}`", first(name)),
            Finding::NoDefault { .. } => {
                format!("`{target}` has neither `application` nor `app`")
            }
            Finding::NotCallable { .. } => {
                format!("`{name}` in `{target}` is a constant or a module, which cannot be called")
            }
            Finding::NotLiteral => {
                format!("`{}` calls a factory with what are no literals", self.app)
            }
            Finding::Arguments { why } => {
                format!("`{name}` in `{target}` cannot be called so: {why}")
            }
            Finding::IsAsync => {
                format!(
                    "`{name}` in `{target}` is an async function, and spile serves WSGI applications"
                )
            }
            Finding::IsFactory => {
                format!(
                    "`{name}` in `{target}` takes no arguments: it is a factory, not an application"
                )
            }
            Finding::NotWsgi => {
                format!("`{name}` in `{target}` cannot be called with environ and start_response")
            }
        }
    }
}

impl Cure for AppFinding {
    fn cure(&self) -> String {
        let Self { target, name, .. } = self;
        match &self.finding {
            Finding::NoModule { .. } | Finding::NotPackage { .. } => {
                let found = "name the directory it is in with --chdir or --pythonpath, or install it where --python or \
                             --venv says";
                format!("{found}{}", url_behind(target, &self.app))
            }
            Finding::Namespace { .. } => {
                let found = "name the module in it that has the application, as in package.module:callable";
                format!("{found}{}", url_behind(target, &self.app))
            }
            Finding::Taken(Taken { place, is_file: true, .. }) => {
                format!("rename the file, or name it by its path: {place}{}", colon(&self.app))
            }
            Finding::Taken(_) => "rename the package: nothing can import it beside Python's".to_owned(),
            Finding::Hides { .. } => "rename the file".to_owned(),
            Finding::Unreadable { .. } => {
                "name a Python file that this user may read; a relative path means --chdir".to_owned()
            }
            Finding::Syntax { .. } => {
                "correct it, or choose the Python it is written for with --python or --venv".to_owned()
            }
            Finding::NoName { names } | Finding::NoDefault { names } | Finding::NotCallable { names } => {
                named(target, names)
            }
            Finding::NotLiteral => {
                "write strings in quotation marks, numbers, True, False, None, and tuples, lists, sets and dicts of these; \
                 quote the whole for the shell"
                    .to_owned()
            }
            Finding::Arguments { .. } => {
                format!("give it what it takes, as literals: {target}:{name}(\"text\", key=1)")
            }
            Finding::IsAsync => "serve it with an ASGI server, or name a WSGI application".to_owned(),
            Finding::IsFactory => format!("write {target}:{name}()"),
            Finding::NotWsgi => {
                "name a WSGI application, or a factory with its arguments: module:factory(\"text\", key=1)".to_owned()
            }
        }
    }
}

/// What else a module that is not there may have been to say, if it has the name of a kind.
fn url_behind(module: &str, app: &PythonApp) -> String {
    let does = match module {
        "static" => "to serve the files of that directory",
        "wsgi" => "for the module of that name",
        _ => return String::new(),
    };
    let callable = app.callable.as_ref();
    callable.map_or_else(String::new, |callable| {
        format!("; {does}: {module}://{callable}")
    })
}

/// Returns the callable as it stands behind a path.
fn colon(app: &PythonApp) -> String {
    app.callable
        .as_ref()
        .map_or_else(String::new, |callable| format!(":{callable}"))
}

/// What to write instead, given the names that are there.
fn named(target: &str, names: &[String]) -> String {
    let has = |wanted: &&str| names.iter().any(|name| name == wanted);
    if let Some(usual) = ["application", "app", "wsgi"].iter().find(|it| has(it)) {
        return format!("did you mean {target}:{usual}?");
    }
    if let Some(factory) = ["create_app", "make_app"].iter().find(|it| has(it)) {
        return format!("did you mean the factory {target}:{factory}()?");
    }
    if names.is_empty() {
        return "name a module that defines the application; this one defines nothing that can be called"
            .to_owned();
    }
    let shown: Vec<_> = names.iter().take(12).map(String::as_str).collect();
    let more = if names.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    format!("name one of those it has: {}{more}", shown.join(", "))
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
            }) => PythonApp {
                target: PythonTarget::File(directory.join(path)),
                callable,
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
            if True:\n    inner = make()\n\
            try:\n    tried, [listed] = 1, [2]\n\
            except Exception: pass\n\
            with open('/dev/null') as opened: pass\n\
            for loop in []: pass\n\
            annotated: int = 1\n\
            print(walrus := 1)\n";
        let names = [
            "app",
            "app:os.path",
            "app:json_.loads",
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
            (
                "package/space/wsgi.py",
                "open('ran', 'w')\napplication = make()",
            ),
            ("shop.py", "open('ran', 'w')\napplication = make()"),
        ];
        let (directory, config, interpreter) = directory(&files);
        let apps = ["package.space.wsgi", "shop"].map(|spec| app(spec, directory.path()));
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
                "import os\nfrom os import walk\nsite = make()\nnumber = 1\n_hidden = make()\nclass Thing: inside = 1\ndeclared: int\n",
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
        let not_callable = |names: &[&str]| Finding::NotCallable {
            names: names.iter().map(|&name| own(name)).collect(),
        };
        let no_default = |names: &[&str]| Finding::NoDefault {
            names: names.iter().map(|&name| own(name)).collect(),
        };
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
            ("app", Some(no_default(&["site", "walk"]))),
            ("app:inside", Some(names(&["site", "walk"]))),
            ("app:declared", Some(names(&["site", "walk"]))),
            ("app:site", None),
            ("app:number", Some(not_callable(&["site", "walk"]))),
            ("app:os", Some(not_callable(&["site", "walk"]))),
            ("app:os.walk", None),
            ("app:_hidden", None),
            ("star:anything", None),
            ("empty", Some(no_default(&[]))),
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
            def view(request): pass\n\
            @decorated\ndef wrapped(): pass\n";
        let arguments = |why: &str| Finding::Arguments {
            why: why.to_owned(),
        };
        let missing = |name| arguments(&format!("missing a required argument: '{name}'"));
        for (spec, finding) in [
            ("app:make", Some(Finding::IsFactory)),
            ("app:make()", None),
            ("app:make_with()", Some(missing("debug"))),
            ("app:make_with(True, log='x')", None),
            (
                "app:make_with(True, 'x')",
                Some(arguments("too many positional arguments")),
            ),
            ("app:make_with(debug=os)", Some(Finding::NotLiteral)),
            ("app:make_with(**{'debug': 1})", Some(Finding::NotLiteral)),
            ("app:make_with(1, debug)", Some(Finding::NotLiteral)),
            ("app:make_with(debug=1, debug=2)", Some(Finding::NotLiteral)),
            ("app:view", Some(Finding::NotWsgi)),
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
    fn without_a_name_it_is_application_or_app() {
        for (source, name) in [
            ("application = app = make()", "application"),
            ("app = make()", "app"),
            ("import application\napp = make()", "app"),
            ("application = 'shop'\nfrom shop import app", "app"),
        ] {
            let (directory, config, interpreter) = directory(&[("site_of_mine.py", source)]);
            let app = app("site_of_mine", directory.path());
            let inspected = inspect(&interpreter, &config, &[&app]).unwrap();
            assert_eq!(inspected[0].name.as_deref(), Some(name), "{source}");
            assert_eq!(inspected[0].finding, None, "{source}");
        }
    }

    #[test]
    fn wsgi_is_a_file_where_it_is_no_module() {
        let files = [
            ("shop.wsgi", "application = make()"),
            ("shop/__init__.py", ""),
            ("both.wsgi", ""),
            ("both/wsgi.py", "application = make()"),
        ];
        let (directory, config, interpreter) = directory(&files);
        let apps = ["shop.wsgi", "both.wsgi"].map(|spec| app(spec, directory.path()));
        let inspected = inspect(&interpreter, &config, &[&apps[0], &apps[1]]).unwrap();
        let found = |index: usize| inspected[index].file.clone().unwrap();
        assert_eq!(found(0), directory.path().join("shop.wsgi"));
        assert_eq!(found(1), directory.path().join("both/wsgi.py"));
        assert!(
            inspected.iter().all(|it| it.finding.is_none()),
            "{inspected:?}"
        );
    }

    #[test]
    fn what_python_has_loaded_is_no_module_of_the_project() {
        let app_of = "application = make()";
        let files = [
            ("json.py", app_of),
            ("site/__init__.py", ""),
            ("site/wsgi.py", app_of),
            ("time.py", app_of),
            ("ast/nothing.txt", ""),
            ("calendar.py", app_of),
        ];
        let specs = [
            "json",
            "site.wsgi",
            "time:app",
            "ast.wsgi",
            "./json.py",
            "calendar",
        ];
        let found = findings(&files, &specs);
        let is_taken = |finding: &Option<Finding>| matches!(finding, Some(Finding::Taken(_)));
        let taken: Vec<_> = found.iter().map(is_taken).collect();
        assert_eq!(taken, [true, true, true, true, false, false], "{found:?}");
        assert_eq!(found[4..], [None, None]);
    }

    #[test]
    fn a_file_that_hides_what_it_imports_is_found() {
        let files = [
            (
                "calendar.py",
                "import os\nfrom calendar import month\napp = make()",
            ),
            ("shop.py", "from shop import app"),
        ];
        let found = findings(&files, &["calendar", "shop"]);
        assert!(
            matches!(&found[0], Some(Finding::Hides { line: 2, .. })),
            "{found:?}"
        );
        assert_eq!(found[1], None);
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
            named("shop", &names(&["main", "create_app"])),
            "did you mean the factory shop:create_app()?"
        );
        assert_eq!(
            named("shop", &names(&["main", "run"])),
            "name one of those it has: main, run"
        );
    }
}
