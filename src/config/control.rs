//! Where the control socket is: one rule, for the server that makes it and for the commands that ask it.

use std::{
    env, fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::{Config, SocketAddress};

/// What the names of control sockets end in.
const SUFFIX: &str = ".control";

/// The directory of spile's own within one that others use too.
const OURS: &str = "spile";

/// The place of a control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPath {
    /// The socket.
    pub path: PathBuf,
    /// Whether `--control` names it. One that nobody asked for is no reason not to serve.
    pub asked: bool,
    /// The permissions of its directory, where spile makes it.
    directory: Option<u32>,
}

impl ControlPath {
    /// Makes the directory where that is spile's to do, and sees that nobody else may change what is in it.
    ///
    /// # Errors
    /// The directory cannot be made; [`io::ErrorKind::PermissionDenied`] when it is somebody else's.
    pub fn make_directory(&self) -> io::Result<()> {
        let (Some(mode), Some(directory)) = (self.directory, self.path.parent()) else {
            return Ok(());
        };
        match fs::DirBuilder::new().mode(mode).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // A symbolic link would be followed to a directory that its maker chose.
        let found = fs::symlink_metadata(directory)?;
        let me = rustix::process::geteuid().as_raw();
        if found.is_dir() && found.uid() == me && found.mode() & 0o022 == 0 {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not this user's alone", directory.display()),
            ))
        }
    }
}

impl Config {
    /// Where a server that listens on `first`, the first of its sockets as it was bound, has its control socket:
    ///
    /// 1. where `--control` says;
    /// 2. else beside the pid file, `PIDFILE.control`;
    /// 3. else named after `first` (`run-app.sock.control` for `unix:/run/app.sock`, `127.0.0.1-3031.control`) in the
    ///    first of: the first entry of `$RUNTIME_DIRECTORY`, which systemd sets; `$XDG_RUNTIME_DIR/spile`, if
    ///    `$XDG_RUNTIME_DIR` is this user's; `/run/spile` for root; `$TMPDIR/spile-UID`.
    #[must_use]
    pub fn control_path(&self, first: &SocketAddress) -> ControlPath {
        let mut all = self.control_paths(first, &Surroundings::here());
        all.swap_remove(0)
    }

    /// Where the control socket of a server with these options may be, the likeliest first: by the rule of
    /// [`Config::control_path`], and where it may have led a server in other surroundings, such as a unit of
    /// systemd.
    #[must_use]
    pub fn control_candidates(&self) -> Vec<PathBuf> {
        let default = Self::default().sockets;
        let first = self.sockets.iter().chain(&default).next();
        first.map_or_else(Vec::new, |first| {
            let all = self.control_paths(first, &Surroundings::here());
            all.into_iter().map(|found| found.path).collect()
        })
    }

    /// Never empty.
    fn control_paths(&self, first: &SocketAddress, around: &Surroundings) -> Vec<ControlPath> {
        let at = |path, asked| ControlPath {
            path,
            asked,
            directory: None,
        };
        if let Some(path) = &self.control {
            return vec![at(path.clone(), true)];
        }
        if let Some(pidfile) = &self.pidfile {
            let mut path = pidfile.clone().into_os_string();
            path.push(SUFFIX);
            return vec![at(path.into(), false)];
        }
        let address = match first {
            SocketAddress::Unix(path) => SocketAddress::Unix(around.directory.join(path)),
            SocketAddress::Tcp(..) => first.clone(),
        };
        let mut found: Vec<ControlPath> = Vec::new();
        for (directory, mode) in around.directories(&address) {
            let path = within(&directory, &name(&address));
            if !found.iter().any(|other| other.path == path) {
                found.push(ControlPath {
                    path,
                    asked: false,
                    directory: mode,
                });
            }
        }
        found
    }
}

