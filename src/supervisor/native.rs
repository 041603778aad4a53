//! Serving without Python: one process, all threads of one runtime.

use std::sync::Arc;

use tokio::runtime::Builder;

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
    let (listeners, _pidfile) = super::prepare(config)?;
    let mut server = Server::new().limits(limits(config));
    for mount in &config.mounts {
        if let Some(handler) = handler(&mount.app) {
            server = server.mount_handler(&mount.prefix, handler);
        }
    }
    let log = AccessLog::open(&config.access_log, config.log_format);
    if let Some(log) = log.map_err(SupervisorError::io("cannot open the access log"))? {
        server = server.observe(log);
    }
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
        }) => served,
        () = signals.quick.recv() => return Ok(Ending::CutOff),
    };
    match served {
        Ok(()) => Ok(Ending::Finished),
        Err(ServeError::CutOff) => {
            tracing::warn!("{}", ServeError::CutOff);
            Ok(Ending::CutOff)
        }
        Err(other) => Err(SupervisorError::Io {
            what: "cannot serve",
            source: std::io::Error::other(other),
        }),
    }
}
