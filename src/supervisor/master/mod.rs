//! The master: keeps as many workers as were asked for, and runs nothing of the user's.

mod generations;
mod health;
mod reap;
mod reload;
mod shutdown;
pub(super) mod signals;

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    rc::Rc,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use tokio::{
    runtime::{Builder, Handle},
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use self::signals::{Request, Requests};
use crate::{
    client::control::{Failure, Reloaded},
    config::{AccessLog, Config, Interpreter},
    observe::stats::Stats,
    server::{LogLimit, Looks},
    supervisor::{
        backend::python::{
            backoff::{Backoff, Pace},
            channel::Report,
            generation::Generation,
            mold::{Inheritance, probe},
            scaler::Scaler,
        },
        error::SupervisorError,
        launch::{Ending, Launch},
        sockets::{
            first_process::Successors,
            prepare::Prepared,
            restore::Files,
            upgrade::{Upgrade, serves},
        },
        stats::{
            control::Asked,
            endpoints::Serving,
            totals::{Ledger, Situation},
        },
        system::{
            process::{Reason, send},
            systemd::Notify,
        },
        watch::Watch,
    },
};

use generations::{Cause, Generations, Starting};

/// How often memory, load and stuck requests are looked at.
const TICK: Duration = Duration::from_secs(1);

pub(super) fn run(launch: Launch) -> Result<Ending, SupervisorError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SupervisorError::io("cannot start"))?;
    runtime.block_on(start(launch))
}

