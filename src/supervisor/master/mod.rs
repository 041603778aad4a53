//! The master's loop: has the applications served, does as signals and operators' programs ask, and runs nothing of
//! the user's.
//!
//! # Layout
//! - [`run`]: the loop.
//! - `state`: what the master has, whatever serves.
//! - `signals`: what signals ask for.
//! - `reload`: reads the configuration again.
//! - `shutdown`: a stop, or an upgrade.

mod reload;
mod shutdown;
pub(super) mod signals;
pub(super) mod state;

use std::{rc::Rc, time::Duration};

use tokio::{
    runtime::Builder,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    backend::Backend,
    error::SupervisorError,
    launch::{Ending, Launch},
    sockets::{prepare::Prepared, restore::Files, upgrade::serves},
    stats::{
        control::Asked,
        totals::{Situation, Totals},
    },
    system::{
        process::{described, next_ended},
        systemd::Notify,
    },
    watch::Watch,
};
use crate::{config::AccessLog, observe::stats::Stats};

use signals::{Request, Requests};
use state::Master;

/// How often the master looks at what shows no other way.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Serves what was prepared until a signal stops it.
///
/// # Errors
/// See [`SupervisorError`].
pub(super) fn run<B: Backend>(launch: Launch) -> Result<Ending, SupervisorError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SupervisorError::io("cannot start"))?;
    runtime.block_on(start::<B>(launch))
}

async fn start<B: Backend>(launch: Launch) -> Result<Ending, SupervisorError> {
    // Before anything is made that a signal would leave behind.
    let requests = Requests::watch().map_err(SupervisorError::io("cannot watch for signals"))?;
    let prepared = Prepared::new(&launch.config)?;
    let (admin, asked) = prepared.admin.serve()?;
    let mut master = Master {
        config: Rc::new(launch.config.clone()),
        watch: Watch::new(&launch.config).map_err(SupervisorError::Watch)?,
        launch,
        prepared,
        admin: Some(admin),
        notify: Notify::from_env(),
        files: Files::default(),
        upgrade: None,
        successors: None,
        totals: Totals::new(),
        waiting: Vec::new(),
        failure: None,
        status: String::new(),
        ready: false,
        stop: None,
        broken: None,
    };
    let backend = B::start(&mut master).await?;
    let supervisor = Supervisor { master, backend };
    supervisor.supervise(requests, asked).await
}

/// The master, and what serves for it.
struct Supervisor<B> {
    master: Master,
    backend: B,
}

impl<B: Backend> Supervisor<B> {
    async fn supervise(
        mut self,
        mut requests: Requests,
        mut control: mpsc::Receiver<Asked>,
    ) -> Result<Ending, SupervisorError> {
        let mut heartbeat = self.master.notify.heartbeat();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.backend.due();
            tokio::select! {
                request = requests.next() => self.obey(request).await,
                event = self.backend.event() => self.backend.hear(&mut self.master, event),
                Some(asked) = control.recv() => self.answer(asked).await,
                what = changed(self.master.watch.as_mut()) => {
                    tracing::info!("{what}: reloading");
                    self.reload(None).await;
                }
                () = serves(self.master.upgrade.as_mut()) => self.upgraded(),
                _ = tick.tick() => self.look().await,
                () = heartbeat.beat() => {}
                () = until(due) => {}
            }
            self.backend.act(&mut self.master).await;
            if let Some(failure) = self.master.broken.take() {
                self.begin_stop(true, Some(failure));
            }
            if let Some(stop) = self.master.stop.take_if(|_| self.backend.has_left()) {
                self.backend.close();
                if let Some(successors) = self.master.successors.take() {
                    // Nothing of a master's is this one's any more.
                    drop(self);
                    return successors.keep(&mut requests).await.map(|()| stop.ending);
                }
                tracing::info!("stopped");
                return match stop.failure {
                    Some(error) => Err(error),
                    None => Ok(stop.ending),
                };
            }
        }
    }

    /// Does as a signal says.
    async fn obey(&mut self, request: Request) {
        if let Some(successors) = &mut self.master.successors {
            successors.pass_on(request);
        }
        match request {
            Request::Stop => self.begin_stop(true, None),
            Request::StopAtOnce => self.begin_stop(false, None),
            Request::Child => self.reap(),
            Request::Reload => self.reload(None).await,
            Request::ReopenLogs => self.reopen_logs(),
            // It is the successor's.
            Request::Upgrade if self.master.successors.is_some() => {}
            Request::Upgrade => self.begin_upgrade().await,
            Request::MoreWorkers | Request::FewerWorkers if self.master.stop.is_some() => {}
            Request::MoreWorkers => self.backend.resize(&mut self.master, true),
            Request::FewerWorkers => self.backend.resize(&mut self.master, false),
        }
    }

    /// Looks, once a second, at what shows no other way.
    async fn look(&mut self) {
        if self.master.stop.is_some() {
            return;
        }
        if let Some(upgrade) = &mut self.master.upgrade {
            upgrade.tell_if_overdue();
        }
        self.backend.look(&mut self.master);
        if self.master.ready {
            self.master.say_status(&self.backend.serving());
        }
        self.look_after_files().await;
    }

    /// Collects every child that has ended: the backend's, the next master, and whatever the applications have left
    /// behind.
    fn reap(&mut self) {
        while let Some((pid, status)) = next_ended() {
            if let Some(successors) = &mut self.master.successors {
                successors.ended(pid, status);
            }
            let upgrade = self.master.upgrade.take_if(|it| it.pid() == pid);
            if upgrade.is_none() {
                self.backend.child_ended(&mut self.master, pid, status);
            } else if self.master.stop.is_none() {
                tracing::error!("the new master {}: this one goes on", described(status));
                self.backend.tell_parted();
                self.master.say_ready(&self.backend.serving());
            }
        }
    }

    fn reopen_logs(&self) {
        match &self.master.config.access_log {
            AccessLog::File(path) => {
                tracing::info!("the access log is opened anew: {}", path.display());
            }
            AccessLog::Off | AccessLog::Stdout | AccessLog::Descriptor(..) => {
                tracing::info!("there is no access log in a file to open anew");
            }
        }
        self.backend.reopen_log();
    }

    /// Answers what is asked over the control socket.
    async fn answer(&mut self, asked: Asked) {
        match asked {
            Asked::Stats(to) => {
                // Whoever asked may have left.
                let _ = to.send(self.stats());
            }
            Asked::Reload(to) => self.reload(Some(to)).await,
        }
    }

    fn stats(&self) -> Stats {
        let situation = self.backend.situation();
        let situation = Situation {
            state: match (&self.master.stop, &self.master.upgrade) {
                (Some(_), _) => "stopping",
                (None, Some(_)) => "upgrading",
                (None, None) => situation.state,
            },
            ..situation
        };
        let listeners = self.master.prepared.listeners.iter().map(AsRef::as_ref);
        let (config, living) = (&self.master.config, self.backend.living());
        self.master
            .totals
            .stats(situation, config, listeners, living)
    }
}

async fn changed(watch: Option<&mut Watch>) -> String {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
