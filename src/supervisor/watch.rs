//! Watching files, for `--reload` and `--touch-reload`.
//!
//! Directories are watched, not files: an editor that saves by renaming replaces the file, and a file to be touched
//! need not exist yet.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use thiserror::Error;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep_until},
};

use crate::config::{Config, Cure};

/// How long it has to be quiet after a change: saving several files, or checking out a branch, is one change.
const QUIET: Duration = Duration::from_millis(100);

/// How long a change waits for quiet at most.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Watches what a configuration says is to be watched.
pub(in crate::supervisor) struct Watch {
    watcher: RecommendedWatcher,
    events: UnboundedReceiver<notify::Result<Event>>,
    /// Whether modules are watched.
    reload: bool,
    /// The files to be touched.
    touched: HashSet<PathBuf>,
    /// The modules, which count whatever their names are.
    modules: HashSet<PathBuf>,
    /// Directories that are watched for modules: any Python file in them counts.
    sources: HashSet<PathBuf>,
    /// All directories that are watched for a file.
    watched: HashSet<PathBuf>,
    /// Directories to be watched that do not exist; the nearest one above them that does is watched meanwhile.
    missing: BTreeSet<PathBuf>,
    /// Whether the system allows no more watches.
    is_full: bool,
    noticed: Option<Noticed>,
}

/// A change that may go on.
struct Noticed {
    what: BTreeSet<PathBuf>,
    first: Instant,
    last: Instant,
}

