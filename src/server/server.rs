//! The way in for a Rust program.

use std::{fmt, io, sync::Arc, thread};

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use super::{BindError, Binding, Limits, Listener, Observer, Parts, Pause, Plain, Queued, Running};
use crate::app::{Application, BlockingApplication, Handler, MountError, Router};

/// Applications and sockets, put together.
///
/// ```no_run
/// use spile::{Request, Response, Server};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// Server::new()
///     .bind("unix:/run/hello.sock")?
///     .mount("/", |_: Request| async { Response::text("hello\n") })
///     .serve()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Server {
    listeners: Vec<Listener>,
    router: Router,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
    lanes: Option<usize>,
    wrong: Option<MountError>,
}

impl Server {
    /// A server without sockets and applications.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on one more address: `unix:/run/app.sock`, a path, `HOST:PORT` or `[::1]:PORT`.
    ///
    /// A unix socket gets the permissions that the umask leaves, and nginx's user has to be able to write to it. Where
    /// that is another than this program's, see [`Server::listen`].
    ///
    /// # Errors
    /// It is no address, it is in use, or the system refused.
    pub fn bind(self, address: &str) -> Result<Self, BindError> {
        let listener = Listener::bind(&Binding::new(address.parse()?))?;
        Ok(self.listen(listener))
    }

    /// Listens on one more socket, such as one with other permissions than the umask leaves:
    ///
    /// ```
    /// use spile::{Server, server::{Binding, Listener}};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("hello.sock").display().to_string();
    /// let mut binding = Binding::new(path.parse()?);
    /// binding.mode = Some(0o660);
    /// let server = Server::new().listen(Listener::bind(&binding)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn listen(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Mounts an application at a path prefix; the longest prefix wins. A prefix that cannot be is an error of
    /// [`Server::serve`]; [`Server::try_mount`] tells it at once.
    #[must_use]
    pub fn mount(self, prefix: &str, application: impl Application) -> Self {
        self.mount_handler(prefix, Handler::Async(Arc::new(application)))
    }

    /// Mounts an application at a path prefix, as [`Server::mount`] does.
    ///
    /// # Errors
    /// The prefix does not start with a slash, or something is mounted there already.
    pub fn try_mount(
        self,
        prefix: &str,
        application: impl Application,
    ) -> Result<Self, MountError> {
        self.try_mount_handler(prefix, Handler::Async(Arc::new(application)))
    }

    /// Mounts an application that blocks the thread that calls it.
    #[must_use]
    pub fn mount_blocking(self, prefix: &str, application: impl BlockingApplication) -> Self {
        self.mount_handler(prefix, Handler::Blocking(Arc::new(application)))
    }

    /// Replaces the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells somebody of each answered request.
    #[must_use]
    pub fn observe(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// How many threads accept and run what does not wait; as many as there are processors unless said.
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = Some(lanes);
        self
    }

    /// Where the server listens.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Installs handlers for SIGTERM and SIGINT, serves until one of these signals arrives, and then stops gracefully.
    ///
    /// The handlers stay for the life of the process, as tokio's do: from then on neither signal ends it by itself.
    /// [`Server::serve_until`] installs none.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn serve(self) -> Result<(), ServeError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.serve_until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    }

    /// Serves until `stop` is ready; then accepts no more, and lets requests finish within
    /// [`Limits::graceful_timeout`].
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn serve_until(mut self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong.into());
        }
        // Held here, not by the lanes: the files go as soon as this future ends or is dropped.
        let files: Vec<_> = self.listeners.iter_mut().map(Listener::take_file).collect();
        if self.listeners.is_empty() {
            return Err(ServeError::NoSocket);
        }
        let lanes = self
            .lanes
            .map_or_else(thread::available_parallelism, |lanes| {
                lanes.max(1).try_into().map_err(io::Error::other)
            });
        let runtime = tokio::runtime::Handle::current();
        let mut parts = Parts::new(self.listeners, self.router, runtime);
        parts.limits = self.limits;
        parts.observer = self.observer;
        let running = Running::start(parts)?;
        let _stopped = StoppedWhenDropped(running.clone());
        let mut threads = Vec::new();
        for number in 0..lanes.map_or(1, usize::from) {
            let lane = running.lane();
            let thread = thread::Builder::new().name(format!("spile-lane-{number}"));
            threads.push(thread.spawn(move || {
                let plain: Arc<dyn Pause> = Arc::new(Plain);
                lane.run(&plain);
            })?);
        }
        let stopped = async {
            stop.await;
            // From here on nobody finds the sockets, so what is in their queues is all that is to be served.
            drop(files);
            running.stop(Queued::Served).await
        };
        let finished = tokio::select! {
            finished = stopped => finished,
            never = running.watch(None, |_| {}) => match never {},
        };
        if running.has_lost_lanes() {
            // Every request was answered; the threads are not waited for, because one of them may never return.
            return if finished {
                Ok(())
            } else {
                Err(ServeError::CutOff)
            };
        }
        if finished {
            for thread in threads {
                // A lane catches what its applications do; should it panic itself, it has said so.
                let _ = thread.join();
            }
            Ok(())
        } else {
            Err(ServeError::CutOff)
        }
    }

    /// Mounts an application of either kind.
    ///
    /// # Errors
    /// As [`Server::try_mount`].
    pub fn try_mount_handler(mut self, prefix: &str, handler: Handler) -> Result<Self, MountError> {
        self.router.mount(prefix, handler)?;
        Ok(self)
    }

    /// Mounts an application of either kind. A prefix that cannot be is an error of [`Server::serve`].
    #[must_use]
    pub fn mount_handler(mut self, prefix: &str, handler: Handler) -> Self {
        if let Err(error) = self.router.mount(prefix, handler) {
            self.wrong.get_or_insert(error);
        }
        self
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server")
            .field("listeners", &self.listeners)
            .field("router", &self.router)
            .field("limits", &self.limits)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

/// Has the lanes return when the future that serves is dropped before its end.
struct StoppedWhenDropped(Running);

impl Drop for StoppedWhenDropped {
    fn drop(&mut self) {
        self.0.stop_at_once();
    }
}

/// Why a server does not run, or did not end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Nothing was bound.
    #[error("there is no socket to listen on: call bind() first")]
    NoSocket,
    /// A mount that cannot be.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Requests still ran when the graceful time-out was over.
    #[error("requests were still running when the graceful time-out was over; they were cut off")]
    CutOff,
}
