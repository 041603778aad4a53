//! `--sandbox`: applications, and all that they start, write to a few places only. The kernel's Landlock does that.
//!
//! Landlock restricts a thread, for good, with all threads and processes that it starts from then on. So whatever is
//! to be restricted is started by a thread that has restricted itself, and the master stays free: it runs nothing of
//! the user's, has files to remove, and starts another binary at an upgrade.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, PathFdError, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use thiserror::Error;

use crate::config::{AccessLog, Config};

/// The newest rights that are asked for: ioctl(2) on devices. Reading is free, and so are pathname sockets and the
/// network, or no application would reach its database.
const RIGHTS: ABI = ABI::V5;
/// Where signals and abstract sockets came in.
const SCOPES: ABI = ABI::V6;

/// Written to by half of all programs, and nothing is kept there.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];
/// Where the C library keeps semaphores and shared memory: Python's `multiprocessing` has its locks there.
const SHARED_MEMORY: &str = "/dev/shm";

/// The places that applications may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// $TMPDIR, for uploads and for what applications keep for a moment.
    temporary: PathBuf,
    named: Vec<PathBuf>,
    log: Option<Log>,
}

/// The rights that opening the access log anew takes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Log {
    /// The file was renamed, and another is to be made: a rule for the file would stay with the old one.
    /// The rule is for all that is below its directory.
    Below(PathBuf),
    /// A pipe or a device, which stays.
    At(PathBuf),
}

