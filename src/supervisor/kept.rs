//! Options that a reload leaves as they were when the server was started.

use crate::config::options::Opt;

/// Names them in the log.
pub(super) fn tell_left(options: &[&Opt]) {
    for option in options {
        tracing::warn!(
            "{} has changed: that takes a restart, or an upgrade (SIGUSR2)",
            option.written()
        );
    }
}
