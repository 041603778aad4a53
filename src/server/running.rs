//! A server that runs, and how it stops.

use std::{io, sync::Arc};

use tokio::{runtime::Handle, time::timeout};

use super::{
    Lane, Limits, Listener, Observer,
    connection::{Connection, serve},
    core::Core,
    stream::Stream,
};
use crate::app::Router;

/// A server's runtime half: give its [`Lane`]s to threads, then stop it when the time has come.
#[derive(Clone)]
pub struct Running {
    core: Arc<Core>,
}

impl Running {
    /// Starts on the given runtime. Nothing is accepted before a lane runs.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn start(
        listeners: Vec<Listener>,
        router: Router,
        limits: Limits,
        runtime: Handle,
        observer: Option<Arc<dyn Observer>>,
    ) -> io::Result<Self> {
        let core = Core::new(listeners, router, limits, runtime, observer)?;
        Ok(Self {
            core: Arc::new(core),
        })
    }

    /// One more lane, for one more thread.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn lane(&self) -> io::Result<Lane> {
        Lane::new(self.core.clone())
    }

    /// Accepts nothing more, lets what runs finish, then lets the lanes return. `false` when the graceful
    /// time-out cut something off.
    pub async fn stop(&self) -> bool {
        self.drain();
        let finished = timeout(self.core.limits.graceful_timeout, self.core.emptied())
            .await
            .is_ok();
        self.stop_at_once();
        finished
    }

    /// Closes the sockets, and lets the lanes return after what they do now.
    pub fn stop_at_once(&self) {
        self.core.stop.begin_drain();
        drop(self.core.take_listeners());
        self.core.stop.begin_leave();
    }

    /// Serves what waits in the listen queues, then closes the sockets: who connects later is told so by the kernel.
    fn drain(&self) {
        self.core.stop.begin_drain();
        for listener in self.core.take_listeners() {
            while let Ok(fd) = listener.accept_now() {
                let connection =
                    Connection::new(Stream::new(fd, listener.family()), self.core.enter());
                self.core
                    .leave_to_runtime(Box::pin(serve(self.core.clone(), connection)));
            }
        }
    }
}
