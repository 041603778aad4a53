//! Applications of spile's own: threads of this process serve them. With `--sandbox` these threads are restricted.

use std::{io, os::fd::AsFd, process::ExitStatus, rc::Rc, sync::Arc};

use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::Instant,
};

use super::{Backend, Leave};
use crate::{
    app::{Handler, builtin},
    client::control::Reloaded,
    config::{AppSpec, Config, Cure, options::left_by_reload},
    observe::{AccessLog, stats},
    server::{AllowFrom, Limits, Listener, ServeError, Server, Tls},
    supervisor::{
        backend::python::channel::layout,
        error::SupervisorError,
        launch::{Ending, limits},
        master::state::{Master, Waiting, tell_failure, tell_left},
        sockets::prepare::{Prepared, owner},
        stats::{
            scoreboard::{Layout, Recorder, Scoreboard, Snapshot},
            totals::{Living, Situation},
        },
        system::{credentials::SealedCredentials, sandbox::Sandbox},
    },
};

/// The threads that serve, and what a reload changes for them.
pub(in crate::supervisor) struct Native {
    scoreboard: Scoreboard,
    log: Option<Arc<AccessLog>>,
    since: Instant,
    /// The configuration as it was read last; the master's is the one that the server was started with.
    read: Config,
    /// The networks that may connect. A reload replaces the list.
    allowed: AllowFrom,
    /// The TLS configuration of the sockets.
    tls: Option<Tls>,
    /// The threads that serve.
    threads: Threads,
    /// Dropped, it stops the server.
    running: Option<oneshot::Sender<()>>,
    /// How serving has ended, once it has.
    served: oneshot::Receiver<Result<(), ServeError>>,
    has_left: bool,
}

impl Backend for Native {
    type Event = Result<(), ServeError>;

    async fn start(master: &mut Master) -> Result<Self, SupervisorError> {
        let config = Config::clone(&master.config);
        let scoreboard = scoreboard(&config).map_err(SupervisorError::SharedMemory)?;
        let log =
            AccessLog::open(&config).map_err(SupervisorError::io("cannot open the access log"))?;
        let log = log.map(Arc::new);
        let credentials = master.prepared.credentials.as_deref();
        let tls = credentials.map(SealedCredentials::tls).transpose();
        let tls = tls.map_err(no_tls())?;
        let allowed = AllowFrom::new(config.allow_from.iter().copied());
        let server = server(
            &config,
            &master.prepared,
            &allowed,
            tls.as_ref(),
            log.as_ref(),
        )?;
        let threads = Threads::start(Sandbox::of(&config).as_ref())?;
        let (running, stopped) = oneshot::channel();
        let served = threads.serve(server, stopped);
        Ok(Self {
            scoreboard,
            log,
            since: Instant::now(),
            read: config,
            allowed,
            tls,
            threads,
            running: Some(running),
            served,
            has_left: false,
        })
    }

    async fn event(&mut self) -> Self::Event {
        if self.has_left {
            return std::future::pending().await;
        }
        let served = (&mut self.served).await;
        served.unwrap_or_else(|_| Err(io::Error::other("the thread that serves has ended").into()))
    }

    fn hear(&mut self, master: &mut Master, served: Self::Event) {
        self.has_left = true;
        match (served, &mut master.stop) {
            (Err(ServeError::CutOff), Some(stop)) => {
                tracing::warn!("{}", ServeError::CutOff);
                stop.ending = Ending::CutOff;
            }
            (Ok(()), Some(_)) => {}
            (served, stop) => {
                let error = served.err().map_or_else(
                    || io::Error::other("the server has ended by itself"),
                    io::Error::other,
                );
                let failure = SupervisorError::io("cannot serve")(error);
                match stop {
                    Some(stop) => stop.failure = stop.failure.take().or(Some(failure)),
                    None => master.broken = Some(failure),
                }
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        // Its threads serve already.
        None
    }

    async fn act(&mut self, master: &mut Master) {
        if !master.ready && master.stop.is_none() {
            master.ready = true;
            master.say_ready(&self.serving());
            tracing::info!("ready");
        }
    }

    fn look(&mut self, _: &mut Master) {}

    /// Takes over what needs no new process: who may connect, what TLS is spoken with, and what the sockets are given.
    /// What else has changed is named in the log.
    async fn reload(&mut self, master: &mut Master, config: Config, waiting: Option<Waiting>) {
        let began = Instant::now();
        // First what may fail: then nothing has changed.
        let owner = owner(&config).map_err(SupervisorError::from);
        let renewed = match owner.and_then(|_| self.renew_tls(&mut master.prepared, &config)) {
            Ok(renewed) => renewed,
            Err(error) => {
                let (what, cure) = (error.to_string(), error.cure());
                return self.refuse_reload(master, waiting, &what, Some(cure));
            }
        };
        let changed = self.allowed.replace(config.allow_from.iter().copied());
        if changed {
            tracing::info!("--allow-from has changed: it goes for new connections");
        }
        let refitted = master.prepared.refit(&self.read, &config);
        let left = left_by_reload(&master.config, &config, false);
        tell_left(&left);
        self.read = config;
        if changed || renewed || refitted {
            master.reloaded();
            // Whoever asked may have left.
            let _ = waiting.map(|waiting| {
                waiting.send(Ok(Reloaded {
                    generation: 1,
                    seconds: began.elapsed().as_secs_f64(),
                }))
            });
        } else {
            let left: Vec<_> = left.iter().map(|option| option.written()).collect();
            let what = if left.is_empty() {
                tracing::info!("nothing to reload: there is no Python application");
                "there is nothing to import again: none of the applications is Python".to_owned()
            } else {
                format!("nothing was reloaded: {} stays as it was", left.join(", "))
            };
            let hint = "restart spile to serve with other options".to_owned();
            tell_failure(waiting, &what, Some(hint));
        }
        master.say_ready(&self.serving());
    }

    fn is_reloading(&self) -> bool {
        false
    }

    fn makes_sockets(&self) -> bool {
        false
    }

    fn still(&self) -> &'static str {
        "everything stays as it was"
    }

    /// It has no children.
    fn child_ended(&mut self, _: &mut Master, _: u32, _: ExitStatus) {}

    fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    fn resize(&mut self, _: &mut Master, _: bool) {
        tracing::warn!("there are no workers without a Python application");
    }

    async fn part(&mut self, _: &mut Master) {}

    fn tell_parted(&self) {}

    fn leave(&mut self, leave: Leave) {
        self.running = None;
        if leave == Leave::AtOnce {
            self.has_left = true;
        }
    }

    fn has_left(&self) -> bool {
        self.has_left
    }

    fn close(&mut self) {
        self.threads.leave();
        if let Some(log) = &self.log {
            log.flush(AccessLog::AT_THE_END);
        }
    }

    fn situation(&self) -> Situation {
        Situation {
            state: "serving",
            generation: 1,
            mold: None,
            workers_wanted: 1,
        }
    }

    fn living(&self) -> impl Iterator<Item = Living<'_>> {
        let snapshot = self.scoreboard.read(0);
        let state = if snapshot.in_flight > 0 {
            "busy"
        } else {
            "idle"
        };
        std::iter::once(Living {
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
        })
    }