impl Sandbox {
    /// The one that the configuration asks for.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        config.sandbox.then(|| Self {
            temporary: temporary(config),
            named: config.sandbox_write.clone(),
            log: match &config.access_log {
                AccessLog::File(path) => log(path),
                AccessLog::Off | AccessLog::Stdout | AccessLog::Descriptor(..) => None,
            },
        })
    }

    /// Where temporary files go: it has to exist.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Where files for the access log are made, and all below it: Landlock knows no rule for a directory alone.
    pub(crate) fn log_directory(&self) -> Option<&Path> {
        match &self.log {
            Some(Log::Below(directory)) => Some(directory),
            Some(Log::At(_)) | None => None,
        }
    }

    /// The same without the places that are not there, which would keep it from being made.
    pub(crate) fn of_what_is_there(mut self) -> Self {
        self.named.retain(|path| path.exists());
        if !self.temporary.exists() {
            self.temporary = SHARED_MEMORY.into();
        }
        self.log = self.log.filter(|log| match log {
            Log::Below(path) | Log::At(path) => path.exists(),
        });
        self
    }

    /// `/tmp, /srv/media, /dev/shm, and files below /var/log/app, for the access log`.
    pub(crate) fn described(&self) -> String {
        let places = [&self.temporary].into_iter().chain(&self.named);
        let mut places: Vec<_> = places.map(|it| it.display().to_string()).collect();
        places.push(SHARED_MEMORY.to_owned());
        match &self.log {
            None => places.join(", "),
            Some(Log::At(path)) => format!("{}, {}", places.join(", "), path.display()),
            Some(Log::Below(directory)) => {
                let shown = directory.display();
                format!(
                    "{}, and files below {shown}, for the access log",
                    places.join(", ")
                )
            }
        }
    }

    /// Does `work` on a thread that is restricted, and returns what came of it and of the restriction.
    ///
    /// # Errors
    /// The work was not begun: see [`SandboxError`].
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
    ) -> Result<(T, Option<Gap>), SandboxError> {
        thread::scope(|scope| {
            let restricted = scope.spawn(|| self.restrict().map(|gap| (work(), gap)));
            restricted.join().unwrap_or_else(|_| Err(died()))
        })
    }

    /// As [`run`](Self::run), for what ends later. The thread lasts until the [`Parent`] is dropped: to the kernel it
    /// is the parent of the processes that `begin` starts, whose end `PR_SET_PDEATHSIG` tells them of.
    ///
    /// # Errors
    /// `begin` was not called: see [`SandboxError`].
    pub(in crate::supervisor) fn start<T: Send + 'static>(
        &self,
        begin: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Option<Gap>, Parent), SandboxError> {
        let sandbox = self.clone();
        let (tell, told) = mpsc::sync_channel(1);
        let (parent, dropped) = mpsc::channel();
        self.thread("spile-sandbox", move || {
            let begun = sandbox.restrict().map(|gap| (begin(), gap));
            // The master waits for it.
            let _ = tell.send(begun);
            let _: Result<(), _> = dropped.recv();
        })?;
        let (begun, gap) = told.recv().unwrap_or_else(|_| Err(died()))?;
        Ok((begun, gap, Parent { _thread: parent }))
    }

    fn thread(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, SandboxError> {
        let named = thread::Builder::new().name(name.to_owned());
        named.spawn(work).map_err(SandboxError::Thread)
    }

    /// Restricts this thread, and all that it starts, for good.
    fn restrict(&self) -> Result<Option<Gap>, SandboxError> {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_write(RIGHTS))?
            .scope(Scope::from_all(SCOPES))?
            .create()?;
        for (path, access) in self.rules() {
            let opened = match PathFd::new(path) {
                // This machine has no such thing, so nobody writes to it.
                Err(PathFdError::OpenCall { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && path.starts_with("/dev") =>
                {
                    continue;
                }
                opened => opened.map_err(|error| SandboxError::path(path, error))?,
            };
            rules = rules.add_rule(PathBeneath::new(opened, access))?;
        }
        Ok(Gap::of(rules.restrict_self()?.landlock))
    }

    fn rules(&self) -> impl Iterator<Item = (&Path, BitFlags<AccessFs>)> {
        let all = AccessFs::from_write(RIGHTS);
        let fixed = DEVICES.iter().chain([&SHARED_MEMORY]).map(Path::new);
        let named = self.named.iter().map(PathBuf::as_path);
        let free = [self.temporary.as_path()]
            .into_iter()
            .chain(fixed)
            .chain(named);
        let log = self.log.as_ref().map(|log| match log {
            // Neither to remove nor to rename what is there.
            Log::Below(path) => (
                path.as_path(),
                make_bitflags!(AccessFs::{WriteFile | MakeReg}),
            ),
            Log::At(path) => (path.as_path(), AccessFs::WriteFile.into()),
        });
        free.map(move |path| (path, all)).chain(log)
    }
}

/// The restricted thread that has started something; it ends when this is dropped.
#[derive(Debug)]
pub(in crate::supervisor) struct Parent {
    _thread: mpsc::Sender<()>,
}

/// The variable that names the directory for temporary files.
pub(in crate::supervisor) const TEMPORARY: &str = "TMPDIR";

/// Where an application's process puts temporary files: the variables of `--env` are its own.
fn temporary(config: &Config) -> PathBuf {
    let own = config.env.get(TEMPORARY).filter(|it| !it.is_empty());
    if config.python_apps().next().is_none() {
        return env::temp_dir();
    }
    // A relative one means the directory that it runs in.
    config
        .chdir
        .join(own.map_or_else(env::temp_dir, PathBuf::from))
}

fn log(path: &Path) -> Option<Log> {
    let path = followed(path);
    // /dev/stdout, /proc/self/fd/1: nothing is made there. A pipe without a name is free to all who can find it.
    if is_of_the_kernel(&path) {
        return fs::canonicalize(path).ok().map(Log::At);
    }
    let is_file = path.metadata().map_or(true, |found| found.is_file());
    match path.parent() {
        Some(directory) if is_file => Some(Log::Below(
            fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned()),
        )),
        _ => Some(Log::At(path)),
    }
}

/// Where the file is that is opened or made under this name. `canonicalize` finds only what is there.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) if !is_of_the_kernel(&path) => {
                path = path.parent().map_or(target.clone(), |it| it.join(&target));
            }
            _ => break,
        }
    }
    path
}

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

fn is_of_the_kernel(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// What this kernel cannot restrict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Nothing at all is restricted.
    Everything {
        /// Whether the kernel has it, and was started without.
        built: bool,
    },
    /// Its Landlock is an old one.
    Some {
        /// The version of Landlock.
        version: String,
        /// What is not restricted.
        rights: Vec<&'static str>,
    },
}

