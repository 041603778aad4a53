//! `wsgi.errors` for a log of JSON lines: what an application writes becomes lines of the log.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyo3::{prelude::*, types::PyString};

/// Bytes of a line that has not ended, from which on they are logged as they are.
const LONGEST: usize = 64 * 1024;

/// A text stream that logs each line. A line without an end waits for it, for `flush` or for [`LONGEST`].
#[pyclass(frozen, module = "spile._spile")]
#[derive(Default)]
pub(super) struct ErrorLog {
    line: Mutex<String>,
}

#[pymethods]
impl ErrorLog {
    fn write(&self, text: &Bound<'_, PyString>) {
        // What is no text is shown, as standard error does; a log line must not fail a request.
        self.add(&text.to_string_lossy());
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(line?.cast()?);
        }
        Ok(())
    }

    fn flush(&self) {
        let line = mem::take(&mut *self.lock());
        if !line.is_empty() {
            log(&line);
        }
    }
}

impl ErrorLog {
    fn add(&self, text: &str) {
        let mut line = self.lock();
        let mut rest = text;
        while let Some((end, next)) = rest.split_once('\n') {
            line.push_str(end);
            log(&mem::take(&mut *line));
            rest = next;
        }
        line.push_str(rest);
        if line.len() >= LONGEST {
            log(&mem::take(&mut *line));
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(line: &str) {
    tracing::error!(source = "wsgi.errors", "{}", line.trim_end());
}