    fn serving(&self) -> String {
        "serving in one process".to_owned()
    }
}

impl Native {
    /// Speaks TLS with what the files have now; whether TLS is spoken at all.
    fn renew_tls(&self, prepared: &mut Prepared, config: &Config) -> Result<bool, SupervisorError> {
        let (Some(tls), Some(_)) = (&self.tls, &config.tls) else {
            return Ok(false);
        };
        let before = prepared.credentials.clone();
        let now = SealedCredentials::of(config, before.clone())?;
        let is_kept =
            matches!((&before, &now), (Some(before), Some(now)) if Rc::ptr_eq(before, now));
        if let Some(now) = now.as_ref().filter(|_| !is_kept) {
            let credentials = now.credentials().map_err(no_tls())?;
            let renewed = tls.renew(&credentials).map_err(io::Error::other);
            renewed.map_err(no_tls())?;
            tracing::info!("the certificate was read again: new connections get it");
        }
        prepared.credentials = now;
        Ok(true)
    }
}

/// The server, with copies of the sockets: their files are the master's to remove.
fn server(
    config: &Config,
    prepared: &Prepared,
    allowed: &AllowFrom,
    tls: Option<&Tls>,
    log: Option<&Arc<AccessLog>>,
) -> Result<Server, SupervisorError> {
    let mut server = Server::new().limits(Limits {
        allow_from: allowed.clone(),
        ..limits(config)
    });
    for mount in &config.mounts {
        if let Some(handler) = handler(&mount.app) {
            server = server.mount_handler(&mount.prefix, handler);
        }
    }
    if let Some(log) = log {
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
    for listener in &prepared.listeners {
        let copy = listener.as_fd().try_clone_to_owned();
        let copy = copy.and_then(|fd| Listener::from_fd(fd, listener.address().clone()));
        let copy = copy.map_err(SupervisorError::io("cannot copy a socket"))?;
        server = server.listen(match tls {
            Some(tls) => copy.with_tls(tls.clone()),
            None => copy,
        });
    }
    Ok(server)
}

/// The runtime that serves, apart from the master's. With `--sandbox` its threads are restricted, and the lanes that
/// they start; the master's thread is not: it removes files, and starts another binary at an upgrade.
struct Threads(Option<Runtime>);

impl Threads {
    fn start(sandbox: Option<&Sandbox>) -> Result<Self, SupervisorError> {
        let build = || Builder::new_multi_thread().enable_all().build();
        let runtime = match sandbox {
            None => build(),
            Some(sandbox) => {
                let (runtime, gap) = sandbox.run(build)?;
                match gap {
                    Some(gap) => gap.warn(),
                    None => {
                        tracing::info!("sandbox: writing is allowed to {}", sandbox.described());
                    }
                }
                runtime
            }
        };
        Ok(Self(Some(
            runtime.map_err(SupervisorError::io("cannot start"))?,
        )))
    }

    /// Serves until `stopped` is dropped, and says how that has ended.
    fn serve(
        &self,
        server: Server,
        stopped: oneshot::Receiver<()>,
    ) -> oneshot::Receiver<Result<(), ServeError>> {
        let (tell, served) = oneshot::channel();
        if let Some(runtime) = &self.0 {
            runtime.spawn(async move {
                let stopped = async {
                    // Dropped without a word, it is a stop too.
                    let _ = stopped.await;
                };
                // Nobody waits for it after a quick stop.
                let _ = tell.send(server.serve_until(stopped).await);
            });
        }
        served
    }

    /// Lets the threads end by themselves: nobody waits for them.
    fn leave(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.leave();
    }
}

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