impl Gap {
    fn of(status: LandlockStatus) -> Option<Self> {
        let abi = match status {
            LandlockStatus::NotImplemented => return Some(Self::Everything { built: false }),
            LandlockStatus::NotEnabled => return Some(Self::Everything { built: true }),
            LandlockStatus::Available { effective_abi, .. } => effective_abi,
        };
        let rights: Vec<_> = [
            (ABI::V3, "truncating files"),
            (ABI::V5, "ioctl(2) on devices"),
            (ABI::V6, "signals to processes outside"),
            (ABI::V6, "connections to abstract unix sockets"),
        ]
        .into_iter()
        .filter_map(|(since, right)| (abi < since).then_some(right))
        .collect();
        (!rights.is_empty()).then_some(Self::Some {
            version: abi.to_string(),
            rights,
        })
    }

    /// What is not as `--sandbox` says.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Everything { .. } => {
                "--sandbox restricts nothing on this machine, for want of Landlock: applications may write wherever \
                 their user may"
                    .to_owned()
            }
            Self::Some { version, rights } => format!(
                "--sandbox does not restrict all: with Landlock {version}, this kernel's, these are free: {}",
                rights.join(", ")
            ),
        }
    }

    /// What to do about it.
    pub(crate) fn cure(&self) -> &'static str {
        match self {
            Self::Everything { built: true } => {
                "start the kernel with landlock in its list of security modules: lsm=landlock,... (see \
                 /sys/kernel/security/lsm)"
            }
            Self::Everything { built: false } => {
                "Linux 5.13 and newer have it, if they are built with it; in a container, its seccomp filter has to \
                 allow it"
            }
            Self::Some { .. } => "Linux 6.12 and newer restrict all of it",
        }
    }

    /// Says so in the log.
    pub(in crate::supervisor) fn warn(&self) {
        tracing::warn!("{}\n  hint: {}", self.what(), self.cure());
    }
}

