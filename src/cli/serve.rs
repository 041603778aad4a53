//! `spile serve`.

use super::{Status, say_error};
use crate::{
    config::{Config, Cure},
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
        SupervisorError::Bind(_) => {
            "stop what listens there, or choose another --socket".to_owned()
        }
        SupervisorError::Owner(error) => error.cure(),
        SupervisorError::Interpreter(error) => error.cure(),
        SupervisorError::Python(error) => error.cure(),
        SupervisorError::Import { .. } => {
            "the lines above say what was looked for, and where".to_owned()
        }
        SupervisorError::Pidfile { .. } => {
            "choose a --pidfile in a directory that this user may write to".to_owned()
        }
        SupervisorError::Io { .. } => "`spile check` looks at the options one by one".to_owned(),
    }
}
