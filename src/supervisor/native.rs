//! Serving without Python: one process, all threads of one runtime.

use std::sync::Arc;

use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Ending, SupervisorError, limits, signals::Signals};
use crate::{
    app::{Handler, builtin},
    config::{AppSpec, Config},
    observe::AccessLog,
    server::{ServeError, Server},
};

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

pub(super) fn run(config: &Config) -> Result<Ending, SupervisorError> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(SupervisorError::io("cannot start"))?;
    let ending = runtime.block_on(serve(config));
    runtime.shutdown_background();
    ending
}

async fn serve(config: &Config) -> Result<Ending, SupervisorError> {
    let mut signals = Signals::watch().map_err(SupervisorError::io("cannot watch for signals"))?;
    let reopen = signal(SignalKind::user_defined1())
        .map_err(SupervisorError::io("cannot watch for signals"))?;
    let (listeners, _pidfile) = super::prepare(config)?;
    let mut server = Server::new().limits(limits(config));
    for mount in &config.mounts {
        if let Some(handler) = handler(&mount.app) {
            server = server.mount_handler(&mount.prefix, handler);
        }
    }
    let log = AccessLog::open(config);
    let log = log.map_err(SupervisorError::io("cannot open the access log"))?;
    let log = log.map(Arc::new);
    if let Some(log) = &log {
        server = server.observe(Arc::clone(log));
    }
    tokio::spawn(reopen_logs(reopen, log.clone()));
    if config.threads > 1 {
        server = server.lanes(config.threads);
    }
    if config.workers > 1 {
        tracing::warn!(
            "--workers makes no difference without a Python application: one process serves with all cores"
        );
    }
    server = listeners.into_iter().fold(server, Server::listen);
    tracing::info!("ready");
    let served = tokio::select! {
        served = server.serve_until(async {
            signals.graceful.recv().await;
        }) => Some(served),
        () = signals.quick.recv() => None,
    };
    if let Some(log) = log {
        log.flush(AccessLog::AT_THE_END);
    }
    match served {
        None => Ok(Ending::CutOff),
        Some(Ok(())) => Ok(Ending::Finished),
        Some(Err(ServeError::CutOff)) => {
            tracing::warn!("{}", ServeError::CutOff);
            Ok(Ending::CutOff)
        }
        Some(Err(other)) => Err(SupervisorError::Io {
            what: "cannot serve",
            source: std::io::Error::other(other),
        }),
    }
}

/// USR1 would end the process if nobody listened.
async fn reopen_logs(mut asked: Signal, log: Option<Arc<AccessLog>>) {
    while asked.recv().await.is_some() {
        if let Some(log) = &log {
            log.reopen();
        }
    }
}
