//! Serving without Python: one process. With `--sandbox` the threads that serve are restricted.

use std::{io, os::fd::AsFd, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};

use super::python::channel::layout;
use crate::{
    app::{Handler, builtin},
    client::control::{Failure, Reloaded},
    config::{AppSpec, Config, Cure, options::left_by_reload},
    observe::{AccessLog, stats},
    server::{AllowFrom, Limits, Listener, ServeError, Server, Tls},
    supervisor::{
        error::SupervisorError,
        kept::tell_left,
        launch::{Ending, Launch, limits},
        master::signals::{Request, Requests},
        sockets::{
            first_process::Successors,
            prepare::{Prepared, owner},
            restore::Files,
            upgrade::{Upgrade, serves},
        },
        stats::{
            control::Asked,
            endpoints::Serving,
            scoreboard::{Layout, Recorder, Scoreboard, Snapshot},
            totals::{Ledger, Living, Situation},
        },
        system::{
            credentials::SealedCredentials,
            process::{described, ended},
            sandbox::Sandbox,
            systemd::Notify,
        },
    },
};

/// How often the files are looked at that the server is found by.
const TICK: Duration = Duration::from_secs(1);

const UPGRADE_IT: &str = "start spile anew, or send it SIGUSR2, to have it made";

/// Where the user that this process has become may not be able to make it.
const RESTART_IT: &str = "start spile anew to have it made";

/// The built-in application of a mount; `None` for a Python one.
#[must_use]
pub fn handler(app: &AppSpec) -> Option<Handler> {
    Some(match app {
        AppSpec::Wsgi(_) => return None,
        AppSpec::Static(directory) => {
            Handler::Async(Arc::new(builtin::StaticFiles::new(directory)))
        }
        AppSpec::Echo => Handler::Async(Arc::new(builtin::echo)),
        AppSpec::Hello => Handler::Async(Arc::new(builtin::hello)),
    })
}

pub(in crate::supervisor) fn run(launch: &Launch) -> Result<Ending, SupervisorError> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(SupervisorError::io("cannot start"))?;
    let ending = runtime.block_on(serve(launch));
    runtime.shutdown_background();
    ending
}

async fn serve(launch: &Launch) -> Result<Ending, SupervisorError> {
    let config = &launch.config;
    let mut requests =
        Requests::watch().map_err(SupervisorError::io("cannot watch for signals"))?;
    let notify = Notify::from_env();
    let prepared = Prepared::new(config)?;
    let (admin, asked) = prepared.admin.serve()?;
    let scoreboard = scoreboard(config).map_err(SupervisorError::SharedMemory)?;
    let log = AccessLog::open(config).map_err(SupervisorError::io("cannot open the access log"))?;
    let tls = prepared.credentials.as_deref().map(SealedCredentials::tls);
    let tls = tls.transpose().map_err(no_tls())?;
    let mut native = Native {
        launch,
        tls,
        prepared,
        notify,
        scoreboard,
        log: log.map(Arc::new),
        ledger: Ledger::new(),
        upgrade: None,
        successors: None,
        since: Instant::now(),
        serving_admin: Some(admin),
        files: Files::default(),
        config: config.clone(),
        allowed: AllowFrom::new(config.allow_from.iter().copied()),
    };
    let server = native.server()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = match Sandbox::of(config) {
        Some(sandbox) => serve_in(&sandbox, server, stopped)?,
        None => Box::pin(serve_until(server, stopped)),
    };
    native.say_ready();
    tracing::info!("ready");
    let quick = tokio::select! {
        served = &mut serving => return outcome(served),
        quick = native.until_stopped(&mut requests, asked) => quick,
    };
    if let Some(successors) = native.successors.take() {
        native.close();
        drop(stop);
        let (served, kept) = tokio::join!(serving, successors.keep(&mut requests));
        kept?;
        return outcome(served);
    }
    native.notify.stopping();
    if quick {
        tracing::info!("stopping at once");
        return Ok(Ending::CutOff);
    }
    tracing::info!("stopping: requests may finish");
    native.close();
    drop(stop);
    let ending = outcome(serving.await);
    if let Some(log) = &native.log {
        log.flush(AccessLog::AT_THE_END);
    }
    tracing::info!("stopped");
    ending
}

