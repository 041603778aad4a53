//! The master: keeps as many workers as were asked for, and runs nothing of the user's.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    time::Duration,
};

use nix::sys::wait::{Id, WaitPidFlag};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::{
    runtime::Builder,
    signal::unix::{self, SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::{
    Ending, SupervisorError, backoff::Backoff, channel::Report, mold::Mold, signals::Signals,
};
use crate::{
    config::{Config, Interpreter},
    server::Listener,
};

/// Beyond the graceful time-out, which the workers keep themselves.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// How long an order waits that the mold has no room for.
const NO_ROOM: Duration = Duration::from_millis(10);

pub(super) fn run(config: &Config) -> Result<Ending, SupervisorError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SupervisorError::io("cannot start"))?;
    runtime.block_on(start(config))
}

async fn start(config: &Config) -> Result<Ending, SupervisorError> {
    // Before anything is made that a signal would leave behind.
    let watch = || -> io::Result<_> { Ok((Signals::watch()?, signal(SignalKind::child())?)) };
    let (signals, children) = watch().map_err(SupervisorError::io("cannot watch for signals"))?;
    let (listeners, _pidfile) = super::prepare(config)?;
    let interpreter = Interpreter::find(config)?;
    interpreter.probe(config)?.verify(&interpreter)?;
    // Workers whose mold has died become this process's children, to be seen when they end.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(io::Error::from)
        .map_err(SupervisorError::io("cannot adopt the workers"))?;
    let (lifeline, _held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(io::Error::from)
        .map_err(SupervisorError::io("cannot make a pipe"))?;
    let mold = Mold::start(config, &interpreter, &listeners, &lifeline).await?;
    let master = Master {
        config,
        interpreter: &interpreter,
        listeners,
        lifeline: &lifeline,
        mold: Some(mold),
        imported: false,
        said_ready: false,
        places: (1..=config.workers)
            .map(|number| (number, Place::default()))
            .collect(),
        serving: BTreeSet::new(),
        adopted: Vec::new(),
        mold_backoff: Backoff::default(),
        mold_since: Instant::now(),
        mold_due: None,
    };
    master.supervise(signals, children).await
}

struct Master<'a> {
    config: &'a Config,
    interpreter: &'a Interpreter,
    listeners: Vec<Listener>,
    lifeline: &'a OwnedFd,
    mold: Option<Mold>,
    imported: bool,
    said_ready: bool,
    /// The workers by their places' numbers.
    places: BTreeMap<usize, Place>,
    /// The workers that have said that they serve. One may do so before the mold has told of it.
    serving: BTreeSet<u32>,
    /// Workers whose mold has died. They serve until the next mold can fork, then finish what they have.
    adopted: Vec<u32>,
    mold_backoff: Backoff,
    mold_since: Instant,
    /// When the next mold is to be started.
    mold_due: Option<Instant>,
}

/// A place that always has a worker, or is about to.
#[derive(Default)]
struct Place {
    worker: Option<Worker>,
    backoff: Backoff,
    /// When the next worker is to be forked; `None` while there is one or one was ordered.
    due: Option<Instant>,
}

struct Worker {
    pid: u32,
    since: Instant,
}