async fn start(launch: Launch) -> Result<Ending, SupervisorError> {
    // Before anything is made that a signal would leave behind.
    let requests = Requests::watch().map_err(SupervisorError::io("cannot watch for signals"))?;
    let prepared = Prepared::new(&launch.config)?;
    let (admin, asked) = prepared.admin.serve()?;
    let interpreter = Interpreter::find(&launch.config)?;
    probe(&interpreter, &launch.config)?;
    // Workers whose mold has died become this process's children, to be seen when they end.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(io::Error::from)
        .map_err(SupervisorError::io("cannot adopt the workers"))?;
    let (lifeline, _held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(io::Error::from)
        .map_err(SupervisorError::io("cannot make a pipe"))?;
    let watch = Watch::new(&launch.config).map_err(SupervisorError::Watch)?;
    let config = Rc::new(launch.config.clone());
    let mut master = Master {
        wanted: config.workers,
        scaler: scaler(&config),
        inheritance: Inheritance {
            interpreter: Rc::new(interpreter),
            listeners: prepared.listeners.clone(),
            credentials: prepared.credentials.clone(),
            lifeline: Rc::new(lifeline),
        },
        config,
        launch,
        generations: Generations::default(),
        started: 0,
        ready: false,
        mold_backoff: Backoff::default(),
        mold_pace: Pace::of_molds(),
        pace: Pace::of_workers(),
        deaths: LogLimit::new(Handle::current()),
        looks: Looks::every(TICK),
        mold_due: None,
        waiting: Vec::new(),
        turns: Vec::new(),
        watch,
        upgrade: None,
        successors: None,
        stop: None,
        ledger: Ledger::new(),
        notify: Notify::from_env(),
        files: Files::default(),
        prepared,
        admin: Some(admin),
        failure: None,
        status: String::new(),
    };
    master.start_generation(Cause::Start).await?;
    master.supervise(requests, asked).await
}

struct Master {
    launch: Launch,
    config: Rc<Config>,
    inheritance: Inheritance,
    /// How many workers there should be.
    wanted: usize,
    scaler: Option<Scaler>,
    generations: Generations,
    /// How many generations were started; the number of the last one.
    started: u64,
    /// Every worker has served at one time: there is something to go back to.
    ready: bool,
    mold_backoff: Backoff,
    /// How soon molds whose workers have served are replaced.
    mold_pace: Pace,
    /// How soon workers that have served are replaced.
    pace: Pace,
    /// Bounds what the log has of the ends of workers.
    deaths: LogLimit,
    /// Finds times in which this process did not run.
    looks: Looks,
    /// When the next mold is to be started, in place of one that died.
    mold_due: Option<Instant>,
    /// Who wants to know how the reload ends.
    waiting: Vec<Waiting>,
    /// Generations that serve, but whose old workers may still accept.
    turns: Vec<Turn>,
    /// The files whose change asks for a reload.
    watch: Option<Watch>,
    upgrade: Option<Upgrade>,
    /// The masters after this one, if it stays.
    successors: Option<Successors>,
    stop: Option<Stop>,
    ledger: Ledger,
    notify: Notify,
    files: Files,
    /// Files and sockets of the master's own.
    prepared: Prepared,
    /// Answers the operator's programs, until the end begins.
    admin: Option<Serving>,
    /// Why the last reload has failed, if it has.
    failure: Option<String>,
    /// What systemd was told last.
    status: String,
}

/// Somebody who asked for a reload.
type Waiting = oneshot::Sender<Result<Reloaded, Failure>>;

/// A generation that has taken the place of another.
struct Turn {
    generation: u64,
    cause: Cause,
    since: Instant,
    waiting: Vec<Waiting>,
}

/// An end that was begun.
struct Stop {
    ending: Ending,
    gracefully: bool,
    failure: Option<SupervisorError>,
}

impl Master {
    async fn supervise(
        mut self,
        mut requests: Requests,
        mut control: mpsc::Receiver<Asked>,
    ) -> Result<Ending, SupervisorError> {
        let mut heartbeat = self.notify.heartbeat();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.next_due();
            tokio::select! {
                request = requests.next() => self.obey(request).await,
                (generation, report) = self.generations.next_report() => self.note(generation, report),
                Some(asked) = control.recv() => self.answer(asked).await,
                what = changed(self.watch.as_mut()) => {
                    tracing::info!("{what}: reloading");
                    self.reload(None).await;
                }
                () = serves(self.upgrade.as_mut()) => self.upgraded(),
                _ = tick.tick() => {
                    self.look_after_workers();
                    self.look_after_files().await;
                }
                () = heartbeat.beat() => {}
                () = until(due) => {}
            }
            self.act().await;
            if let Some(stop) = self.stop.take_if(|_| self.generations.old.is_empty()) {
                self.deaths.sum_up_all();
                if let Some(successors) = self.successors.take() {
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
        if let Some(successors) = &mut self.successors {
            successors.pass_on(request);
        }
        match request {
            Request::Stop => self.begin_stop(true, None),
            Request::StopAtOnce => self.begin_stop(false, None),
            Request::Child => self.reap(),
            Request::Reload => self.reload(None).await,
            Request::ReopenLogs => self.reopen_logs(),
            // It is the successor's.
            Request::Upgrade if self.successors.is_some() => {}
            Request::Upgrade => self.begin_upgrade().await,
            Request::MoreWorkers => self.resize(self.wanted + 1),
            Request::FewerWorkers => self.resize(self.wanted - 1),
        }
    }

    // What molds and workers say, and how they end.

    fn note(&mut self, number: u64, report: io::Result<Report>) {
        let report = match report {
            Ok(report) => report,
            Err(error) => return tracing::error!(%error, "a report cannot be read"),
        };
        if let Report::Exited { pid, status } = report {
            return self.worker_ended(number, pid, ExitStatus::from_raw(status));
        }
        let (wanted, threads) = (self.wanted, self.config.threads);
        let Some(generation) = self.generations.get(number) else {
            return;
        };
        match report {
            Report::Imported {
                python,
                prefix,
                venv,
            } => {
                let venv = if venv {
                    format!("the virtual environment {prefix}")
                } else {
                    prefix
                };
                let how = if generation.config.lazy {
                    "each worker imports the applications"
                } else {
                    "the applications are imported"
                };
                tracing::info!("{python} in {venv}; {how}");
                tracing::info!(
                    "starting {wanted} worker{} of {threads} thread{}",
                    plural(wanted),
                    plural(threads)
                );
                generation.has_imported();
            }
            Report::Parted { addresses } => generation.has_parted(addresses),
            Report::Forked { worker, slot, pid } => generation.forked(worker, slot, pid),
            Report::NotForked { worker, slot, why } => {
                generation.not_forked(worker, slot);
                self.worker_refused(why);
            }
            Report::Serving { pid } => generation.serves(pid),
            // Its end, which follows, is the failure.
            Report::NotImported(why) => generation.why = Some(why),
            Report::NotLoaded(why) => {
                if self.generations.is_next(number) {
                    self.next_failed(SupervisorError::Application(why));
                }
            }
            Report::Left { pid } => generation.left(pid),
            Report::Enough { pid } => {
                generation.replace(pid, Reason::MaxRequests);
            }
            Report::Stuck {
                pid,
                request,
                seconds,
            } => {
                if generation.replace(pid, Reason::RequestTimeout) {
                    tracing::error!(
                        "{request} has not ended after {seconds:.1} s: {} is replaced",
                        generation.named(pid)
                    );
                }
            }
            Report::Modules { files, at } => {
                if let Some(watch) = &mut self.watch {
                    watch.modules(files, SystemTime::UNIX_EPOCH + Duration::from_nanos(at));
                }
            }
            Report::Exited { .. } => {}
        }
    }

    // What is done by the clock.

    fn next_due(&self) -> Option<Instant> {
        let generations = self.generations.all().filter_map(Generation::next_due);
        generations.chain(self.mold_due).min()
    }

    /// Does what is due, and what follows from what has been heard.
    async fn act(&mut self) {
        self.leave_out_frozen_time();
        if self.mold_due.is_some_and(|due| due <= Instant::now()) {
            self.mold_due = None;
            if self.generations.next.is_none() && self.stop.is_none() {
                if let Err(error) = self.start_generation(Cause::MoldDied).await {
                    tracing::error!("{error}");
                    self.mold_due = Some(Instant::now() + self.mold_backoff.after_failure());
                }
            }
        }
        let mut killed = Vec::new();
        for generation in self.generations.all_mut() {
            let pids = generation.act();
            killed.extend(pids.into_iter().map(|pid| generation.named(pid)));
        }
        for worker in killed {
            tracing::warn!("{worker} is killed: it did not end in time");
        }
        if self
            .generations
            .next
            .as_ref()
            .is_some_and(|next| next.generation.all_serve())
        {
            self.take_turns();
        }
        let current = self.generations.current.as_ref();
        if !self.ready && self.stop.is_none() && current.is_some_and(Generation::all_serve) {
            tracing::info!("ready");
            self.ready = true;
            self.say_ready();
        }
        self.tell_turns();
        self.generations
            .old
            .retain_mut(|generation| !generation.is_finished());
    }

    fn reopen_logs(&mut self) {
        match &self.config.access_log {
            AccessLog::File(path) => {
                tracing::info!("the access log is opened anew: {}", path.display());
            }
            AccessLog::Off | AccessLog::Stdout | AccessLog::Descriptor(..) => {
                tracing::info!("there is no access log in a file to open anew");
            }
        }
        for generation in self.generations.all() {
            for (&pid, worker) in &generation.workers {
                if worker.serving {
                    send(pid, Signal::USR1);
                }
            }
        }
    }

    // What is asked over the control socket.

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
        let current = self.generations.current.as_ref();
        let situation = Situation {
            state: self.state(),
            generation: current.map_or(0, |it| it.number),
            mold: current
                .and_then(|it| it.mold.as_ref())
                .map(|mold| mold.pid()),
            workers_wanted: self.wanted,
        };
        let listeners = self.prepared.listeners.iter().map(AsRef::as_ref);
        let living = self.generations.all().flat_map(Generation::living);
        self.ledger
            .stats(situation, &self.config, listeners, living)
    }

    /// One line for `systemctl status`.
    fn described(&self) -> String {
        let serving = self
            .generations
            .current
            .iter()
            .flat_map(|it| it.workers.values());
        let serving = serving
            .filter(|worker| worker.serving && !worker.leaving)
            .count();
        let failed = self.failure.as_ref();
        format!(
            "{serving} worker{}, generation {}{}",
            plural(serving),
            self.generations.current.as_ref().map_or(0, |it| it.number),
            failed.map_or_else(String::new, |what| format!(
                "; the last reload has failed: {what}"
            ))
        )
    }

    fn state(&self) -> &'static str {
        match (
            &self.stop,
            &self.upgrade,
            &self.generations.next,
            &self.generations.current,
        ) {
            (Some(_), ..) => "stopping",
            (_, Some(_), ..) => "upgrading",
            (_, _, Some(_), Some(_)) => "reloading",
            (_, _, _, None) => "starting",
            _ => "serving",
        }
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

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn scaler(config: &Config) -> Option<Scaler> {
    let limits = config.workers_min..=config.workers_max;
    config.is_adaptive().then(|| Scaler::new(limits))
}
