//! Raising `spile.RequestTimeout` in a lane whose request takes too long.
//!
//! The main thread gets a signal whose handler raises: that also ends what blocks in the interpreter's own calls
//! (`time.sleep`, a socket, a lock), since they are interrupted and look for signals. In other threads they do not
//! look, so there an asynchronous exception is set, which waits until the thread runs Python code again.
//!
//! The interpreter's lock keeps the two sides apart. A lane ends its answer, and then forgets an exception that is
//! still due, in one stretch with the lock; the other side looks whether the answer is still the application's, and
//! raises, in one stretch with the lock. So no exception comes after its request.

use std::{
    cell::RefCell,
    ffi::c_long,
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, ffi, intern, prelude::*, sync::PyOnceLock, types::PyList};
use spile::server::{Interrupt, Late};

/// Nobody else uses it, and where no handler is installed it does nothing.
const SIGNAL: &str = "SIGURG";

/// `spile.RequestTimeout`.
static EXCEPTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

thread_local! {
    /// The lane that this thread is, if its requests are timed.
    static LANE: RefCell<Option<Arc<LaneThread>>> = const { RefCell::new(None) };
}

/// The threads that can be interrupted.
pub(crate) struct Interrupter {
    lanes: Mutex<Vec<Arc<LaneThread>>>,
    /// The handler of [`SIGNAL`], unless the application has replaced it.
    handler: Py<PyAny>,
}

struct LaneThread {
    number: usize,
    /// `threading.get_ident()`, as it is without green threads.
    ident: c_long,
    is_main: bool,
    /// How many frames lie below the application's.
    depth: usize,
    /// An exception is due in this thread.
    due: AtomicBool,
}

impl Interrupter {
    /// Made on the main thread, the only one that may install handlers.
    pub(crate) fn new(py: Python<'_>, limit: Duration) -> PyResult<Self> {
        let exception = EXCEPTION.get_or_try_init(py, || {
            py.import("spile")?
                .getattr("RequestTimeout")
                .map(Bound::unbind)
        })?;
        exception
            .bind(py)
            .setattr(intern!(py, "_seconds"), limit.as_secs_f64())?;
        let handler = wrap_pyfunction!(raise_what_is_due, py)?;
        let signal = py.import("signal")?;
        signal.call_method1("signal", (signal.getattr(SIGNAL)?, &handler))?;
        Ok(Self {
            lanes: Mutex::default(),
            handler: handler.into_any().unbind(),
        })
    }

    /// Makes the calling thread known as a lane.
    pub(crate) fn register(&self, py: Python<'_>, number: usize) -> PyResult<()> {
        // Not the module `threading`: its idents may be those of green threads.
        let threads = py.import("spile._threads")?;
        let ident = threads.call_method0("get_ident")?.extract()?;
        let main = threads.getattr("MAIN")?;
        let frame = py.import("sys")?.call_method0("_getframe")?;
        let lane = Arc::new(LaneThread {
            number,
            ident,
            is_main: main.extract::<c_long>()? == ident,
            depth: stack(&frame)?.len(),
            due: AtomicBool::new(false),
        });
        LANE.set(Some(lane.clone()));
        self.lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(lane);
        Ok(())
    }
}

/// An [`Interrupter`] as the server has it.
pub(crate) struct Shared(pub(crate) Arc<Interrupter>);

impl Interrupt for Shared {
    fn interrupt(&self, late: Late) {
        let interrupter = self.0.clone();
        // What is stuck may hold the interpreter's lock for ever: this thread, and no other, waits for it.
        let started = thread::Builder::new()
            .name("spile-interrupt".into())
            .spawn(move || Python::attach(|py| interrupter.act(py, &late)));
        if let Err(error) = started {
            tracing::error!(%error, "no thread can be started to interrupt a request");
        }
    }
}

