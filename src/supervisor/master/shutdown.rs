//! The master's own end: a stop, or an upgrade that takes its place.

use super::{
    super::{
        backend::{Backend, Leave},
        error::SupervisorError,
        launch::Ending,
        sockets::upgrade::Upgrade,
    },
    Supervisor,
    state::{Stop, tell_failure},
};

impl<B: Backend> Supervisor<B> {
    /// Starts the program anew, which takes over when it serves.
    pub(super) async fn begin_upgrade(&mut self) {
        let Self { master, backend } = self;
        if master.stop.is_some() {
            return tracing::warn!("no new master is started: this one is stopping");
        }
        if let Some(upgrade) = &master.upgrade {
            return tracing::warn!(
                "an upgrade goes on already: process {pid} is starting; `kill {pid}` gives it up",
                pid = upgrade.pid()
            );
        }
        if master.ready {
            master.notify.reloading();
        }
        backend.part(master).await;
        match Upgrade::start(&master.launch, &master.prepared) {
            Ok(upgrade) => {
                tracing::info!("a new master starts: process {}", upgrade.pid());
                upgrade.tell_watchers(&master.notify);
                master.upgrade = Some(upgrade);
            }
            Err(error) => {
                tracing::error!("a new master cannot be started, and this one goes on: {error}");
                backend.tell_parted();
                master.say_ready(&backend.serving());
            }
        }
    }

    /// Leaves the sockets to the new master, which serves, and ends.
    pub(super) fn upgraded(&mut self) {
        let master = &mut self.master;
        // From here on it is nothing of this one's, whatever this one is told.
        let Some(upgrade) = master.upgrade.take() else {
            return;
        };
        let pid = upgrade.pid();
        master.successors = upgrade.into_successors();
        if master.successors.is_some() {
            tracing::info!("the new master (process {pid}) serves: this one only stays");
        } else {
            tracing::info!("the new master (process {pid}) serves: this one leaves");
            master.notify.main_pid(pid);
        }
        master.prepared.leave_files();
        self.begin_leave(Leave::ToSuccessor, None);
    }

    /// Stops: gracefully requests may finish.
    pub(super) fn begin_stop(&mut self, gracefully: bool, failure: Option<SupervisorError>) {
        let master = &mut self.master;
        if gracefully && master.stop.is_some() {
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
        if master.stop.is_none() {
            master.notify.stopping();
        }
        if let Some(upgrade) = master.upgrade.take() {
            upgrade.give_up();
        }
        let leave = if gracefully {
            Leave::Gracefully
        } else {
            Leave::AtOnce
        };
        self.begin_leave(leave, failure);
    }

    fn begin_leave(&mut self, leave: Leave, failure: Option<SupervisorError>) {
        let master = &mut self.master;
        // Nobody connects any more; what is in the listen queues is the backend's to answer.
        master.prepared.listeners.clear();
        // The next server may have the same control socket.
        master.admin = None;
        master.prepared.admin.close();
        let gracefully = leave != Leave::AtOnce;
        let stop = master.stop.get_or_insert(Stop {
            ending: Ending::Finished,
            gracefully,
            failure,
        });
        if !gracefully {
            stop.ending = Ending::CutOff;
            stop.gracefully = false;
        }
        self.backend.leave(leave);
        let hint = Some("look at its log".to_owned());
        tell_failure(master.waiting.drain(..), "the server stops", hint);
    }
}
