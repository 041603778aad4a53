//! Where the code is that decides what runs, without running any of it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, Interpreter, Origins, PythonApp, PythonTarget};

/// What code and configuration a directory is or has below it, in words.
pub(super) fn below(directory: &Path, config: &Config, origins: &Origins) -> Vec<String> {
    let mut places = vec![("--chdir", config.chdir.clone())];
    places.extend(
        config
            .pythonpath
            .iter()
            .map(|it| ("--pythonpath", it.clone())),
    );
    places.extend(variable(config).map(|it| ("$PYTHONPATH", config.chdir.join(it))));
    places.extend(
        origins
            .file()
            .map(|it| ("the configuration file", it.to_owned())),
    );
    let env_files = config.env_files.iter().cloned();
    places.extend(env_files.map(|it| ("--env-file", it)));
    places.extend(env::current_exe().map(|it| ("spile", it)));
    // Python runs code of these packages whenever this user starts it.
    let home = env::var_os("HOME").filter(|it| !it.is_empty());
    places.extend(home.map(|it| ("this user's packages", Path::new(&it).join(".local/lib"))));
    let interpreter = Interpreter::find(config).ok();
    for prefix in interpreter.iter().flat_map(prefixes) {
        // Whatever is beside them may be a project that has its environment as its root.
        let parts = ["bin", "lib", "lib64"].map(|part| prefix.join(part));
        if parts.iter().any(|part| is_below(directory, part)) {
            places.push(("the interpreter's own files", directory.to_owned()));
        }
        places.push(("the interpreter", prefix));
    }
    for app in config.python_apps() {
        places.extend(files(app, config).map(|it| ("the application", it)));
    }
    places.extend(python_in(directory).map(|it| ("Python's", it)));
    let mut found = Vec::new();
    for (what, place) in places {
        // Several names of one place, and several places below one, tell nothing more.
        if is_below(&place, directory) && !found.iter().any(|(_, it)| place.starts_with(it)) {
            found.push((what, place));
        }
    }
    let said = |(what, place): (&str, PathBuf)| format!("{what} `{}`", place.display());
    found.into_iter().map(said).collect()
}

/// Returns the files that an application is found in, as far as they are there: its own, and those of the packages
/// around it.
pub(super) fn files(app: &PythonApp, config: &Config) -> impl Iterator<Item = PathBuf> {
    let files = match &app.target {
        PythonTarget::File(file) => vec![file.clone()],
        PythonTarget::Module(module) => {
            let mut files = config
                .search_path()
                .map(|directory| of_module(directory, module))
                .find(|files| !files.is_empty())
                .unwrap_or_default();
            // `trac.wsgi` may be that.
            if module.ends_with(".wsgi") {
                files.push(config.chdir.join(module));
            }
            files
        }
    };
    files.into_iter().filter(|file| file.exists())
}

/// Returns the files of a module that is looked for in a directory; none if its first part is not in there.
fn of_module(directory: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directory = directory.to_owned();
    for part in module.split('.') {
        directory.push(part);
        let candidates = [
            directory.join("__init__.py"),
            directory.with_extension("py"),
        ];
        match candidates.into_iter().find(|file| file.exists()) {
            Some(file) => files.push(file),
            None => break,
        }
    }
    files
}

/// Returns the directories of $PYTHONPATH, as applications see it.
fn variable(config: &Config) -> impl Iterator<Item = PathBuf> {
    let own = config.env.get("PYTHONPATH").map(Into::into);
    let value = own
        .or_else(|| env::var_os("PYTHONPATH"))
        .unwrap_or_default();
    let entries: Vec<_> = env::split_paths(&value).collect();
    entries.into_iter().filter(|entry| entry.as_os_str() != "")
}

/// Returns the directories that an interpreter and its packages are in: of a virtual environment, and of the one it was
/// made with.
fn prefixes(interpreter: &Interpreter) -> Vec<PathBuf> {
    let resolved = fs::canonicalize(&interpreter.path).ok();
    let programs = [Some(interpreter.path.clone()), resolved];
    let prefix = |program: PathBuf| Some(program.parent()?.parent()?.to_owned());
    programs.into_iter().flatten().filter_map(prefix).collect()
}

/// Returns the first of the files in a directory that Python may import.
fn python_in(directory: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(directory).ok()?.flatten().map(|it| it.path());
    let is_python = |path: &PathBuf| {
        let extension = path.extension().and_then(|it| it.to_str());
        matches!(extension, Some("py" | "pyc" | "pth" | "so"))
    };
    paths.filter(is_python).min()
}

/// Tells whether a place is a directory or below it, whatever links lead there.
fn is_below(place: &Path, directory: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    place.exists() && real(place).starts_with(real(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project in `site`, beside a directory `log`.
    fn project() -> (tempfile::TempDir, Config) {
        let here = tempfile::tempdir().unwrap();
        for directory in ["site/shop/admin", "lib", "log"] {
            fs::create_dir_all(here.path().join(directory)).unwrap();
        }
        for file in ["site/shop/__init__.py", "site/shop/wsgi.py", "lib/tools.py"] {
            fs::write(here.path().join(file), "").unwrap();
        }
        let config = Config {
            chdir: here.path().join("site"),
            pythonpath: vec![here.path().join("lib")],
            mounts: vec!["/=shop.wsgi:app".parse().unwrap()],
            ..Config::default()
        };
        (here, config)
    }

    #[test]
    fn a_module_is_its_file_and_the_packages_around_it() {
        let (here, config) = project();
        let files: Vec<_> = files(config.python_apps().next().unwrap(), &config).collect();
        let shop = here.path().join("site/shop");
        assert_eq!(files, [shop.join("__init__.py"), shop.join("wsgi.py")]);
    }

    #[test]
    fn code_below_a_directory_is_found_and_named_once() {
        let (here, config) = project();
        let at = |part: &str| here.path().join(part);
        let found = |part: &str| below(&at(part), &config, &Origins::default());
        let named = |what: &str, part: &str| format!("{what} `{}`", at(part).display());
        assert_eq!(found("log"), [""; 0]);
        assert_eq!(found("site/shop/admin"), [""; 0]);
        assert_eq!(
            found("."),
            [named("--chdir", "site"), named("--pythonpath", "lib")]
        );
        assert_eq!(found("lib"), [named("--pythonpath", "lib")]);
        assert_eq!(
            found("site/shop"),
            [
                named("the application", "site/shop/__init__.py"),
                named("the application", "site/shop/wsgi.py")
            ]
        );
        fs::write(at("site/shop/admin/views.py"), "").unwrap();
        assert_eq!(
            found("site/shop/admin"),
            [named("Python's", "site/shop/admin/views.py")]
        );
    }

    #[test]
    fn a_virtual_environment_is_code_through_links_too() {
        let (here, mut config) = project();
        let venv = here.path().join("venv");
        fs::create_dir_all(venv.join("bin")).unwrap();
        fs::create_dir_all(venv.join("lib/site-packages/log")).unwrap();
        std::os::unix::fs::symlink(env::current_exe().unwrap(), venv.join("bin/python")).unwrap();
        std::os::unix::fs::symlink(&venv, here.path().join("link")).unwrap();
        config.venv = Some(here.path().join("link"));
        let found = |part: &str| below(&venv.join(part), &config, &Origins::default()).len();
        assert_eq!(found("."), 1);
        assert_eq!(found("lib/site-packages/log"), 1);
        fs::create_dir(venv.join("log")).unwrap();
        assert_eq!(found("log"), 0);
    }
}
