//! What to do about an error of the supervisor.

use std::{io, os::unix::process::ExitStatusExt};

use rustix::process::Signal;

use super::SupervisorError;
use crate::{config::Cure, server::BindError};

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
            Self::Pidfile { .. } => {
                "choose a --pidfile in a directory that this user may write to".to_owned()
            }
            Self::NotAPidfile { .. } => {
                "name another file, or remove this one: only pid files are replaced".to_owned()
            }
            Self::Running { pid, .. } => {
                format!("stop it (kill {pid}), or choose another --pidfile")
            }
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
