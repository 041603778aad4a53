//! Python's applications: a mold imports them once and forks the workers that serve.
//!
//! # Layout
//! - [`Python`]: keeps as many workers as were asked for.
//! - `generations`: the generation that serves, the next, and those that finish.
//! - `generation`: one import of the applications, and the workers forked from it.
//! - `reload`: imports the applications anew, beside those that serve.
//! - `reap`: what follows when a mold or a worker has ended.
//! - `health`: memory, stuck workers, and the load.
//! - `mold`: the Python process that imports and forks.
//! - `channel`: what master, mold and workers say to each other.
//! - `scaler`: how many workers there should be, when that depends on the load.
//! - `backoff`: how long to wait before a process is replaced.

mod backoff;
pub(in crate::supervisor) mod channel;
mod generation;
mod generations;
mod health;
mod mold;
mod reap;
mod reload;
mod scaler;

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    rc::Rc,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use tokio::{runtime::Handle, time::Instant};

use self::{
    backoff::{Backoff, Pace},
    channel::Report,
    generation::Generation,
    generations::{Cause, Generations},
    mold::{Inheritance, probe},
    scaler::Scaler,
};
use crate::{
    config::{Config, Interpreter},
    server::{LogLimit, Looks},
    supervisor::{
        backend::{Backend, Leave},
        error::SupervisorError,
        master::{
            TICK,
            state::{Master, Waiting},
        },
        stats::totals::{Living, Situation},
        system::process::{Reason, send},
    },
};

/// The generations of workers, and what decides on them.
pub(in crate::supervisor) struct Python {
    inheritance: Inheritance,
    /// The end of a pipe that shows the molds and workers that the master runs.
    _alive: OwnedFd,
    /// How many workers there should be.
    wanted: usize,
    scaler: Option<Scaler>,
    generations: Generations,
    /// How many generations were started; the number of the last one.
    started: u64,
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
    /// Generations that serve, but whose old workers may still accept.
    turns: Vec<Turn>,
}

/// A generation that has taken the place of another.
struct Turn {
    generation: u64,
    cause: Cause,
    since: Instant,
    waiting: Vec<Waiting>,
}

impl Backend for Python {
    type Event = (u64, io::Result<Report>);