type Served = Pin<Box<dyn Future<Output = Result<(), ServeError>>>>;

async fn serve_until(server: Server, stopped: oneshot::Receiver<()>) -> Result<(), ServeError> {
    let stopped = async {
        // Dropped without a word, it is a stop too.
        let _ = stopped.await;
    };
    server.serve_until(stopped).await
}

/// Serves on threads that are restricted. This one is not: it removes files, and starts another binary at an upgrade.
fn serve_in(
    sandbox: &Sandbox,
    server: Server,
    stopped: oneshot::Receiver<()>,
) -> Result<Served, SupervisorError> {
    let (tell, told) = oneshot::channel();
    // What a restricted thread starts is restricted: the threads of this runtime, and the lanes that they start.
    let (runtime, gap) = sandbox.run(|| Builder::new_multi_thread().enable_all().build())?;
    let runtime = runtime.map_err(SupervisorError::io("cannot start"))?;
    runtime.spawn(async move {
        // Nobody waits for it after a quick stop.
        let _ = tell.send(serve_until(server, stopped).await);
    });
    let apart = Apart(Some(runtime));
    match gap {
        Some(gap) => gap.warn(),
        None => tracing::info!("sandbox: writing is allowed to {}", sandbox.described()),
    }
    Ok(Box::pin(async move {
        let served = told.await;
        drop(apart);
        served.unwrap_or_else(|_| Err(io::Error::other("the thread that serves has ended").into()))
    }))
}

/// A runtime that may be dropped in another: its threads are not waited for.
struct Apart(Option<Runtime>);

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Native<'a> {
    launch: &'a Launch,
    prepared: Prepared,
    notify: Notify,
    scoreboard: Scoreboard,
    log: Option<Arc<AccessLog>>,
    ledger: Ledger,
    upgrade: Option<Upgrade>,
    /// The masters after this one, if it stays.
    successors: Option<Successors>,
    since: Instant,
    serving_admin: Option<Serving>,
    files: Files,
    /// The configuration as it was read last.
    config: Config,
    /// Who may connect; a reload puts another list in place.
    allowed: AllowFrom,
    /// What the sockets speak TLS with.
    tls: Option<Tls>,
}

