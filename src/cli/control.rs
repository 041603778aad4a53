//! Finding a running server, and saying why it does not answer.

use std::path::PathBuf;

use super::{
    args::ControlArgs,
    directory,
    host::sources,
    outcome::{Status, fail, refuse, say_error},
};
use crate::{
    client::control::ControlError,
    config::{Config, Cure},
};

/// Where the server's control socket may be. What is wrong with the options is said here, and gives the status.
pub(super) fn sockets(args: &ControlArgs) -> Result<Vec<PathBuf>, Status> {
    let directory = directory::of_the_start().map_err(|error| fail(&error))?;
    let sources = sources(args.layer(), directory);
    let loaded = Config::load_whereabouts(sources).into_result();
    let config = loaded.map_err(|mistakes| refuse(&mistakes))?;
    Ok(config.control_candidates())
}

/// Says why there is no answer.
pub(super) fn say(error: &ControlError) -> Status {
    say_error(&error.to_string(), &error.cure());
    Status::Failure
}