impl Watch {
    /// Watches the files of `--touch-reload`, and with `--reload` is ready for [`Watch::modules`]; `None` if neither
    /// was asked for.
    ///
    /// # Errors
    /// The system refuses to watch files.
    pub(in crate::supervisor) fn new(config: &Config) -> Result<Option<Self>, WatchError> {
        if !config.reload && config.touch_reload.is_empty() {
            return Ok(None);
        }
        let (sender, events) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Every import opens and reads files; the master need not wake up for that.
            if event.as_ref().map_or(true, is_change) {
                // Nobody listens any more when the master is about to end.
                let _ = sender.send(event);
            }
        })
        .map_err(|error| WatchError { error })?;
        let mut watch = Self {
            watcher,
            events,
            reload: config.reload,
            touched: HashSet::new(),
            modules: HashSet::new(),
            sources: HashSet::new(),
            watched: HashSet::new(),
            missing: BTreeSet::new(),
            is_full: false,
            noticed: None,
        };
        for file in &config.touch_reload {
            for file in places_of(file) {
                watch.watch_directory_of(&file);
                watch.touched.insert(file);
            }
        }
        Ok(Some(watch))
    }

    /// Waits for a change and for the quiet after it, and says what has changed, for the log. May be dropped while
    /// it waits; nothing is lost.
    pub(in crate::supervisor) async fn changed(&mut self) -> String {
        loop {
            let due = self.noticed.as_ref().map(Noticed::due);
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.note(event),
                    // Its thread has ended: nothing will change any more.
                    None => std::future::pending().await,
                },
                () = until(due) => {
                    if let Some(noticed) = self.noticed.take() {
                        return noticed.described();
                    }
                }
            }
        }
    }

    /// Watches the files of modules, unless only files to be touched are watched. They need not exist. One that has
    /// changed since they were `told` of is noticed now: no event tells of it any more.
    pub(in crate::supervisor) fn modules(&mut self, files: Vec<PathBuf>, told: SystemTime) {
        if !self.reload {
            return;
        }
        // If there are too many, those that are edited least are left out.
        let (packages, own): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| is_installed(file));
        for file in own.into_iter().chain(packages) {
            for file in places_of(&file) {
                self.watch_directory_of(&file);
                self.sources.extend(file.parent().map(Path::to_owned));
                if has_changed_since(&file, told) {
                    self.notice(file.clone());
                }
                self.modules.insert(file);
            }
        }
    }

    fn watch_directory_of(&mut self, file: &Path) {
        if let Some(directory) = file.parent() {
            if !self.watched.contains(directory) {
                self.place(directory);
            }
        }
    }

    /// Watches a directory, or what is above it until it exists.
    fn place(&mut self, directory: &Path) {
        for place in directory.ancestors() {
            if self.watched.contains(place) && place != directory {
                self.missing.insert(directory.to_owned());
                return;
            }
            if self.is_full {
                return;
            }
            match self.watcher.watch(place, RecursiveMode::NonRecursive) {
                Ok(()) if place == directory => {
                    self.missing.remove(directory);
                    self.watched.insert(directory.to_owned());
                    return;
                }
                Ok(()) => {
                    self.missing.insert(directory.to_owned());
                    return;
                }
                Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                    self.is_full = true;
                    tracing::warn!(
                        "no more directories can be watched: changes in {} and others are not seen\n  hint: raise \
                         the limit, as in sysctl fs.inotify.max_user_watches=524288",
                        place.display()
                    );
                    return;
                }
                Err(_) if !place.is_dir() => {}
                Err(error) => {
                    tracing::warn!("cannot watch {}: {error}", place.display());
                    return;
                }
            }
        }
    }

    fn note(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!("a change may have been missed: {error}");
                return;
            }
        };
        if event.need_rescan() {
            self.notice(PathBuf::from("more files than could be counted"));
        }
        let is_gone = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From))
        );
        for path in event.paths {
            if is_gone {
                self.lose(&path);
            }
            if self.is_module(&path) || self.touched.contains(&path) && !is_gone {
                self.notice(path);
            } else if !is_gone {
                self.find(&path);
            }
        }
    }

    /// Whether this is a module, or a Python file beside one.
    fn is_module(&self, path: &Path) -> bool {
        self.modules.contains(path)
            || path.file_name().is_some_and(is_source)
                && path
                    .parent()
                    .is_some_and(|parent| self.sources.contains(parent))
    }

    fn notice(&mut self, path: PathBuf) {
        let now = Instant::now();
        let noticed = self.noticed.get_or_insert_with(|| Noticed {
            what: BTreeSet::new(),
            first: now,
            last: now,
        });
        noticed.last = now;
        noticed.what.insert(path);
    }

    /// A directory has gone, with those below it.
    fn lose(&mut self, path: &Path) {
        let below = |other: &&PathBuf| other.starts_with(path);
        let lost: Vec<PathBuf> = self.watched.iter().filter(below).cloned().collect();
        // One above a missing one is watched too, and has to be replaced.
        let missing: Vec<PathBuf> = self.missing.iter().filter(below).cloned().collect();
        for directory in &lost {
            self.watched.remove(directory);
            // It would follow a directory that was renamed.
            let _ = self.watcher.unwatch(directory);
        }
        for directory in lost.iter().chain(&missing) {
            self.place(directory);
        }
        for directory in &lost {
            // Gone, or made anew before it was watched: either is a change of a module.
            self.notice_those_in(directory, |file, touched| !touched || file.exists());
        }
    }

    /// Something has appeared: it may be a directory that was missed.
    fn find(&mut self, path: &Path) {
        let below = |other: &&PathBuf| other.starts_with(path);
        let missing: Vec<PathBuf> = self.missing.iter().filter(below).cloned().collect();
        for directory in missing {
            self.place(&directory);
            if self.watched.contains(&directory) {
                // What was made in it before it was watched.
                self.notice_those_in(&directory, |file, _| file.exists());
            }
        }
    }

    /// Notices the known files of a directory for which `has_changed` is true: of each it is told whether it is one
    /// to be touched.
    fn notice_those_in(&mut self, directory: &Path, has_changed: impl Fn(&Path, bool) -> bool) {
        let touched = self.touched.iter().map(|file| (file, true));
        let modules = self.modules.iter().map(|file| (file, false));
        let changed: Vec<PathBuf> = touched
            .chain(modules)
            .filter(|(file, touched)| {
                file.parent() == Some(directory) && has_changed(file, *touched)
            })
            .map(|(file, _)| file.clone())
            .collect();
        for file in changed {
            self.notice(file);
        }
    }
}

impl Noticed {
    fn due(&self) -> Instant {
        (self.last + QUIET).min(self.first + LONGEST_WAIT)
    }

