//! `spile serve`.

use std::{ffi::OsString, io, os::unix::process::ExitStatusExt};

use super::{Host, Status, check, fail, refuse, say_error};
use crate::{
    config::{Cure, Layer, Mistake, Place},
    server::BindError,
    supervisor::{self, Launch, SupervisorError},
};

/// Serves until asked to stop. `args` is the whole command line, the program's name first.
pub(super) fn run(options: Layer, host: &Host, args: Vec<OsString>) -> Status {
    let config = match super::load(options.clone(), host).map(check::passed) {
        Ok(Ok(config)) => config,
        Ok(Err(mistakes)) => return refuse(&mistakes),
        Err(error) => return fail(&error),
    };
    let again = host.clone();
    let launch = Launch {
        config,
        reload: Box::new(move || match super::load(options.clone(), &again) {
            Ok(loaded) => check::passed(loaded),
            Err(error) => Err(vec![Mistake {
                place: Place::CommandLine("chdir"),
                what: format!("the directory spile was started in: {error}"),
                cure: "put it back, or start spile again".to_owned(),
            }]),
        }),
        command: command(host, args),
    };
    match supervisor::serve(launch) {
        Ok(_) => Status::Success,
        Err(error) => {
            say_error(&error.to_string(), &cure(&error));
            match error {
                SupervisorError::Owner(_)
                | SupervisorError::Interpreter(_)
                | SupervisorError::Python(_)
                | SupervisorError::Credentials(_)
                | SupervisorError::Privileges(_) => Status::Mistake,
                _ => Status::Failure,
            }
        }
    }
}

/// What starts this program again. Its file is named now: once it was replaced, the kernel calls it deleted.
fn command(host: &Host, args: Vec<OsString>) -> Vec<OsString> {
    let mut command = host.command.clone();
    if command.is_empty() {
        let file = std::env::current_exe().map(Into::into).ok();
        command.extend(file.or_else(|| args.first().cloned()));
    }
    command.extend(args.into_iter().skip(1));
    command
}

fn cure(error: &SupervisorError) -> String {
    match error {
        SupervisorError::Bind(error) => bind_cure(error, "--socket"),
        SupervisorError::Control(error) => bind_cure(error, "--control"),
        SupervisorError::Metrics(error) => bind_cure(error, "--metrics"),
        SupervisorError::Owner(error) => error.cure(),
        SupervisorError::Activation(error) => error.cure(),
        SupervisorError::Credentials(error) => error.cure(),
        SupervisorError::Privileges(error) => error.cure(),
        SupervisorError::Sandbox(error) => error.cure(),
        SupervisorError::Interpreter(error) => error.cure(),
        SupervisorError::Python(error) => error.cure(),
        SupervisorError::Import { status } if status.signal().is_some() => {
            "it was killed: when nobody did, memory ran out (see dmesg)".to_owned()
        }
        SupervisorError::Import { .. } => {
            "the lines above say what was looked for, and where".to_owned()
        }
        SupervisorError::Watch(error) => error.cure(),
        SupervisorError::NotLoaded { .. } => {
            "the lines above say what went wrong in the worker".to_owned()
        }
        SupervisorError::Pidfile { .. } => {
            "choose a --pidfile in a directory that this user may write to".to_owned()
        }
        SupervisorError::Running { pid, .. } => {
            format!("stop it (kill {pid}), or choose another --pidfile")
        }
        SupervisorError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            "give the user that spile runs as the permission, or name another place".to_owned()
        }
        SupervisorError::Io { .. } => "`spile check` looks at the options one by one".to_owned(),
    }
}

fn bind_cure(error: &BindError, option: &str) -> String {
    let kind = match error {
        BindError::Address(error) => return error.cure(),
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
