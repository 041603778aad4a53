//! `spile serve`.

use std::ffi::OsString;

use super::{
    check, directory,
    host::{Host, load},
    outcome::{Status, fail, refuse, say_warning},
};
use crate::{
    config::{Config, Cure, Layer},
    observe::log,
    supervisor::{self, Launch, SupervisorError},
};

/// Serves until asked to stop. `args` is the whole command line, the program's name first.
pub(super) fn run(options: Layer, host: &Host, args: Vec<OsString>) -> Status {
    let directory = match directory::of_the_start() {
        Ok(directory) => directory,
        Err(error) => return fail(&error),
    };
    let mut loaded = load(options.clone(), host, directory.clone());
    let doubts = std::mem::take(&mut loaded.doubts);
    let config = match check::passed(loaded) {
        Ok(config) => config,
        Err(mistakes) => {
            for doubt in &doubts {
                say_warning(&doubt.to_string(), &doubt.cure);
            }
            return refuse(&mistakes);
        }
    };
    let (again, same) = (host.clone(), directory.clone());
    let launch = Launch {
        config,
        doubts,
        reload: Box::new(move || {
            let mut loaded = load(options.clone(), &again, same.clone());
            // A running server keeps its own, which it may not be allowed to make any more.
            let pidfile = loaded.config.pidfile.take();
            check::passed(loaded).map(|config| Config { pidfile, ..config })
        }),
        command: command(host, args),
        directory,
    };
    let format = launch.config.log_format;
    match supervisor::serve(launch) {
        Ok(_) => Status::Success,
        Err(error) => {
            log::failed(&error, &error.cure(), format);
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