impl Interrupter {
    fn act(&self, py: Python<'_>, late: &Late) {
        let lane = self
            .lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find(|lane| lane.number == late.lane())
            .cloned();
        let Some(lane) = lane else {
            return;
        };
        let place = lane.place(py).unwrap_or_else(|error| error.to_string());
        if !late.is_running() {
            return;
        }
        // Said first: what is raised now is logged by the lane.
        py.detach(|| {
            tracing::error!("{} hangs at\n{}", late.request(), place.trim_end());
        });
        if let Err(error) = self.raise_in(py, &lane, late) {
            tracing::error!(%error, "a request cannot be interrupted");
        }
    }

    /// Has the exception raised in a lane, unless it has ended the request.
    fn raise_in(&self, py: Python<'_>, lane: &LaneThread, late: &Late) -> PyResult<()> {
        let signal = py.import("signal")?;
        let number = signal.getattr(SIGNAL)?;
        let handler = signal.call_method1("getsignal", (&number,))?;
        let by_signal = lane.is_main && handler.is(&self.handler);
        // From here on no Python code runs, so the lock is not let go of.
        if !late.is_running() {
            return Ok(());
        }
        lane.due.store(true, Ordering::Release);
        if by_signal {
            signal.call_method1("pthread_kill", (lane.ident, number))?;
        } else if let Some(exception) = EXCEPTION.get(py) {
            set_async(py, lane.ident, Some(exception.bind(py)));
        }
        Ok(())
    }
}

impl LaneThread {
    /// The application's stack, as a traceback has it.
    fn place(&self, py: Python<'_>) -> PyResult<String> {
        let frames = py.import("sys")?.call_method0("_current_frames")?;
        let frame = frames.get_item(self.ident)?;
        let stack = stack(&frame)?;
        // A greenlet of the application's, gevent's hub for one, has a stack of its own.
        let below = if stack.len() > self.depth {
            self.depth
        } else {
            0
        };
        let own = stack.get_slice(below, stack.len());
        let lines = py
            .import("traceback")?
            .call_method1("format_list", (own,))?;
        lines
            .try_iter()?
            .map(|line| line?.extract::<String>())
            .collect()
    }
}

/// Below which frame, and above: the outermost first.
fn stack<'py>(frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let stack = frame
        .py()
        .import("traceback")?
        .call_method1("extract_stack", (frame,))?;
    Ok(stack.cast_into::<PyList>()?)
}

/// The handler of [`SIGNAL`]. The interpreter calls it on the main thread, some time after the signal.
#[pyfunction]
fn raise_what_is_due(
    py: Python<'_>,
    _signal: &Bound<'_, PyAny>,
    _frame: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let is_due = LANE.with_borrow(|lane| {
        lane.as_ref()
            .is_some_and(|lane| lane.due.swap(false, Ordering::AcqRel))
    });
    if !is_due {
        return Ok(());
    }
    let exception = EXCEPTION
        .get(py)
        .ok_or_else(|| PyRuntimeError::new_err("no request is timed"))?;
    Err(PyErr::from_value(exception.bind(py).call0()?))
}

/// Forgets what was to be raised in this thread: the request is over.
pub(crate) fn forget(py: Python<'_>) {
    LANE.with_borrow(|lane| {
        if let Some(lane) = lane {
            if lane.due.load(Ordering::Acquire) {
                lane.due.store(false, Ordering::Release);
                set_async(py, lane.ident, None);
            }
        }
    });
}

/// Whether an error is what this module raises.
pub(crate) fn is_timeout(py: Python<'_>, error: &PyErr) -> bool {
    EXCEPTION
        .get(py)
        .is_some_and(|exception| error.is_instance(py, exception.bind(py)))
}

/// Sets or clears the exception that a thread raises when it next runs Python code.
#[allow(unsafe_code)]
fn set_async(_attached: Python<'_>, ident: c_long, exception: Option<&Bound<'_, PyAny>>) {
    let exception = exception.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the token shows that this thread is attached to the interpreter. `exception` is null, which clears, or
    // an object that is borrowed for the call, which takes a reference of its own. An `ident` of no thread changes
    // nothing.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident, exception) };
}