    /// `/srv/shop/views.py and 2 more have changed`.
    fn described(&self) -> String {
        let name = self
            .what
            .first()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        match self.what.len() {
            0 | 1 => format!("{name} has changed"),
            count => format!("{name} and {} more have changed", count - 1),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Whether something is not as before; opening and reading leave it as it is.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Whether this is the name of a Python file, and not of a copy that an editor makes beside it.
fn is_source(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".py") && !name.starts_with(b".") && !name.starts_with(b"#")
}

/// Whether pip has put the file there.
fn is_installed(file: &Path) -> bool {
    file.iter()
        .any(|part| part == "site-packages" || part == "dist-packages")
}

/// By the time of its inode's last change, which renaming another file over it sets too.
fn has_changed_since(file: &Path, then: SystemTime) -> bool {
    let Ok(then) = then.duration_since(SystemTime::UNIX_EPOCH) else {
        return false;
    };
    file.metadata().is_ok_and(|it| {
        (it.ctime(), it.ctime_nsec()) > (then.as_secs() as i64, i64::from(then.subsec_nanos()))
    })
}

/// A file as it was named and, if it is reached through a symbolic link, where it really is.
fn places_of(file: &Path) -> Vec<PathBuf> {
    let mut places = vec![file.to_owned()];
    places.extend(file.canonicalize().ok().filter(|real| real != file));
    places
}

/// Files cannot be watched.
#[derive(Debug, Error)]
#[error("cannot watch files: {error}")]
pub struct WatchError {
    /// What the system said.
    error: notify::Error,
}

impl Cure for WatchError {
    fn cure(&self) -> String {
        "if too many programs of this user watch files already, raise the limit, as in sysctl \
         fs.inotify.max_user_instances=512; or leave --reload and --touch-reload out"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, future::Future};

    use tempfile::TempDir;

    use super::*;

    /// A watch of a directory `src` with one module, `a.py`, unless told otherwise.
    struct Scene {
        directory: TempDir,
        watch: Watch,
    }

    impl Scene {
        fn new(modules: &[&str], touched: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("src")).unwrap();
            fs::write(directory.path().join("src/a.py"), "").unwrap();
            let config = Config {
                reload: !modules.is_empty(),
                touch_reload: touched.iter().map(|it| directory.path().join(it)).collect(),
                ..Config::default()
            };
            let mut watch = Watch::new(&config).unwrap().unwrap();
            let modules = modules.iter().map(|it| directory.path().join(it));
            watch.modules(modules.collect(), SystemTime::now());
            Self { directory, watch }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str) {
            fs::write(self.path(name), "x = 1").unwrap();
        }

        /// The next change, which must be soon, without the directory's name.
        async fn change(&mut self) -> String {
            let told = tokio::time::timeout(Duration::from_secs(20), self.watch.changed())
                .await
                .expect("a change");
            told.replace(&format!("{}/", self.directory.path().display()), "")
        }
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test);
    }

    #[test]
    fn nothing_is_watched_unless_asked_for() {
        assert!(Watch::new(&Config::default()).unwrap().is_none());
    }