impl Master<'_> {
    async fn supervise(
        mut self,
        mut signals: Signals,
        mut children: unix::Signal,
    ) -> Result<Ending, SupervisorError> {
        let gracefully = loop {
            let next_due = self.next_due();
            tokio::select! {
                gracefully = signals.next() => break gracefully,
                report = report(self.mold.as_ref()) => match report {
                    Ok(Some(said)) => self.note(said).await,
                    // Told by SIGCHLD as well, with the reason.
                    Ok(None) | Err(_) => self.mold_ended()?,
                },
                _ = children.recv() => {
                    self.mold_ended()?;
                    self.reap();
                }
                () = until(next_due) => self.start_what_is_due().await?,
            }
        };
        tracing::info!(
            "stopping{}",
            if gracefully {
                ": requests may finish"
            } else {
                " at once"
            }
        );
        Ok(self.stop(gracefully, signals, children).await)
    }

    /// Acts on what the mold or a worker says.
    async fn note(&mut self, report: Report) {
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
                tracing::info!("{python} in {venv}; the applications are imported");
                let threads = self.config.threads;
                tracing::info!(
                    "starting {} worker{} of {threads} thread{}",
                    self.config.workers,
                    plural(self.config.workers),
                    plural(threads)
                );
                self.imported = true;
                for &pid in &self.adopted {
                    send(pid, Signal::TERM);
                }
                let now = Instant::now();
                for place in self.places.values_mut() {
                    place.due = Some(now);
                }
            }
            Report::Forked { worker, pid } => {
                if let Some(place) = self.places.get_mut(&worker) {
                    place.worker = Some(Worker {
                        pid,
                        since: Instant::now(),
                    });
                }
                self.say_when_ready();
            }
            Report::NotForked { worker } => {
                if let Some(place) = self.places.get_mut(&worker) {
                    place.due = Some(Instant::now() + place.backoff.after(Duration::ZERO));
                }
            }
            Report::Serving { pid } => {
                self.serving.insert(pid);
                self.say_when_ready();
            }
            Report::Exited { pid, status } => self.worker_exited(pid, ExitStatus::from_raw(status)),
            Report::Stuck { .. } => {}
            Report::NotLoaded { .. } | Report::Modules { .. } => {}
        }
    }

    fn say_when_ready(&mut self) {
        let all_serve = self.places.values().all(|place| {
            place
                .worker
                .as_ref()
                .is_some_and(|worker| self.serving.contains(&worker.pid))
        });
        if all_serve && !std::mem::replace(&mut self.said_ready, true) {
            tracing::info!("ready");
        }
    }

    /// A worker that was not asked to leave is gone: another takes its place.
    fn worker_exited(&mut self, pid: u32, status: ExitStatus) {
        self.serving.remove(&pid);
        let holds = |place: &Place| {
            place
                .worker
                .as_ref()
                .is_some_and(|worker| worker.pid == pid)
        };
        let Some((number, place)) = self.places.iter_mut().find(|(_, place)| holds(place)) else {
            return;
        };
        let lived = place
            .worker
            .take()
            .map_or(Duration::ZERO, |worker| worker.since.elapsed());
        let pause = place.backoff.after(lived);
        place.due = Some(Instant::now() + pause);
        let then = if pause.is_zero() {
            "at once".to_owned()
        } else {
            format!("in {} s", pause.as_secs_f32())
        };
        tracing::error!(
            "worker {number} (process {pid}) {}; another starts {then}",
            described(status)
        );
    }

    /// If the mold is gone: its workers finish what they have and leave, and another mold takes its place. Before
    /// the first import has succeeded, there is nothing to go on with.
    fn mold_ended(&mut self) -> Result<(), SupervisorError> {
        let Some(status) = self.mold.as_mut().and_then(Mold::ended) else {
            return Ok(());
        };
        if !self.said_ready && !self.imported {
            return Err(SupervisorError::Import { status });
        }
        let pid = self.mold.as_ref().map_or(0, Mold::pid);
        self.adopt();
        let pause = self.mold_backoff.after(self.mold_since.elapsed());
        self.mold_due = Some(Instant::now() + pause);
        self.imported = false;
        tracing::error!(
            "the mold (process {pid}) {}; another imports the applications",
            described(status)
        );
        Ok(())
    }

    /// The mold is gone, and its workers are this process's children now.
    fn adopt(&mut self) {
        let unheard = self.mold.take().map(|mold| mold.unheard());
        let mut orphans = std::mem::take(&mut self.serving);
        for report in unheard.unwrap_or_default() {
            match report {
                Report::Forked { pid, .. } | Report::Serving { pid } => orphans.insert(pid),
                Report::Exited { pid, .. } => orphans.remove(&pid),
                Report::Imported { .. }
                | Report::Stuck { .. }
                | Report::NotForked { .. }
                | Report::NotLoaded { .. }
                | Report::Modules { .. } => false,
            };
        }
        for place in self.places.values_mut() {
            place.due = None;
            orphans.extend(place.worker.take().map(|worker| worker.pid));
        }
        self.adopted.extend(orphans);
    }

    /// Collects every child that has ended but the mold: adopted workers, and whatever the applications have
    /// left behind, which falls to a subreaper too.
    fn reap(&mut self) {
        while let Some(pid) = ended_child() {
            if self.mold.as_ref().is_some_and(|mold| mold.pid() == pid) {
                break;
            }
            if let (Ok(Some(status)), true) = (wait(pid), self.adopted.contains(&pid)) {
                tracing::info!(
                    "process {pid}, a worker of the old mold, {}",
                    described(status)
                );
            }
        }
        self.adopted.retain(|&pid| is_alive(pid));
    }

    fn next_due(&self) -> Option<Instant> {
        self.places
            .values()
            .filter_map(|place| place.due)
            .chain(self.mold_due)
            .min()
    }

    async fn start_what_is_due(&mut self) -> Result<(), SupervisorError> {
        let now = Instant::now();
        if self.mold_due.is_some_and(|due| due <= now) {
            self.mold_due = None;
            self.mold_since = now;
            self.mold = Some(
                Mold::start(
                    self.config,
                    self.interpreter,
                    &self.listeners,
                    self.lifeline,
                )
                .await?,
            );
        }
        let Some(mold) = &self.mold else {
            return Ok(());
        };
        for (number, place) in &mut self.places {
            if self.imported && place.due.is_some_and(|due| due <= now) {
                place.due = match mold.fork(*number) {
                    // The mold may wait for its reports to be read.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(now + NO_ROOM),
                    // A mold that cannot be told has gone, which is seen elsewhere.
                    _ => None,
                };
            }
        }
        Ok(())
    }

    /// Ends all workers, then the mold.
    async fn stop(
        mut self,
        gracefully: bool,
        mut signals: Signals,
        mut children: unix::Signal,
    ) -> Ending {
        let mut ending = Ending::Finished;
        let mut signal = if gracefully {
            Signal::TERM
        } else {
            Signal::KILL
        };
        let mut deadline = Instant::now() + LAST_PATIENCE;
        if gracefully {
            deadline += self.config.graceful_timeout;
        }
        // Nobody connects any more; what is in the listen queues is the workers' to answer.
        self.listeners.clear();
        if let Some(mold) = &self.mold {
            // One that cannot be told has gone, and its copies with it.
            let _ = mold.release().await;
        }
        self.signal_all(signal);
        while self.mold.is_some() && self.places.values().any(|place| place.worker.is_some())
            || !self.adopted.is_empty()
        {
            tokio::select! {
                report = report(self.mold.as_ref()) => match report {
                    Ok(Some(Report::Exited { pid, status })) => {
                        let status = ExitStatus::from_raw(status);
                        if gracefully && !status.success() {
                            tracing::warn!("process {pid}, a worker, {}", described(status));
                            ending = Ending::CutOff;
                        }
                        for place in self.places.values_mut() {
                            place.worker.take_if(|worker| worker.pid == pid);
                        }
                    }
                    Ok(Some(Report::Forked { worker, pid })) => {
                        // Ordered before the stop.
                        send(pid, signal);
                        if let Some(place) = self.places.get_mut(&worker) {
                            place.worker = Some(Worker { pid, since: Instant::now() });
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                },
                _ = children.recv() => {
                    // systemd tells it to stop as well.
                    if self.mold.as_mut().is_some_and(|mold| mold.ended().is_some()) {
                        self.adopt();
                        self.signal_all(signal);
                    }
                    self.reap();
                }
                () = signals.quick.recv() => {
                    signal = Signal::KILL;
                    self.signal_all(signal);
                }
                () = sleep_until(deadline) => {
                    tracing::warn!("workers are killed: they did not end in time");
                    ending = Ending::CutOff;
                    self.signal_all(Signal::KILL);
                    deadline += LAST_PATIENCE;
                }
            }
        }
        if let Some(mold) = self.mold.take() {
            // One that still imports looks at nothing else.
            let patience = if self.imported {
                LAST_PATIENCE
            } else {
                Duration::ZERO
            };
            mold.end(patience).await;
        }
        tracing::info!("stopped");
        ending
    }

    fn signal_all(&self, signal: Signal) {
        let workers = self
            .places
            .values()
            .filter_map(|place| place.worker.as_ref())
            .map(|worker| worker.pid);
        for pid in workers.chain(self.adopted.iter().copied()) {
            send(pid, signal);
        }
    }
}

/// The next report; never, without a mold.
async fn report(mold: Option<&Mold>) -> io::Result<Option<Report>> {
    match mold {
        Some(mold) => mold.report().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = as_pid(pid) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A child that has ended and was not waited for.
fn ended_child() -> Option<u32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let ended = nix::sys::wait::waitid(Id::All, flags).ok()?;
    u32::try_from(ended.pid()?.as_raw()).ok()
}

fn is_alive(pid: u32) -> bool {
    as_pid(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// How a child has ended; `None` while it runs.
fn wait(pid: u32) -> io::Result<Option<ExitStatus>> {
    let waited = rustix::process::waitpid(as_pid(pid), WaitOptions::NOHANG)?;
    Ok(waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
}

fn as_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// `was killed by signal 9 (SIGKILL)`.
fn described(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let core = if status.core_dumped() {
                ", with a core dump"
            } else {
                ""
            };
            match nix::sys::signal::Signal::try_from(signal) {
                Ok(name) => format!("was killed by signal {signal} ({name}){core}"),
                Err(_) => format!("was killed by signal {signal}{core}"),
            }
        }
        (None, code) => format!("exited with status {}", code.unwrap_or(0)),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
