//! `wsgi.input`: PEP 3333, "Input and Error Streams".

use std::sync::{Mutex, PoisonError};

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    import_exception, intern,
    prelude::*,
    sync::MutexExt,
    types::{PyBytes, PyList, PyMemoryView, PySlice},
};
use spile::app::Body;

use super::body_reader::{BodyReader, Piece};

import_exception!(io, UnsupportedOperation);

/// How many bytes `read1()` and `peek()` give that are asked for no number.
const SOME: u64 = 64 * 1024;

/// The body of a request, as a binary file that is only read.
///
/// It has what `io.BufferedReader` has, and counts as an `io.BufferedIOBase`. Until it is closed or forgotten it keeps
/// the whole body, so that all of it can be read again after a `seek(0)`.
#[pyclass(frozen, weakref, name = "Input", module = "spile._spile")]
pub(crate) struct Input {
    /// `None` once it was closed. No Python code runs while this is locked.
    reader: Mutex<Option<BodyReader>>,
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, most(size))?.into_bytes(py)
    }

    #[pyo3(signature = (size=-1, /))]
    fn read1<'py>(&self, py: Python<'py>, size: isize) -> PyResult<Bound<'py, PyBytes>> {
        let size = u64::try_from(size).unwrap_or(SOME);
        self.take(py, size)?.into_bytes(py)
    }

    /// Returns bytes that the next read will return, too.
    #[pyo3(signature = (size=0, /))]
    fn peek<'py>(&self, py: Python<'py>, size: isize) -> PyResult<Bound<'py, PyBytes>> {
        let size = u64::try_from(size).ok().filter(|size| *size > 0);
        let size = size.unwrap_or(SOME).min(SOME);
        let piece = self.with(py, |reader| reader.peek(py, size))??;
        piece.into_bytes(py)
    }

    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = buffer.py();
        let view = PyMemoryView::from(buffer)?.call_method1(intern!(py, "cast"), ("B",))?;
        if view.getattr(intern!(py, "readonly"))?.is_truthy()? {
            return Err(PyTypeError::new_err(
                "readinto() takes an object whose bytes can be written, such as a bytearray",
            ));
        }
        let size = u64::try_from(view.len()?).unwrap_or(u64::MAX);
        let bytes = self.take(py, size)?.into_bytes(py)?;
        let count = bytes.len()?;
        let end = isize::try_from(count)?;
        view.set_item(PySlice::new(py, 0, end, 1), bytes)?;
        Ok(count)
    }

    #[pyo3(signature = (buffer, /))]
    fn readinto1(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.readinto(buffer)
    }

    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.take_line(py, most(size))?.into_bytes(py)
    }

    /// Returns the lines that are left, or so many that they have at least `hint` bytes.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let enough = hint.and_then(|hint| u64::try_from(hint).ok());
        let enough = enough.filter(|hint| *hint > 0).unwrap_or(u64::MAX);
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < enough {
            let line = self.take_line(py, u64::MAX)?;
            if line.length() == 0 {
                break;
            }
            total += line.length();
            lines.append(line.into_bytes(py)?)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().with(slf.py(), |_| ())?;
        Ok(slf)
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.take_line(py, u64::MAX)?;
        (line.length() > 0).then(|| line.into_bytes(py)).transpose()
    }

    #[pyo3(signature = (offset, whence=0, /))]
    fn seek(&self, py: Python<'_>, offset: i64, whence: i32) -> PyResult<u64> {
        self.with(py, |reader| {
            let from = match whence {
                0 if offset < 0 => {
                    return Err(PyValueError::new_err(format!(
                        "negative seek value {offset}"
                    )));
                }
                0 => 0,
                1 => reader.position(),
                2 => reader.length(),
                _ => {
                    return Err(PyValueError::new_err(format!(
                        "invalid whence ({whence}, should be 0, 1 or 2)"
                    )));
                }
            };
            let position = if offset < 0 {
                from.saturating_sub(offset.unsigned_abs())
            } else {
                from.saturating_add(offset.unsigned_abs())
            };
            reader.seek(position);
            Ok(position)
        })?
    }

    fn tell(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |reader| reader.position())
    }

    fn readable(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |_| true)
    }

    fn seekable(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |_| true)
    }

    fn writable(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |_| false)
    }

    fn isatty(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |_| false)
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |_| ())
    }

    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.with(py, |_| ()).is_err()
    }

    /// Gives back the memory or the file of the body.
    fn close(&self, py: Python<'_>) {
        let mut reader = self
            .reader
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        *reader = None;
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        Self::__iter__(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.close(py);
    }

    /// Fails: a body in memory has no descriptor, and one in a file has it only for reads at a position.
    #[allow(clippy::unused_self, reason = "a method of Python's")]
    fn fileno(&self) -> PyResult<i32> {
        Err(UnsupportedOperation::new_err("fileno"))
    }

    #[allow(clippy::unused_self, reason = "a method of Python's")]
    fn detach(&self) -> PyResult<()> {
        Err(UnsupportedOperation::new_err("detach"))
    }

    #[allow(clippy::unused_self, reason = "a method of Python's")]
    #[pyo3(signature = (_data, /))]
    fn write(&self, _data: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(UnsupportedOperation::new_err("write"))
    }

    #[allow(clippy::unused_self, reason = "a method of Python's")]
    #[pyo3(signature = (_lines, /))]
    fn writelines(&self, _lines: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(UnsupportedOperation::new_err("writelines"))
    }

    #[allow(clippy::unused_self, reason = "a method of Python's")]
    #[pyo3(signature = (_size=None, /))]
    fn truncate(&self, _size: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        Err(UnsupportedOperation::new_err("truncate"))
    }
}

impl Input {
    pub(super) fn new(body: Body) -> Self {
        Self {
            reader: Mutex::new(Some(BodyReader::new(body))),
        }
    }

    /// Makes `isinstance(input, io.BufferedIOBase)` true.
    pub(super) fn register(py: Python<'_>) -> PyResult<()> {
        py.import("io")?
            .getattr("BufferedIOBase")?
            .call_method1("register", (py.get_type::<Self>(),))
            .map(drop)
    }

    fn take(&self, py: Python<'_>, most: u64) -> PyResult<Piece> {
        Ok(self.with(py, |reader| reader.take(py, most))??)
    }

    fn take_line(&self, py: Python<'_>, most: u64) -> PyResult<Piece> {
        Ok(self.with(py, |reader| reader.take_line(py, most))??)
    }

    /// Lends the reader, unless the input was closed.
    fn with<R>(&self, py: Python<'_>, use_it: impl FnOnce(&mut BodyReader) -> R) -> PyResult<R> {
        let mut reader = self
            .reader
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *reader {
            Some(reader) => Ok(use_it(reader)),
            None => Err(PyValueError::new_err("I/O operation on closed file.")),
        }
    }
}

/// What a size says that is negative or missing: all there is.
fn most(size: Option<isize>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok())
        .unwrap_or(u64::MAX)
}
