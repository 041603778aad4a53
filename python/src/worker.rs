//! A worker process, from its fork to its end.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use pyo3::{
    exceptions::{PyOSError, PyRuntimeError, PyValueError},
    prelude::*,
};
use spile::{
    app::{BlockingApplication, Handler, Router},
    server::{Interrupt, Lane, Listener},
    supervisor::{Ending, Setup, WorkerRuntime, native_handler},
};

use crate::{
    descriptor::copy_of,
    gil::Gil,
    interrupt::{Interrupter, Shared},
    wsgi::Wsgi,
};

/// A worker: made after the fork, then run by as many threads as it has lanes.
#[pyclass(frozen, module = "spile._spile")]
pub(crate) struct Worker {
    /// Those that no thread runs yet.
    lanes: Mutex<Vec<Lane>>,
    /// If requests are timed.
    interrupter: Option<Arc<Interrupter>>,
    runtime: Mutex<Option<JoinHandle<Ending>>>,
}

#[pymethods]
impl Worker {
    /// `setup` is what the mold got from the master, `slot` the worker's on the scoreboard, `channel` the mold's
    /// socket, and `applications` the WSGI callables by mount, in the order of the configuration's mounts (None
    /// for those that are not Python).
    #[new]
    fn new(
        py: Python<'_>,
        setup: &str,
        slot: usize,
        channel: &Bound<'_, PyAny>,
        applications: Vec<Option<Py<PyAny>>>,
    ) -> PyResult<Self> {
        let setup: Setup = serde_json::from_str(setup)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let mut router = Router::new();
        for (mount, application) in setup.config.mounts.iter().zip(applications) {
            let handler = match application {
                Some(callable) => {
                    let wsgi = Wsgi::new(py, callable, &setup.config)?;
                    Handler::Blocking(Arc::new(wsgi) as Arc<dyn BlockingApplication>)
                }
                None => native_handler(&mount.app).ok_or_else(|| {
                    PyValueError::new_err(format!("{}: no application was given", mount.app))
                })?,
            };
            router
                .mount(&mount.prefix, handler)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        let listeners = setup.listeners().map_err(os_error)?;
        let channel = copy_of(channel)?;
        let limit = setup.config.request_timeout;
        let interrupter = if limit.is_zero() {
            None
        } else {
            Some(Arc::new(Interrupter::new(py, limit)?))
        };
        let interrupt = interrupter.clone();
        let (lanes, runtime) = py
            .detach(|| start(setup, slot, channel, router, listeners, interrupt))
            .map_err(os_error)?;
        Ok(Self {
            lanes: Mutex::new(lanes),
            interrupter,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Accepts and answers requests on the calling thread, one of those that `setup` counts, until the worker
    /// is to stop.
    fn run_lane(&self, py: Python<'_>) -> PyResult<()> {
        let lane = lock(&self.lanes).pop();
        let lane = lane.ok_or_else(|| PyRuntimeError::new_err("every lane has its thread"))?;
        if let Some(interrupter) = &self.interrupter {
            interrupter.register(py, lane.number())?;
        }
        let pause: Arc<dyn spile::server::Pause> = Arc::new(Gil);
        lane.run(&pause);
        Ok(())
    }

    /// Run in a child that the application forks: should it come back from the application, it ends there.
    #[staticmethod]
    fn leave_to_the_application() {
        crate::wsgi::forked();
    }

    /// Waits until responses to slow clients are through, and returns the process's exit status.
    fn finish(&self, py: Python<'_>) -> PyResult<u8> {
        let runtime = lock(&self.runtime).take();
        let runtime = runtime.ok_or_else(|| PyRuntimeError::new_err("a worker finishes once"))?;
        match py.detach(|| runtime.join()) {
            Ok(Ending::Finished) => Ok(0),
            Ok(Ending::CutOff) => Ok(1),
            Err(_) => Err(PyRuntimeError::new_err("the runtime's thread panicked")),
        }
    }
}

/// Starts the thread that waits for slow clients, for signals and for the master's end.
fn start(
    setup: Setup,
    slot: usize,
    channel: OwnedFd,
    router: Router,
    listeners: Vec<Listener>,
    interrupter: Option<Arc<Interrupter>>,
) -> io::Result<(Vec<Lane>, JoinHandle<Ending>)> {
    let (sender, started) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("spile-runtime".into())
        .spawn(move || {
            let _ends = EndsTheWorker;
            let interrupt = interrupter.map(|it| Arc::new(Shared(it)) as Arc<dyn Interrupt>);
            match WorkerRuntime::start(&setup, slot, channel, router, listeners, interrupt) {
                Ok(mut runtime) => {
                    // The receiver waits below.
                    let _ = sender.send(Ok(runtime.take_lanes()));
                    runtime.run()
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                    Ending::CutOff
                }
            }
        })?;
    let lanes = started
        .recv()
        .map_err(|_| io::Error::other("the runtime's thread did not start"))??;
    Ok((lanes, thread))
}

/// Dropped by a panic, it ends the process: nobody else hears of a stop, or of a request whose time is up.
struct EndsTheWorker;

impl Drop for EndsTheWorker {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(
                cure = "look for what closes descriptors that it has not opened: os.closerange(), os.close(), \
                        os.dup2(). Otherwise this is a fault of spile's: report it",
                "the thread that waits for clients and signals panicked: this worker ends"
            );
            std::process::abort();
        }
    }
}

/// With its number, as Python's own errors have it.
fn os_error(error: io::Error) -> PyErr {
    let text = error.to_string();
    match error.raw_os_error() {
        // Python puts the number before the text.
        Some(number) => {
            let text = text.split(" (os error").next().unwrap_or_default();
            PyOSError::new_err((number, text.to_owned()))
        }
        None => PyOSError::new_err(text),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