    async fn start(master: &mut Master) -> Result<Self, SupervisorError> {
        let config = &master.config;
        let interpreter = Interpreter::find(config)?;
        probe(&interpreter, config)?;
        // Workers whose mold has died become this process's children, to be seen when they end.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(io::Error::from)
            .map_err(SupervisorError::io("cannot adopt the workers"))?;
        let (lifeline, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(io::Error::from)
            .map_err(SupervisorError::io("cannot make a pipe"))?;
        let mut python = Self {
            wanted: config.workers,
            scaler: scaler(config),
            inheritance: Inheritance {
                interpreter: Rc::new(interpreter),
                listeners: master.prepared.listeners.clone(),
                credentials: master.prepared.credentials.clone(),
                lifeline: Rc::new(lifeline),
            },
            _alive: alive,
            generations: Generations::default(),
            started: 0,
            mold_backoff: Backoff::default(),
            mold_pace: Pace::of_molds(),
            pace: Pace::of_workers(),
            deaths: LogLimit::new(Handle::current()),
            looks: Looks::every(TICK),
            mold_due: None,
            turns: Vec::new(),
        };
        python.start_generation(master, Cause::Start).await?;
        Ok(python)
    }

    async fn event(&mut self) -> Self::Event {
        self.generations.next_report().await
    }

    fn hear(&mut self, master: &mut Master, (number, report): Self::Event) {
        self.note(master, number, report);
    }

    fn due(&self) -> Option<Instant> {
        let generations = self.generations.all().filter_map(Generation::next_due);
        generations.chain(self.mold_due).min()
    }

    async fn act(&mut self, master: &mut Master) {
        self.leave_out_frozen_time();
        if self.mold_due.is_some_and(|due| due <= Instant::now()) {
            self.mold_due = None;
            if self.generations.next.is_none() && master.stop.is_none() {
                if let Err(error) = self.start_generation(master, Cause::MoldDied).await {
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
            self.take_turns(master);
        }
        let current = self.generations.current.as_ref();
        if !master.ready && master.stop.is_none() && current.is_some_and(Generation::all_serve) {
            tracing::info!("ready");
            master.ready = true;
            master.say_ready(&self.serving());
        }
        self.tell_turns();
        self.generations
            .old
            .retain_mut(|generation| !generation.is_finished());
    }

    fn look(&mut self, master: &mut Master) {
        self.leave_out_frozen_time();
        self.look_after_workers();
        self.scale(master);
    }

    async fn reload(&mut self, master: &mut Master, config: Config, waiting: Option<Waiting>) {
        self.import_anew(master, config, waiting).await;
    }

    fn is_reloading(&self) -> bool {
        self.generations.next.is_some()
    }

    fn makes_sockets(&self) -> bool {
        true
    }

    fn still(&self) -> &'static str {
        let current = self.generations.current.as_ref();
        if current.is_some_and(Generation::accepts) {
            "the old workers go on"
        } else {
            "no worker serves"
        }
    }

    fn child_ended(&mut self, master: &mut Master, pid: u32, status: ExitStatus) {
        self.reap(master, pid, status);
    }

    fn reopen_log(&self) {
        for generation in self.generations.all() {
            for (&pid, worker) in &generation.workers {
                if worker.serving {
                    send(pid, Signal::USR1);
                }
            }
        }
    }

    fn resize(&mut self, master: &mut Master, more: bool) {
        let wanted = if more {
            self.wanted + 1
        } else {
            self.wanted - 1
        };
        self.resize_to(master, wanted);
    }

    async fn part(&mut self, master: &mut Master) {
        self.part_molds(master).await;
    }

    fn tell_parted(&self) {
        let current = self.generations.current.as_ref();
        if let Some(addresses) = current.and_then(Generation::parted) {
            tracing::warn!(
                "{addresses}: the application itself listened there; that was closed for the next import to open it, and \
                 stays closed until one succeeds"
            );
        }
    }

    fn leave(&mut self, leave: Leave) {
        let (signal, reason) = match leave {
            Leave::ToSuccessor => (Signal::HUP, Reason::Upgrade),
            Leave::Gracefully => (Signal::TERM, Reason::Stop),
            Leave::AtOnce => (Signal::KILL, Reason::Stop),
        };
        self.inheritance.listeners.clear();
        self.mold_due = None;
        let next = self.generations.next.take().map(|next| next.generation);
        self.generations
            .old
            .extend(self.generations.current.take().into_iter().chain(next));
        for generation in &mut self.generations.old {
            generation.inheritance.listeners.clear();
            generation.leave(signal, reason);
        }
    }

    fn has_left(&self) -> bool {
        self.generations.old.is_empty()
    }

    fn close(&mut self) {
        self.deaths.sum_up_all();
    }

    fn situation(&self) -> Situation {
        let current = self.generations.current.as_ref();
        Situation {
            state: match (current, &self.generations.next) {
                (Some(_), Some(_)) => "reloading",
                (Some(_), None) => "serving",
                (None, _) => "starting",
            },
            generation: current.map_or(0, |it| it.number),
            mold: current
                .and_then(|it| it.mold.as_ref())
                .map(|mold| mold.pid()),
            workers_wanted: self.wanted,
        }
    }

    fn living(&self) -> impl Iterator<Item = Living<'_>> {
        self.generations.all().flat_map(Generation::living)
    }

    fn serving(&self) -> String {
        let current = self.generations.current.as_ref();
        let workers = current.iter().flat_map(|it| it.workers.values());
        let serving = workers.filter(|it| it.serving && !it.leaving).count();
        format!(
            "{serving} worker{}, generation {}",
            plural(serving),
            current.map_or(0, |it| it.number)
        )
    }
}

impl Python {
    /// Does what follows from something that a mold or a worker has said.
    fn note(&mut self, master: &mut Master, number: u64, report: io::Result<Report>) {
        let report = match report {
            Ok(report) => report,
            Err(error) => return tracing::error!(%error, "a report cannot be read"),
        };
        if let Report::Exited { pid, status } = report {
            return self.worker_ended(master, number, pid, ExitStatus::from_raw(status));
        }
        let (wanted, threads) = (self.wanted, master.config.threads);
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
                self.worker_refused(master, why);
            }
            Report::Serving { pid } => generation.serves(pid),
            // Its end, which follows, is the failure.
            Report::NotImported(why) => generation.why = Some(why),
            Report::NotLoaded(why) => {
                if self.generations.is_next(number) {
                    self.next_failed(master, SupervisorError::Application(why));
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
                if let Some(watch) = &mut master.watch {
                    watch.modules(files, SystemTime::UNIX_EPOCH + Duration::from_nanos(at));
                }
            }
            Report::Exited { .. } => {}
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn scaler(config: &Config) -> Option<Scaler> {
    let limits = config.workers_min..=config.workers_max;
    config.is_adaptive().then(|| Scaler::new(limits))
}
