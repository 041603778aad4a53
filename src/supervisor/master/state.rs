//! The state that the master's loop and its backends share.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::{
    client::control::{Failure, Reloaded},
    config::{Config, options::Opt},
    supervisor::{
        error::SupervisorError,
        launch::{Ending, Launch},
        sockets::{first_process::Successors, prepare::Prepared, restore::Files, upgrade::Upgrade},
        stats::{endpoints::Serving, totals::Totals},
        system::systemd::Notify,
        watch::Watch,
    },
};

/// The state of the master that both backends share.
pub(in crate::supervisor) struct Master {
    pub(in crate::supervisor) launch: Launch,
    /// The configuration in force.
    pub(in crate::supervisor) config: Rc<Config>,
    /// Files and sockets of the master's own.
    pub(in crate::supervisor) prepared: Prepared,
    /// Answers the operator's programs, until the end begins.
    pub(in crate::supervisor) admin: Option<Serving>,
    pub(in crate::supervisor) notify: Notify,
    pub(in crate::supervisor) files: Files,
    /// The files whose change asks for a reload.
    pub(in crate::supervisor) watch: Option<Watch>,
    pub(in crate::supervisor) upgrade: Option<Upgrade>,
    /// The masters after this one, if it stays.
    pub(in crate::supervisor) successors: Option<Successors>,
    pub(in crate::supervisor) totals: Totals,
    /// Clients of the control socket that wait for the end of a reload.
    pub(in crate::supervisor) waiting: Vec<Waiting>,
    /// Why the last reload has failed, if it has.
    pub(in crate::supervisor) failure: Option<String>,
    /// The status that systemd was given last.
    pub(in crate::supervisor) status: String,
    /// All applications were served at one time: there is something to go back to.
    pub(in crate::supervisor) ready: bool,
    pub(in crate::supervisor) stop: Option<Stop>,
    /// Why nothing can be served: the loop stops for it.
    pub(in crate::supervisor) broken: Option<SupervisorError>,
}

/// Somebody who asked for a reload.
pub(in crate::supervisor) type Waiting = oneshot::Sender<Result<Reloaded, Failure>>;

/// An end that was begun.
pub(in crate::supervisor) struct Stop {
    pub(in crate::supervisor) ending: Ending,
    pub(in crate::supervisor) gracefully: bool,
    pub(in crate::supervisor) failure: Option<SupervisorError>,
}

impl Master {
    /// Tells systemd, and the master before this one, that everything is served. `serving` is what serves, in words.
    pub(in crate::supervisor) fn say_ready(&mut self, serving: &str) {
        if !self.ready {
            return;
        }
        self.status = self.described(serving);
        self.notify.ready(&self.status);
        if let Err(error) = self.prepared.take_over() {
            tracing::error!("{error}");
        }
    }

    /// Tells systemd what serves, where that has changed.
    pub(in crate::supervisor) fn say_status(&mut self, serving: &str) {
        let status = self.described(serving);
        if status != self.status {
            self.notify.status(&status);
            self.status = status;
        }
    }

    /// Counts a reload that has succeeded.
    pub(in crate::supervisor) fn reloaded(&mut self) {
        self.totals.reloads += 1;
        self.failure = None;
    }

    /// One line for `systemctl status`.
    fn described(&self, serving: &str) -> String {
        match &self.failure {
            Some(what) => format!("{serving}; the last reload has failed: {what}"),
            None => serving.to_owned(),
        }
    }
}

/// Names in the log the options that a reload leaves as they were.
pub(in crate::supervisor) fn tell_left(options: &[&Opt]) {
    for option in options {
        tracing::warn!(
            "{} has changed: that takes a restart, or an upgrade (SIGUSR2)",
            option.written()
        );
    }
}

/// Answers those who asked for a reload that it has failed.
pub(in crate::supervisor) fn tell_failure(
    waiting: impl IntoIterator<Item = Waiting>,
    what: &str,
    cure: Option<String>,
) {
    let hint = cure.unwrap_or_else(|| "the server's log says more".to_owned());
    for waiting in waiting {
        // Whoever asked may have left.
        let _ = waiting.send(Err(Failure {
            what: what.to_owned(),
            hint: hint.clone(),
        }));
    }
}

/// The second line of an error in the log.
pub(in crate::supervisor) fn hint(cure: Option<&str>) -> String {
    cure.map_or_else(String::new, |cure| format!("\n  hint: {cure}"))
}
