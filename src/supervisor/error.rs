//! Errors of the master and its processes, with what to do about each.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

use rustix::process::Signal;
use thiserror::Error;

use crate::{
    config::{Cure, InterpreterError, ProbeError, ResolveError},
    server::BindError,
    supervisor::{
        backend::python::channel::Why,
        sockets::{inherited::ActivationError, pidfile::PidfileError},
        system::{
            credentials::CredentialsError,
            privileges::{Identity, PrivilegeError},
            process::described,
            sandbox::SandboxError,
        },
        watch::WatchError,
    },
};

/// Why nothing can be served, or no more.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// A socket cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket cannot be made by the user that this process has become.
    #[error("{error}, as {user}")]
    NotRoot {
        /// What the system refused.
        error: BindError,
        /// Who this process is.
        user: String,
    },
    /// The control socket that was asked for cannot be made.
    #[error("no control socket: {0}")]
    Control(#[source] BindError),
    /// The metrics cannot be answered where it was asked for.
    #[error("no metrics: {0}")]
    Metrics(#[source] BindError),
    /// `--socket-owner` names nobody.
    #[error(transparent)]
    Owner(#[from] ResolveError),
    /// The sockets that were passed cannot be used.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// TLS cannot be spoken with the files that were named.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// spile cannot become whom `--user` and `--group` name.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// What `--sandbox` asks for cannot be done.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// There is no Python to run.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The Python that is there will not do.
    #[error(transparent)]
    Python(#[from] ProbeError),
    /// The mold or a worker has said why it cannot serve the applications.
    #[error("{}", .0.what)]
    Application(Why),
    /// The mold has ended without a word before the applications were imported.
    #[error("the applications were not imported: the mold {}", described(*.status))]
    Import {
        /// How the mold ended.
        status: ExitStatus,
    },
    /// Workers end before they serve, and say nothing.
    #[error("new workers end before they serve: the last one, process {pid}, {}", described(*.status))]
    Stillborn {
        /// The last one.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// The mold has ended after the import, and no worker has served.
    #[error("no worker serves yet, and the mold {}", described(*.status))]
    Unserved {
        /// How the mold ended.
        status: ExitStatus,
    },
    /// The pid file cannot be this process's.
    #[error(transparent)]
    Pidfile(#[from] PidfileError),
    /// Files cannot be watched for `--reload` or `--touch-reload`.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The memory that workers report in cannot be made.
    #[error("cannot share memory with the workers, by memfd_create(2): {0}")]
    SharedMemory(#[source] io::Error),
    /// The master that has come after this one, the first process of a container, has failed.
    #[error("the new master (process {pid}) {how}", how = described(*.status))]
    Successor {
        /// The master.
        pid: u32,
        /// How it has ended.
        status: ExitStatus,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl SupervisorError {
    /// Gives an I/O error its place.
    pub(in crate::supervisor) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Names the user who may not bind a socket, in place of root, who might.
    pub(in crate::supervisor) fn for_want_of_root(self, identity: Option<&Identity>) -> Self {
        match (self, identity) {
            (Self::Bind(error), Some(identity)) if error.is_forbidden() => Self::NotRoot {
                error,
                user: identity.described(),
            },
            (other, _) => other,
        }
    }
}

impl Cure for SupervisorError {
    fn cure(&self) -> String {
        match self {
            Self::Bind(error) => bind_cure(error, "--socket"),
            Self::NotRoot { .. } => {
                "restart spile as root: it makes its sockets before it becomes that user; where that user may make files \
                 it needs no restart"
                    .to_owned()
            }
            Self::Control(error) => bind_cure(error, "--control"),
            Self::Metrics(error) => bind_cure(error, "--metrics"),
            Self::Owner(error) => error.cure(),
            Self::Activation(error) => error.cure(),
            Self::Credentials(error) => error.cure(),
            Self::Privileges(error) => error.cure(),
            Self::Sandbox(error) => error.cure(),
            Self::Interpreter(error) => error.cure(),
            Self::Python(error) => error.cure(),
            Self::Application(why) => why.cure.clone(),
            Self::Import { status } | Self::Stillborn { status, .. }
                if status.signal() == Some(Signal::KILL.as_raw()) =>
            {
                "when nobody has killed it, memory ran out: see `journalctl -k` or `dmesg`".to_owned()
            }
            Self::Import { .. } | Self::Stillborn { .. } => {
                "look for what ends the process while the application is imported, such as os._exit() or a crash in a \
                 library; what it wrote is above"
                    .to_owned()
            }
            Self::Watch(error) => error.cure(),
            Self::Unserved { .. } => {
                "the lines above say what went wrong; look at what the application runs after a fork \
                 (@spile.post_fork, os.register_at_fork)"
                    .to_owned()
            }
            Self::Successor { .. } => "its last lines above say why".to_owned(),
            Self::Pidfile(error) => error.cure(),
            Self::SharedMemory(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                "have the seccomp profile of the container, or SystemCallFilter= of the unit, allow that call".to_owned()
            }
            Self::SharedMemory(_) => "give the server more memory and open files".to_owned(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "give the user that spile runs as the permission, or name another place".to_owned()
            }
            Self::Io { .. } => "`spile check` looks at the options one by one".to_owned(),
        }
    }
}

fn bind_cure(error: &BindError, option: &str) -> String {
    let kind = match error {
        BindError::Address(error) => return error.cure(),
        BindError::InUse {
            owner: Some(pid), ..
        } if *pid == std::process::id() => {
            return format!("choose another {option}: no two options may name the same place");
        }
        BindError::InUse { .. } => io::ErrorKind::AddrInUse,
        BindError::NotASocket { .. } => io::ErrorKind::AlreadyExists,
        BindError::Io { source, .. } => source.kind(),
    };
    match kind {
        io::ErrorKind::AddrInUse => {
            return format!("stop what listens there, or choose another {option}");
        }
        io::ErrorKind::AlreadyExists => {
            "choose another path, or remove it: spile replaces nothing but sockets"
        }
        io::ErrorKind::NotFound => {
            "make the socket's directory; below /run a systemd unit does that with RuntimeDirectory="
        }
        io::ErrorKind::PermissionDenied => {
            return format!(
                "choose a {option} that the user spile runs as may make: its directory, a --socket-owner it may \
                 give, or a port above 1023"
            );
        }
        io::ErrorKind::AddrNotAvailable => {
            "give an address of this machine, or 0.0.0.0 or [::] for all of them"
        }
        _ => "`spile check` looks at the sockets one by one",
    }
    .to_owned()
}
