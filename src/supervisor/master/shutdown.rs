//! The master's own end: a stop, or an upgrade that takes its place.

use rustix::process::Signal;

use super::{Master, Stop};
use crate::{
    client::control::Failure,
    supervisor::{
        error::SupervisorError, launch::Ending, sockets::upgrade::Upgrade, system::process::Reason,
    },
};

impl Master {
    pub(super) async fn begin_upgrade(&mut self) {
        if self.stop.is_some() {
            return tracing::warn!("no new master is started: this one is stopping");
        }
        if let Some(upgrade) = &self.upgrade {
            return tracing::warn!(
                "an upgrade goes on already: process {pid} is starting; `kill {pid}` gives it up",
                pid = upgrade.pid()
            );
        }
        if self.ready {
            self.notify.reloading();
        }
        self.part().await;
        match Upgrade::start(&self.launch, &self.prepared) {
            Ok(upgrade) => {
                tracing::info!("a new master starts: process {}", upgrade.pid());
                upgrade.tell_watchers(&self.notify);
                self.upgrade = Some(upgrade);
            }
            Err(error) => {
                tracing::error!("a new master cannot be started, and this one goes on: {error}");
                self.tell_parted();
                self.say_ready();
            }
        }
    }

    /// The new master serves: this one leaves it the sockets and ends.
    pub(super) fn upgraded(&mut self) {
        // From here on it is nothing of this one's, whatever this one is told.
        let Some(upgrade) = self.upgrade.take() else {
            return;
        };
        let pid = upgrade.pid();
        self.successors = upgrade.into_successors();
        if self.successors.is_some() {
            tracing::info!("the new master (process {pid}) serves: this one only stays");
        } else {
            tracing::info!("the new master (process {pid}) serves: this one leaves");
            self.notify.main_pid(pid);
        }
        self.prepared.leave_files();
        self.begin_leave(Signal::HUP, Reason::Upgrade, true, None);
    }

    pub(super) fn begin_stop(&mut self, gracefully: bool, failure: Option<SupervisorError>) {
        if gracefully && self.stop.is_some() {
            return;
        }
        tracing::info!(
            "stopping{}",
            if gracefully {
                ": requests may finish"
            } else {
                " at once"
            }
        );
        if self.stop.is_none() {
            self.notify.stopping();
        }
        if let Some(upgrade) = self.upgrade.take() {
            upgrade.give_up();
        }
        let signal = if gracefully {
            Signal::TERM
        } else {
            Signal::KILL
        };
        self.begin_leave(signal, Reason::Stop, gracefully, failure);
    }

    pub(super) fn begin_leave(
        &mut self,
        signal: Signal,
        reason: Reason,
        gracefully: bool,
        failure: Option<SupervisorError>,
    ) {
        // Nobody connects any more; what is in the listen queues is the workers' to answer.
        self.inheritance.listeners.clear();
        self.prepared.listeners.clear();
        // The next server may have the same control socket.
        self.admin = None;
        self.prepared.admin.close();
        self.mold_due = None;
        let next = self.generations.next.take().map(|next| next.generation);
        self.generations
            .old
            .extend(self.generations.current.take().into_iter().chain(next));
        for generation in &mut self.generations.old {
            generation.inheritance.listeners.clear();
            generation.leave(signal, reason);
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(Failure {
                what: "the server stops".to_owned(),
                hint: "look at its log".to_owned(),
            }));
        }
        let stop = self.stop.get_or_insert(Stop {
            ending: Ending::Finished,
            gracefully,
            failure,
        });
        if !gracefully {
            stop.ending = Ending::CutOff;
            stop.gracefully = false;
        }
    }
}