    #[test]
    fn a_module_that_is_written_is_a_change() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &[]);
            scene.write("src/a.py");
            assert_eq!(scene.change().await, "src/a.py has changed");
        });
    }

    #[test]
    fn a_module_that_has_changed_before_it_was_watched_is_a_change() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &[]);
            fs::create_dir(scene.path("late")).unwrap();
            scene.write("late/b.py");
            let file = scene.path("late/b.py");
            let told = SystemTime::now() - Duration::from_secs(3600);
            scene.watch.modules(vec![file], told);
            assert_eq!(scene.change().await, "late/b.py has changed");
        });
    }

    #[test]
    fn new_and_removed_and_renamed_files_beside_a_module_are_changes() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &[]);
            scene.write("src/new.py");
            assert_eq!(scene.change().await, "src/new.py has changed");
            fs::remove_file(scene.path("src/new.py")).unwrap();
            assert_eq!(scene.change().await, "src/new.py has changed");
            scene.write("src/saved.tmp");
            fs::rename(scene.path("src/saved.tmp"), scene.path("src/a.py")).unwrap();
            assert_eq!(scene.change().await, "src/a.py has changed");
        });
    }

    #[test]
    fn several_files_are_one_change() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &[]);
            for name in ["src/b.py", "src/c.py", "src/d.py"] {
                scene.write(name);
            }
            assert_eq!(scene.change().await, "src/b.py and 2 more have changed");
            assert!(scene.watch.noticed.is_none());
        });
    }

    #[test]
    fn reading_and_other_files_are_no_change() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &["restart"]);
            fs::read(scene.path("src/a.py")).unwrap();
            fs::create_dir(scene.path("src/__pycache__")).unwrap();
            for name in [
                "src/__pycache__/a.cpython-313.pyc",
                "src/.#a.py",
                "src/a.py.swp",
                "src/a.py~",
                "src/4913",
                "other.py",
            ] {
                scene.write(name);
            }
            // Events come in order: were there a change before, it would be told too.
            scene.write("src/z.py");
            assert_eq!(scene.change().await, "src/z.py has changed");
        });
    }

    #[test]
    fn a_module_of_any_name_is_watched_by_its_own() {
        run(async {
            let mut scene = Scene::new(&["src/site.wsgi"], &[]);
            scene.write("src/site.wsgi");
            assert_eq!(scene.change().await, "src/site.wsgi has changed");
        });
    }

    #[test]
    fn a_directory_that_appears_later_is_watched() {
        run(async {
            let mut scene = Scene::new(&["src/package/inner/__init__.py"], &[]);
            fs::create_dir_all(scene.path("src/package/inner")).unwrap();
            scene.write("src/package/inner/__init__.py");
            assert_eq!(
                scene.change().await,
                "src/package/inner/__init__.py has changed"
            );
        });
    }

    #[test]
    fn a_directory_that_is_replaced_is_watched_again() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &[]);
            fs::rename(scene.path("src"), scene.path("old")).unwrap();
            fs::create_dir(scene.path("src")).unwrap();
            scene.write("src/a.py");
            assert_eq!(scene.change().await, "src/a.py has changed");
            fs::remove_dir_all(scene.path("src")).unwrap();
            assert_eq!(scene.change().await, "src/a.py has changed");
            fs::create_dir(scene.path("src")).unwrap();
            scene.write("src/a.py");
            assert_eq!(scene.change().await, "src/a.py has changed");
        });
    }

    #[test]
    fn a_file_is_touched_when_it_is_made_written_or_given_another_time() {
        run(async {
            let mut scene = Scene::new(&[], &["restart"]);
            scene.write("restart");
            assert_eq!(scene.change().await, "restart has changed");
            let file = fs::File::open(scene.path("restart")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
            assert_eq!(scene.change().await, "restart has changed");
            scene.write("restart");
            assert_eq!(scene.change().await, "restart has changed");
        });
    }

    #[test]
    fn removing_a_file_to_be_touched_is_no_touch() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &["src/restart"]);
            scene.write("src/restart");
            assert_eq!(scene.change().await, "src/restart has changed");
            fs::remove_file(scene.path("src/restart")).unwrap();
            scene.write("src/a.py");
            assert_eq!(scene.change().await, "src/a.py has changed");
        });
    }

    #[test]
    fn a_file_to_be_touched_is_followed_through_a_link() {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let (real, link) = (directory.path().join("real"), tempfile::tempdir().unwrap());
            fs::write(&real, "").unwrap();
            let link = link.path().join("restart");
            std::os::unix::fs::symlink(&real, &link).unwrap();
            let config = Config {
                touch_reload: vec![link],
                ..Config::default()
            };
            let mut watch = Watch::new(&config).unwrap().unwrap();
            fs::write(&real, "x").unwrap();
            let real = real.canonicalize().unwrap();
            assert_eq!(
                watch.changed().await,
                format!("{} has changed", real.display())
            );
        });
    }

    #[test]
    fn waiting_may_be_given_up_and_taken_up_again() {
        run(async {
            let mut scene = Scene::new(&["src/a.py"], &[]);
            scene.write("src/a.py");
            while scene.watch.noticed.is_none() {
                let _ = tokio::time::timeout(Duration::from_millis(1), scene.watch.changed()).await;
            }
            assert_eq!(scene.change().await, "src/a.py has changed");
        });
    }
}