impl Native<'_> {
    /// The server, with copies of the sockets: their files are this one's to remove.
    fn server(&self) -> Result<Server, SupervisorError> {
        let config = &self.launch.config;
        let mut server = Server::new().limits(Limits {
            allow_from: self.allowed.clone(),
            ..limits(config)
        });
        for mount in &config.mounts {
            if let Some(handler) = handler(&mount.app) {
                server = server.mount_handler(&mount.prefix, handler);
            }
        }
        if let Some(log) = &self.log {
            server = server.observe(Arc::clone(log));
        }
        if config.threads > 1 {
            server = server.lanes(config.threads);
        }
        if config.workers > 1 {
            tracing::warn!(
                "--workers makes no difference without a Python application: one process serves with all cores"
            );
        }
        for listener in &self.prepared.listeners {
            let copy = listener.as_fd().try_clone_to_owned();
            let copy = copy.and_then(|fd| Listener::from_fd(fd, listener.address().clone()));
            let copy = copy.map_err(SupervisorError::io("cannot copy a socket"))?;
            server = server.listen(match &self.tls {
                Some(tls) => copy.with_tls(tls.clone()),
                None => copy,
            });
        }
        Ok(server)
    }

    /// Does what is asked until a stop is; whether it is to be quick.
    async fn until_stopped(
        &mut self,
        requests: &mut Requests,
        mut asked: mpsc::Receiver<Asked>,
    ) -> bool {
        let mut heartbeat = self.notify.heartbeat();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.next() => match request {
                    Request::Stop => return false,
                    Request::StopAtOnce => return true,
                    Request::Reload => {
                        self.notify.reloading();
                        // The log has it, and there is nobody else to tell.
                        let _ = self.reload();
                        self.say_ready();
                    }
                    Request::ReopenLogs => {
                        if let Some(log) = &self.log {
                            log.reopen();
                        }
                    }
                    Request::Upgrade => self.begin_upgrade(),
                    Request::Child => self.reap(),
                    Request::MoreWorkers | Request::FewerWorkers => {
                        tracing::warn!("there are no workers without a Python application");
                    }
                },
                Some(question) = asked.recv() => self.answer(question),
                () = serves(self.upgrade.as_mut()) => {
                    self.upgraded();
                    return false;
                }
                () = heartbeat.beat() => {}
                _ = tick.tick() => self.look_after_files(),
            }
        }
    }

    fn upgraded(&mut self) {
        let Some(upgrade) = self.upgrade.take() else {
            return;
        };
        let pid = upgrade.pid();
        self.successors = upgrade.into_successors();
        if self.successors.is_some() {
            tracing::info!("the new server (process {pid}) serves: this one only stays");
        } else {
            tracing::info!("the new server (process {pid}) serves: this one leaves");
            self.notify.main_pid(pid);
        }
        self.prepared.leave_files();
    }

    fn look_after_files(&mut self) {
        if let Some(upgrade) = &mut self.upgrade {
            return upgrade.tell_if_overdue();
        }
        if self.prepared.is_second() {
            return;
        }
        let (prepared, config) = (&mut self.prepared, &self.launch.config);
        self.files
            .restore(prepared, config, self.serving_admin.as_mut());
        let is_other = config.user.is_some() || config.group.is_some();
        let then = if is_other { RESTART_IT } else { UPGRADE_IT };
        self.files.lacks_sockets(&self.prepared, then);
    }

    /// Reads the configuration, the certificate and the key again, and takes over what needs no new process: who may
    /// connect, what TLS is spoken with, and what the sockets are given. What else has changed is named in the log.
    fn reload(&mut self) -> Result<Reloaded, Failure> {
        let began = Instant::now();
        let config = (self.launch.reload)().map_err(|mistakes| {
            for mistake in &mistakes {
                tracing::error!("{mistake}\n  hint: {}", mistake.cure);
            }
            Failure {
                what: "the configuration has mistakes".to_owned(),
                hint: "the server's log says more".to_owned(),
            }
        })?;
        // First what may fail: then nothing has changed.
        let owner = owner(&config).map_err(SupervisorError::from);
        let renewed = owner
            .and_then(|_| self.renew_tls(&config))
            .map_err(|error| {
                let (what, hint) = (error.to_string(), error.cure());
                tracing::error!(
                    "the reload has failed, and everything stays as it was: {what}\n  hint: {hint}"
                );
                Failure { what, hint }
            })?;
        let changed = self.allowed.replace(config.allow_from.iter().copied());
        if changed {
            tracing::info!("--allow-from has changed: it goes for new connections");
        }
        let refitted = self.prepared.refit(&self.config, &config);
        let left = left_by_reload(&self.launch.config, &config, false);
        tell_left(&left);
        let kept: Vec<_> = left.iter().map(|option| option.written()).collect();
        self.config = config;
        if changed || renewed || refitted {
            return Ok(Reloaded {
                generation: 1,
                seconds: began.elapsed().as_secs_f64(),
            });
        }
        if kept.is_empty() {
            tracing::info!("nothing to reload: there is no Python application");
        }
        Err(Failure {
            what: match kept.as_slice() {
                [] => "there is nothing to import again: none of the applications is Python".into(),
                kept => format!("nothing was reloaded: {} stays as it was", kept.join(", ")),
            },
            hint: "restart spile to serve with other options".to_owned(),
        })
    }

    /// Whether TLS is spoken: with what the files have now.
    fn renew_tls(&mut self, config: &Config) -> Result<bool, SupervisorError> {
        let (Some(tls), Some(_)) = (&self.tls, &config.tls) else {
            return Ok(false);
        };
        let before = self.prepared.credentials.clone();
        let now = SealedCredentials::of(config, before.clone())?;
        let is_kept =
            matches!((&before, &now), (Some(before), Some(now)) if Rc::ptr_eq(before, now));
        if let Some(now) = now.as_ref().filter(|_| !is_kept) {
            let credentials = now.credentials().map_err(no_tls())?;
            let renewed = tls.renew(&credentials).map_err(io::Error::other);
            renewed.map_err(no_tls())?;
            tracing::info!("the certificate was read again: new connections get it");
        }
        self.prepared.credentials = now;
        Ok(true)
    }

    /// Gives up its addresses.
    fn close(&mut self) {
        self.prepared.listeners.clear();
        self.serving_admin = None;
        self.prepared.admin.close();
    }

    fn say_ready(&mut self) {
        self.notify.ready("serving in one process");
        if let Err(error) = self.prepared.take_over() {
            tracing::error!("{error}");
        }
    }

    fn begin_upgrade(&mut self) {
        if self.upgrade.is_some() {
            return tracing::warn!("an upgrade is going on already");
        }
        self.notify.reloading();
        match Upgrade::start(self.launch, &self.prepared) {
            Ok(upgrade) => {
                upgrade.tell_watchers(&self.notify);
                self.upgrade = Some(upgrade);
            }
            Err(error) => {
                tracing::error!("a new server cannot be started, and this one goes on: {error}");
                self.say_ready();
            }
        }
    }

    fn reap(&mut self) {
        let Some(upgrade) = &self.upgrade else {
            return;
        };
        if let Some(status) = ended(upgrade.pid()) {
            self.upgrade = None;
            tracing::error!("the new server {}: this one goes on", described(status));
            self.say_ready();
        }
    }

    /// Whoever does not wait for the answer does not need it.
    fn answer(&mut self, asked: Asked) {
        match asked {
            Asked::Stats(to) => {
                let _ = to.send(self.stats());
            }
            Asked::Reload(to) => {
                let _ = to.send(self.reload());
            }
        }
    }

    fn stats(&self) -> stats::Stats {
        let situation = Situation {
            state: match &self.upgrade {
                Some(_) => "upgrading",
                None => "serving",
            },
            generation: 1,
            mold: None,
            workers_wanted: 1,
        };
        let snapshot = self.scoreboard.read(0);
        let state = if snapshot.in_flight > 0 {
            "busy"
        } else {
            "idle"
        };
        let living = Living {
            worker: stats::Worker {
                number: 1,
                pid: std::process::id(),
                state: state.to_owned(),
                generation: 1,
                uptime: self.since.elapsed().as_secs_f64(),
                ..stats::Worker::default()
            },
            snapshot: Snapshot {
                access_log_dropped: self.log.as_ref().map_or(0, |log| log.dropped()),
                ..snapshot
            },
            mounts: &self.scoreboard.layout().mounts,
        };
        let listeners = self.prepared.listeners.iter().map(AsRef::as_ref);
        let config = &self.launch.config;
        self.ledger
            .stats(situation, config, listeners, [living].into_iter())
    }
}

fn no_tls() -> impl FnOnce(io::Error) -> SupervisorError {
    SupervisorError::io("TLS cannot be spoken")
}

/// Where this process counts, as a worker does: its only slot.
fn scoreboard(config: &Config) -> io::Result<Scoreboard> {
    let scoreboard = Scoreboard::create(Layout {
        lanes: 0,
        ..layout(config, 1)
    })?;
    let recorder = Recorder::new(scoreboard.writer(0)?);
    // A program that has a recorder of its own keeps it.
    let _ = metrics::set_global_recorder(recorder);
    Ok(scoreboard)
}

fn outcome(served: Result<(), ServeError>) -> Result<Ending, SupervisorError> {
    match served {
        Ok(()) => Ok(Ending::Finished),
        Err(ServeError::CutOff) => {
            tracing::warn!("{}", ServeError::CutOff);
            Ok(Ending::CutOff)
        }
        Err(other) => Err(SupervisorError::Io {
            what: "cannot serve",
            source: io::Error::other(other),
        }),
    }
}