/// What the rule looks at besides the options.
struct Surroundings {
    /// `$RUNTIME_DIRECTORY`: directories, separated by colons (systemd.exec(5)).
    runtime: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`, if it is this user's.
    user_runtime: Option<PathBuf>,
    /// `$TMPDIR`, or `/tmp`.
    temporary: PathBuf,
    /// The effective user id.
    user: u32,
    /// The current directory.
    directory: PathBuf,
}

impl Surroundings {
    fn here() -> Self {
        let user = rustix::process::geteuid().as_raw();
        let directory = |name| env::var_os(name).map(PathBuf::from);
        let runtime = directory("RUNTIME_DIRECTORY")
            .and_then(|listed| env::split_paths(&listed).next())
            .filter(|path| path.is_absolute());
        // After `su` it may still be that of the user from before.
        let user_runtime = directory("XDG_RUNTIME_DIR")
            .filter(|path| fs::metadata(path).is_ok_and(|found| found.uid() == user));
        Self {
            runtime,
            user_runtime,
            temporary: env::temp_dir(),
            user,
            directory: env::current_dir().unwrap_or_default(),
        }
    }

    /// Returns the directories in order, with the permissions of those that spile makes.
    fn directories(&self, first: &SocketAddress) -> Vec<(PathBuf, Option<u32>)> {
        let system = Path::new("/run");
        let mut all = Vec::new();
        all.extend(self.runtime.clone().map(|path| (path, None)));
        let user_runtime = self.user_runtime.as_ref();
        all.extend(user_runtime.map(|path| (path.join(OURS), Some(0o700))));
        if self.user == 0 {
            all.push((system.join(OURS), Some(0o755)));
        }
        let temporary = format!("{OURS}-{}", self.user);
        all.push((self.temporary.join(temporary), Some(0o700)));
        // Never the first: where others look for a service whose runtime directory has its socket too. Outside
        // /run anybody might have put something there.
        if let SocketAddress::Unix(path) = first {
            let beside = path.parent().filter(|path| path.starts_with(system));
            all.extend(beside.map(|path| (path.to_owned(), None)));
        }
        all
    }
}

/// Returns the address as the name of a file.
fn name(address: &SocketAddress) -> String {
    let text = match address {
        SocketAddress::Unix(path) => {
            // Without any `.` or doubled slash.
            let plain: PathBuf = path.components().collect();
            plain.to_string_lossy().trim_start_matches('/').to_owned()
        }
        SocketAddress::Tcp(host, port) => format!("{host}-{port}"),
    };
    let plain = |c: char| {
        if c == '/' || c == ':' || c.is_control() {
            '-'
        } else {
            c
        }
    };
    text.chars().map(plain).collect::<String>() + SUFFIX
}

/// Returns the file in the directory; under a shorter name if the kernel would not take the path for a socket.
fn within(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    if path.as_os_str().len() <= SocketAddress::MAX_PATH {
        return path;
    }
    directory.join(format!("{:016x}{SUFFIX}", fnv(path.as_os_str().as_bytes())))
}

/// FNV-1a: the same number from every version of spile.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn surroundings(user: u32) -> Surroundings {
        Surroundings {
            runtime: None,
            user_runtime: None,
            temporary: "/tmp".into(),
            user,
            directory: "/srv/app".into(),
        }
    }

    fn paths(config: &Config, first: &str, around: &Surroundings) -> Vec<String> {
        let found = config.control_paths(&first.parse().unwrap(), around);
        let text = |found: ControlPath| found.path.into_os_string().into_string().unwrap();
        found.into_iter().map(text).collect()
    }

    #[test]
    fn what_was_asked_for_comes_before_the_pid_file_and_that_before_the_runtime_directory() {
        let mut config = Config::default();
        let around = surroundings(1000);
        let place = |config: &Config| paths(config, "127.0.0.1:3031", &around);
        assert_eq!(place(&config), ["/tmp/spile-1000/127.0.0.1-3031.control"]);
        config.pidfile = Some("/run/app.pid".into());
        assert_eq!(place(&config), ["/run/app.pid.control"]);
        config.control = Some("/run/app.ctl".into());
        assert_eq!(place(&config), ["/run/app.ctl"]);
    }

    #[test]
    fn the_server_takes_the_first_and_a_client_tries_all() {
        let config = Config::default();
        let root = Surroundings {
            runtime: Some("/run/shop".into()),
            user_runtime: Some("/run/user/0".into()),
            ..surroundings(0)
        };
        assert_eq!(
            paths(&config, "unix:/run/shop/app.sock", &root),
            [
                "/run/shop/run-shop-app.sock.control",
                "/run/user/0/spile/run-shop-app.sock.control",
                "/run/spile/run-shop-app.sock.control",
                "/tmp/spile-0/run-shop-app.sock.control",
            ]
        );
        assert_eq!(
            paths(&config, "unix:/run/shop/app.sock", &surroundings(33)),
            [
                "/tmp/spile-33/run-shop-app.sock.control",
                "/run/shop/run-shop-app.sock.control",
            ]
        );
    }

    #[test]
    fn an_address_has_one_name_from_wherever_it_is_written() {
        let config = Config::default();
        let name = |address: &str| paths(&config, address, &surroundings(1)).swap_remove(0);
        for address in ["app.sock", "./app.sock", "unix:/srv/app/app.sock"] {
            assert_eq!(name(address), "/tmp/spile-1/srv-app-app.sock.control");
        }
        assert_eq!(name("[::1]:80"), "/tmp/spile-1/--1-80.control");
    }

    #[test]
    fn a_path_that_is_too_long_gets_a_short_name_of_its_own() {
        let config = Config::default();
        let name = |letter: &str| {
            let address = format!("unix:/{}.sock", letter.repeat(100));
            paths(&config, &address, &surroundings(1)).swap_remove(0)
        };
        assert!(name("a").len() <= SocketAddress::MAX_PATH, "{}", name("a"));
        assert_ne!(name("a"), name("b"));
        assert_eq!(name("a"), name("a"));
    }

    #[test]
    fn a_directory_of_somebody_else_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| ControlPath {
            path: directory.path().join(name).join("x.control"),
            asked: false,
            directory: Some(0o700),
        };
        let ours = at("ours");
        ours.make_directory().unwrap();
        ours.make_directory().unwrap();
        let made = fs::metadata(ours.path.parent().unwrap()).unwrap();
        assert_eq!(made.mode() & 0o777, 0o700);

        symlink(directory.path().join("ours"), directory.path().join("link")).unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        for name in ["link", "open"] {
            let error = at(name).make_directory().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}");
        }
    }
}
