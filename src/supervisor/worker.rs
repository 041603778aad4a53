//! A worker's runtime: what waits for slow clients, for signals, and for the master's end.

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::{
    net::unix::pipe,
    runtime::{Builder, Runtime},
};

use super::{
    Ending,
    channel::{Report, Setup},
    limits,
    signals::Signals,
};
use crate::{
    app::Router,
    observe::{AccessLog, log},
    server::{Listener, Observer, Running, duplicate},
};

/// The thread beside a worker's lanes. It has to be made after the fork: a runtime does not survive one.
pub struct WorkerRuntime {
    runtime: Runtime,
    running: Running,
    signals: Signals,
    lifeline: pipe::Receiver,
    channel: OwnedFd,
    access_log: Option<Arc<AccessLog>>,
}

impl WorkerRuntime {
    /// Makes the runtime and the server in this process. `channel` is the end that reports go to.
    ///
    /// # Errors
    /// The system refused a thread, a descriptor or the access log.
    pub fn start(
        setup: &Setup,
        channel: OwnedFd,
        router: Router,
        listeners: Vec<Listener>,
    ) -> io::Result<Self> {
        log::name_process("worker");
        log::init(setup.config.log_format, setup.config.log_level);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let _context = runtime.enter();
        let access_log = AccessLog::open(&setup.config)?.map(Arc::new);
        let observer = access_log.clone().map(|log| log as Arc<dyn Observer>);
        let handle = runtime.handle().clone();
        let running = Running::start(listeners, router, limits(&setup.config), handle, observer)?;
        let signals = Signals::watch()?;
        let lifeline = pipe::Receiver::from_owned_fd(duplicate(setup.lifeline)?)?;
        drop(_context);
        Ok(Self {
            runtime,
            running,
            signals,
            lifeline,
            channel,
            access_log,
        })
    }

    /// The server, for its lanes.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Runs until the worker is told to stop or the master is gone, and its requests are answered.
    pub fn run(self) -> Ending {
        let Self {
            runtime,
            running,
            mut signals,
            lifeline,
            channel,
            access_log,
        } = self;
        // The lanes hold the log to the end, and the process ends without dropping it.
        let flush = || {
            access_log
                .as_ref()
                .map(|log| log.flush(AccessLog::AT_THE_END))
        };
        runtime.block_on(async {
            report(&channel, &Report::Serving { pid: std::process::id() });
            tokio::select! {
                _ = signals.graceful.recv() => {}
                _ = master_gone(&lifeline) => {
                    tracing::warn!("the master is gone: this worker finishes what it has and leaves");
                }
                () = signals.quick.recv() => {
                    flush();
                    end_at_once();
                }
            }
            let stopped = tokio::select! {
                finished = running.stop() => finished,
                () = signals.quick.recv() => false,
            };
            if !stopped {
                tracing::warn!("requests were still running when the time to finish was over; they are cut off");
                flush();
                // The lanes cannot be asked any more: they are in the middle of an application.
                end_at_once();
            }
            flush();
            Ending::Finished
        })
    }
}

/// Nobody ever writes to the lifeline, so it becomes readable when its other end is closed.
async fn master_gone(lifeline: &pipe::Receiver) {
    // An error is as good as an end: it cannot be watched any more.
    let _ = lifeline.readable().await;
}

fn report(channel: &OwnedFd, report: &Report) {
    if let Ok(text) = serde_json::to_vec(report) {
        // A master that has gone is seen by the lifeline.
        let _ = rustix::net::send(channel, &text, rustix::net::SendFlags::NOSIGNAL);
    }
}

/// Ends the process without running anything more of the application's.
fn end_at_once() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
