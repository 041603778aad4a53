//! `start_response`, `write`, and the response behind them.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::{
    exceptions::{PyAssertionError, PyBrokenPipeError, PyRuntimeError, PyTypeError, PyValueError},
    intern,
    prelude::*,
    sync::MutexExt,
    types::{PyBytes, PyList, PyTuple},
};
use spile::{
    app::{Answer, AnswerError, FileRange},
    protocol::ResponseHead,
};

use super::text::to_latin1;

/// One request's response as it comes into being. Called, it is the `write` that `start_response` returns.
#[pyclass(frozen, name = "write", module = "spile._spile")]
pub(super) struct Exchange(Mutex<State>);

#[pymethods]
impl Exchange {
    /// `start_response(status, headers, exc_info=None)` returns `write`.
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn start_response<'py>(
        slf: Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        slf.get().start(status, headers, exc_info)?;
        Ok(slf)
    }

    /// Sends a block ahead of those the application returns.
    fn __call__(&self, block: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(block) = block.cast::<PyBytes>() else {
            return Err(PyTypeError::new_err("write() takes bytes"));
        };
        if self.lock()?.send(block.as_bytes())? {
            Ok(())
        } else {
            Err(PyBrokenPipeError::new_err("the client went away"))
        }
    }
}

struct State {
    /// What `start_response` gave last; taken when it is sent.
    head: Option<ResponseHead>,
    /// Taken when the request is over: a `write` that was kept finds nothing.
    answer: Option<Box<dyn Answer>>,
}

impl Exchange {
    pub(super) fn new(answer: Box<dyn Answer>) -> Self {
        Self(Mutex::new(State {
            head: None,
            answer: Some(answer),
        }))
    }

    /// Ends the use of the response and hands it back, once no other thread sends.
    pub(super) fn take(&self, py: Python<'_>) -> Option<Box<dyn Answer>> {
        let state = self.0.lock_py_attached(py);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.answer.take()
    }

    /// Whether what is sent can still reach the client, as far as is known while another thread sends.
    pub(super) fn is_open(&self) -> bool {
        match self.0.try_lock() {
            Ok(state) => state.answer.as_ref().is_some_and(|answer| answer.is_open()),
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Poisoned(_)) => false,
        }
    }

    /// Sends the one block that the application returned: its length is the body's.
    pub(super) fn send_only(&self, block: &[u8]) -> PyResult<()> {
        let mut state = self.lock()?;
        if let Some(head) = &mut state.head {
            if head.allows_body() {
                head.set_content_length(u64::try_from(block.len()).unwrap_or(u64::MAX));
            }
        }
        state.send(block).map(drop)
    }

    /// Sends a block; `false` when the next would not reach the client.
    pub(super) fn send(&self, block: &[u8]) -> PyResult<bool> {
        let mut state = self.lock()?;
        Ok(state.send(block)? && state.answer()?.takes_more())
    }

    /// Sends a part of a file; its length is the body's unless the application gave another.
    pub(super) fn send_file(&self, mut range: FileRange) -> PyResult<()> {
        let mut state = self.lock()?;
        let Some(mut head) = state.head.take() else {
            // write() has begun the response.
            return reached(state.answer()?.send_file(range)).map(drop);
        };
        if let Some(length) = head.content_length() {
            // PEP 3333: until the end of the file, or until Content-Length bytes have been written.
            range.length = range.length.min(length);
        } else if head.allows_body() {
            head.set_content_length(range.length);
        }
        let answer = state.answer()?;
        if reached(answer.begin(head, b""))? {
            reached(answer.send_file(range))?;
        }
        Ok(())
    }

    /// The iterable has ended: sends the head of a response without a body.
    pub(super) fn end(&self) -> PyResult<()> {
        if matches!(self.0.try_lock(), Err(TryLockError::WouldBlock)) {
            // What another thread sends has its head.
            return Ok(());
        }
        let mut state = self.lock()?;
        let has_begun = state.answer()?.has_begun();
        match state.head.take() {
            Some(head) => reached(state.answer()?.begin(head, b"")).map(drop),
            None if has_begun => Ok(()),
            None => Err(PyAssertionError::new_err(
                "the application did not call start_response()",
            )),
        }
    }

    fn start(
        &self,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let exc_info = exc_info.filter(|info| !info.is_none());
        let mut state = self.lock()?;
        if state.answer()?.has_begun() {
            return Err(match exc_info {
                Some(info) => raised(info)?,
                None => {
                    PyAssertionError::new_err("start_response() was called again, without exc_info")
                }
            });
        }
        if state.head.is_some() && exc_info.is_none() {
            return Err(PyAssertionError::new_err(
                "start_response() was called again, without exc_info",
            ));
        }
        drop(state);
        // Outside the lock: iterating over the headers may run the application's code.
        let head = head(status, headers)?;
        self.lock()?.head = Some(head);
        Ok(())
    }

    /// Never waits: while one thread sends it may hand the interpreter to another that would wait here forever.
    fn lock(&self) -> PyResult<MutexGuard<'_, State>> {
        self.0
            .try_lock()
            .map_err(|_| PyRuntimeError::new_err("two threads use one response at the same time"))
    }
}

