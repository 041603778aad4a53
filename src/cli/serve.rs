//! `spile serve`.

use std::{io, os::unix::process::ExitStatusExt};

use super::{Status, say_error};
use crate::{
    config::{Config, Cure},
    server::BindError,
    supervisor::{self, SupervisorError},
};

/// Serves until asked to stop.
pub(super) fn run(config: &Config) -> Status {
    match supervisor::serve(config) {
        Ok(_) => Status::Success,
        Err(error) => {
            say_error(&error.to_string(), &cure(&error));
            match error {
                SupervisorError::Owner(_)
                | SupervisorError::Interpreter(_)
                | SupervisorError::Python(_) => Status::Mistake,
                _ => Status::Failure,
            }
        }
    }
}

fn cure(error: &SupervisorError) -> String {
    match error {
        SupervisorError::Bind(error) => bind_cure(error),
        SupervisorError::Owner(error) => error.cure(),
        SupervisorError::Interpreter(error) => error.cure(),
        SupervisorError::Python(error) => error.cure(),
        SupervisorError::Import { status } if status.signal().is_some() => {
            "it was killed: when nobody did, memory ran out (see dmesg)".to_owned()
        }
        SupervisorError::Import { .. } => {
            "the lines above say what was looked for, and where".to_owned()
        }
        SupervisorError::Pidfile { .. } => {
            "choose a --pidfile in a directory that this user may write to".to_owned()
        }
        SupervisorError::Watch(error) => error.cure(),
        SupervisorError::Io { .. } => "`spile check` looks at the options one by one".to_owned(),
    }
}

fn bind_cure(error: &BindError) -> String {
    let kind = match error {
        BindError::Address(error) => return error.cure(),
        BindError::InUse { .. } => io::ErrorKind::AddrInUse,
        BindError::NotASocket { .. } => io::ErrorKind::AlreadyExists,
        BindError::Io { source, .. } => source.kind(),
    };
    match kind {
        io::ErrorKind::AddrInUse => "stop what listens there, or choose another --socket",
        io::ErrorKind::AlreadyExists => {
            "choose another path, or remove it: spile replaces nothing but sockets"
        }
        io::ErrorKind::NotFound => {
            "make the socket's directory; below /run a systemd unit does that with RuntimeDirectory="
        }
        io::ErrorKind::PermissionDenied => {
            "choose a --socket that the user spile runs as may make: its directory, a --socket-owner it may \
             give, or a port above 1023"
        }
        io::ErrorKind::AddrNotAvailable => {
            "give an address of this machine, or 0.0.0.0 or [::] for all of them"
        }
        _ => "`spile check` looks at the sockets one by one",
    }
    .to_owned()
}
