//! `wsgi.errors` for a log of JSON lines: what an application writes becomes lines of the log.

use std::sync::{Mutex, PoisonError};

use pyo3::{prelude::*, types::PyString};

/// A text stream that logs each line. A line without an end waits for it, or for `flush`.
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
        let line = std::mem::take(&mut *self.line.lock().unwrap_or_else(PoisonError::into_inner));
        if !line.is_empty() {
            log(&line);
        }
    }
}

impl ErrorLog {
    fn add(&self, text: &str) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.push_str(text);
        while let Some(end) = line.find('\n') {
            let rest = line.split_off(end + 1);
            log(&line);
            *line = rest;
        }
    }
}

fn log(line: &str) {
    tracing::error!(source = "wsgi.errors", "{}", line.trim_end());
}
