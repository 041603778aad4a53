//! Backends serve the applications: Python's in processes of their own, spile's own in this one.
//!
//! # Layout
//! - [`Backend`]: what the master's loop asks of both.
//! - [`python`]: a mold and its workers.
//! - [`native`]: threads of this process.

pub(super) mod native;
pub(super) mod python;

use std::process::ExitStatus;

use tokio::time::Instant;

use crate::{
    config::Config,
    supervisor::{
        error::SupervisorError,
        master::state::{Master, Waiting, hint, tell_failure},
        stats::totals::{Living, Situation},
    },
};

/// How a backend ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// The next master serves already: finish what was begun.
    ToSuccessor,
    /// Finish what was begun, and what waits in the listen queues.
    Gracefully,
    /// Cut off what runs.
    AtOnce,
}

/// Serves the applications for a master. The master's loop does the rest: signals, files, the control socket, upgrades
/// and stops.
pub(super) trait Backend: Sized {
    /// Something that its processes or threads have said.
    type Event;

    /// Starts to serve what was prepared.
    async fn start(master: &mut Master) -> Result<Self, SupervisorError>;

    /// Waits for the next event. A wait that is given up loses none.
    async fn event(&mut self) -> Self::Event;

    /// Does what follows from an event.
    fn hear(&mut self, master: &mut Master, event: Self::Event);

    /// When [`Self::act`] has to be called without an event.
    fn due(&self) -> Option<Instant>;

    /// Does what is due, and what follows from all that was heard.
    async fn act(&mut self, master: &mut Master);

    /// Looks, once a second, at what shows no other way.
    fn look(&mut self, master: &mut Master);

    /// Puts a new configuration in force, and answers `waiting`, now or when that has ended.
    async fn reload(&mut self, master: &mut Master, config: Config, waiting: Option<Waiting>);

    /// Whether a reload or a start goes on.
    fn is_reloading(&self) -> bool;

    /// Whether a reload makes sockets anew whose files are gone.
    fn makes_sockets(&self) -> bool;

    /// Says, for the log, how serving goes on after a reload that has failed.
    fn still(&self) -> &'static str;

    /// Notes that a child of the master has ended.
    fn child_ended(&mut self, master: &mut Master, pid: u32, status: ExitStatus);

    /// Opens the access log anew.
    fn reopen_log(&self);

    /// Serves with one worker more, or one fewer.
    fn resize(&mut self, master: &mut Master, more: bool);

    /// Closes what applications listen on themselves: another process is to open it.
    async fn part(&mut self, master: &mut Master);

    /// Says what [`Self::part`] has closed, where nobody has opened it again.
    fn tell_parted(&self);

    /// Begins to end. [`Self::has_left`] follows; a second call may hasten it.
    fn leave(&mut self, leave: Leave);

    /// Whether it has ended.
    fn has_left(&self) -> bool;

    /// Writes what is left to write, at the end.
    fn close(&mut self);

    /// Returns its state, for the statistics.
    fn situation(&self) -> Situation;

    /// Lists its workers, for the statistics.
    fn living(&self) -> impl Iterator<Item = Living<'_>>;

    /// Says what serves, for `systemctl status`.
    fn serving(&self) -> String;

    /// Notes that a reload has failed, and answers all who wait for it.
    fn reload_failed(&self, master: &mut Master, what: &str, cure: Option<String>) {
        master.totals.reloads_failed += 1;
        master.failure = Some(what.to_owned());
        tracing::error!(
            "the reload has failed, and {}: {what}{}",
            self.still(),
            hint(cure.as_deref())
        );
        self.tell_parted();
        tell_failure(master.waiting.drain(..), what, cure);
        master.say_ready(&self.serving());
    }

    /// Notes that a reload cannot even begin: one that goes on does so.
    fn refuse_reload(
        &self,
        master: &mut Master,
        waiting: Option<Waiting>,
        what: &str,
        cure: Option<String>,
    ) {
        if !self.is_reloading() {
            master.waiting.extend(waiting);
            return self.reload_failed(master, what, cure);
        }
        master.totals.reloads_failed += 1;
        tracing::error!(
            "the reload has failed, and the import that was going on goes on: {what}{}",
            hint(cure.as_deref())
        );
        tell_failure(waiting, what, cure);
    }
}