/// Why nothing was started in the sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A place that may be written to cannot be opened.
    #[error("the sandbox cannot open `{path}`: {source}", path = path.display())]
    Path {
        /// The place.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel has Landlock, and refused.
    #[error("the sandbox cannot be made: {0}")]
    Refused(#[from] RulesetError),
    /// The system refused a thread.
    #[error("the sandbox cannot be made: no thread: {0}")]
    Thread(#[source] io::Error),
}

impl SandboxError {
    fn path(path: &Path, error: PathFdError) -> Self {
        let source = match error {
            PathFdError::OpenCall { source, .. } => source,
            other => io::Error::other(other),
        };
        Self::Path {
            path: path.to_owned(),
            source,
        }
    }
}

impl crate::config::Cure for SandboxError {
    fn cure(&self) -> String {
        match self {
            Self::Path { .. } => {
                "it has to exist, and the user that spile runs as has to reach it: see --sandbox-write and $TMPDIR"
            }
            Self::Refused(_) => "see landlock(7), or leave --sandbox out",
            Self::Thread(_) => "raise the limit of processes (ulimit -u, or TasksMax= of the unit)",
        }
        .to_owned()
    }
}

/// The thread has panicked, which it said itself.
fn died() -> SandboxError {
    SandboxError::Thread(io::Error::other("it ended too early"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut Config)) -> Sandbox {
        let mut config = Config {
            mounts: vec!["/=app:app".parse().unwrap()],
            sandbox: true,
            ..Config::default()
        };
        config
            .env
            .insert("TMPDIR".to_owned(), "/srv/tmp".to_owned());
        change(&mut config);
        Sandbox::of(&config).unwrap()
    }

    #[test]
    fn nothing_is_restricted_unless_it_is_asked_for() {
        assert_eq!(Sandbox::of(&Config::default()), None);
    }

    #[test]
    fn the_temporary_directory_is_the_applications_own() {
        assert_eq!(of(|_| {}).temporary(), Path::new("/srv/tmp"));
        let relative = of(|config| {
            config.chdir = "/srv/app".into();
            config.env.insert("TMPDIR".to_owned(), "tmp".to_owned());
        });
        assert_eq!(relative.temporary(), Path::new("/srv/app/tmp"));
        // Those variables are for Python.
        let native = of(|config| config.mounts = vec!["/=hello://".parse().unwrap()]);
        assert_eq!(native.temporary(), env::temp_dir());
    }

    #[test]
    fn an_access_log_is_made_anew_in_its_directory_and_a_device_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("access.log");
        assert_eq!(log(&file), Some(Log::Below(directory.path().to_owned())));
        let device = PathBuf::from("/dev/null");
        assert_eq!(log(&device), Some(Log::At(device)));
        assert_eq!(log(Path::new("/dev/no-such-thing")), None);
    }

    #[test]
    fn a_link_to_an_access_log_is_followed_to_where_files_are_made() {
        let here = tempfile::tempdir().unwrap();
        let [named, meant] = ["named", "meant"].map(|name| here.path().join(name));
        for directory in [&named, &meant] {
            fs::create_dir(directory).unwrap();
        }
        let link = named.join("access.log");
        std::os::unix::fs::symlink("../meant/access.log", &link).unwrap();
        let below = Some(Log::Below(fs::canonicalize(&meant).unwrap()));
        assert_eq!(log(&link), below);
        fs::write(meant.join("access.log"), "").unwrap();
        assert_eq!(log(&link), below);
        let device = named.join("device");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        assert_eq!(log(&device), Some(Log::At("/dev/null".into())));
    }

    #[test]
    fn what_may_be_written_to_is_described() {
        let sandbox = of(|config| {
            config.sandbox_write = vec!["/srv/media".into()];
            config.access_log = AccessLog::File("/var/log/app/access.log".into());
        });
        assert_eq!(
            sandbox.described(),
            "/srv/tmp, /srv/media, /dev/shm, and files below /var/log/app, for the access log"
        );
    }

    #[test]
    fn what_a_kernel_cannot_restrict_is_said() {
        let none = Gap::of(LandlockStatus::NotImplemented).unwrap();
        assert!(
            none.what().contains("restricts nothing on this machine"),
            "{}",
            none.what()
        );
        assert!(none.cure().contains("Linux 5.13"), "{}", none.cure());
        let off = Gap::of(LandlockStatus::NotEnabled).unwrap();
        assert_eq!(off.what(), none.what());
        assert!(off.cure().contains("lsm="), "{}", off.cure());
        let of = |effective_abi| {
            Gap::of(LandlockStatus::Available {
                effective_abi,
                kernel_abi: None,
            })
        };
        assert_eq!(
            of(ABI::V4).unwrap().what(),
            "--sandbox does not restrict all: with Landlock 4, this kernel's, these are free: ioctl(2) on devices, \
             signals to processes outside, connections to abstract unix sockets"
        );
        assert!(of(ABI::V1).unwrap().what().contains("truncating files"));
        assert_eq!(of(ABI::V6), None);
        assert_eq!(of(ABI::V7), None);
    }

    #[test]
    fn the_thread_that_asks_stays_free() {
        let [inside, outside] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (within, beyond) = (inside.path().join("file"), outside.path().join("file"));
        let sandbox = of(|config| {
            config
                .env
                .insert("TMPDIR".to_owned(), inside.path().display().to_string());
        });
        let write = || [&within, &beyond].map(|path| fs::write(path, "x").map_err(|it| it.kind()));
        let (written, gap) = sandbox.run(write).unwrap();
        if matches!(gap, Some(Gap::Everything { .. })) {
            return;
        }
        assert_eq!(written, [Ok(()), Err(io::ErrorKind::PermissionDenied)]);
        assert_eq!(write(), [Ok(()), Ok(())]);
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error_with_its_name() {
        let said = of(|_| {}).run(|| ()).unwrap_err().to_string();
        assert!(
            said.starts_with("the sandbox cannot open `/srv/tmp`: No such file"),
            "{said}"
        );
    }
}