impl State {
    fn send(&mut self, block: &[u8]) -> PyResult<bool> {
        if block.is_empty() {
            return reached(self.answer()?.look());
        }
        let has_begun = self.answer()?.has_begun();
        let sent = match self.head.take() {
            Some(head) => self.answer()?.begin(head, block),
            None if has_begun => self.answer()?.send(block),
            None => {
                return Err(PyAssertionError::new_err(
                    "a block was sent before start_response() was called",
                ));
            }
        };
        reached(sent)
    }

    fn answer(&mut self) -> PyResult<&mut (dyn Answer + 'static)> {
        self.answer
            .as_deref_mut()
            .ok_or_else(|| PyRuntimeError::new_err("the request is over"))
    }
}

/// `false` when the client can take no more, which is no error of the application.
fn reached(sent: Result<(), AnswerError>) -> PyResult<bool> {
    match sent {
        Ok(()) => Ok(true),
        Err(AnswerError::OutOfOrder) => {
            Err(PyRuntimeError::new_err(AnswerError::OutOfOrder.to_string()))
        }
        Err(_) => Ok(false),
    }
}

/// Refuses what `start_response` refuses in a request.
#[pyfunction]
pub(crate) fn check_head(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
    head(status, headers).map(drop)
}

/// The head, checked part by part.
fn head(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<ResponseHead> {
    let mut head =
        ResponseHead::from_status_line(&to_latin1(status, "the status")?).map_err(value_error)?;
    match headers.cast_exact::<PyList>() {
        Ok(headers) => headers
            .iter()
            .try_for_each(|header| push(&mut head, &header))?,
        Err(_) => headers
            .try_iter()?
            .try_for_each(|header| push(&mut head, &header?))?,
    }
    Ok(head)
}

fn push(head: &mut ResponseHead, header: &Bound<'_, PyAny>) -> PyResult<()> {
    let pair = header.cast::<PyTuple>().map(|pair| pair.as_slice());
    let Ok([name, value]) = pair else {
        return Err(PyTypeError::new_err(
            "a header is a tuple of name and value",
        ));
    };
    let name = to_latin1(name, "a header's name")?;
    let value = to_latin1(value, "a header's value")?;
    head.push(&name, &value).map_err(value_error)
}

/// The exception of an `exc_info` tuple, with its own traceback.
fn raised(info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let exception = info.get_item(1)?;
    let traceback = info.get_item(2)?;
    let exception = exception.call_method1(intern!(info.py(), "with_traceback"), (traceback,))?;
    Ok(PyErr::from_value(exception))
}

/// Makes an exception for an application that passed something wrong.
fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
