//! `spile serve`.

use std::ffi::OsString;

use super::{Host, Status, check, fail, refuse, say_warning};
use crate::{
    config::{Config, Cure, Layer, Mistake, Place},
    observe::log,
    supervisor::{self, Launch, SupervisorError},
};

/// Serves until asked to stop. `args` is the whole command line, the program's name first.
pub(super) fn run(options: Layer, host: &Host, args: Vec<OsString>) -> Status {
    let mut loaded = match super::load(options.clone(), host) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error),
    };
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
    let again = host.clone();
    let launch = Launch {
        config,
        doubts,
        reload: Box::new(move || match super::load(options.clone(), &again) {
            Ok(mut loaded) => {
                // A running server keeps its own, which it may not be allowed to make any more.
                let pidfile = loaded.config.pidfile.take();
                check::passed(loaded).map(|config| Config { pidfile, ..config })
            }
            Err(error) => Err(vec![Mistake {
                place: Place::CommandLine("chdir"),
                what: format!("the directory spile was started in: {error}"),
                cure: "put it back, or start spile again".to_owned(),
            }]),
        }),
        command: command(host, args),
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
