//! The dict an application is called with.

use std::{
    collections::HashMap,
    io::{Seek, SeekFrom},
    os::fd::IntoRawFd,
    sync::{Mutex, PoisonError},
};

use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};
use spile::app::{Body, Content, Environ, Request};

use super::{FileWrapper, text::from_latin1};

/// How many names are kept as Python strings. nginx sends the same few dozen every time; clients make up the rest.
const KEPT_NAMES: usize = 1024;

/// The longest name that is kept, in bytes.
const KEPT_LENGTH: usize = 64;

/// Makes the environ of each request from what is the same in all.
pub(super) struct EnvironBuilder {
    template: Py<PyDict>,
    bytes_io: Py<PyAny>,
    open: Py<PyAny>,
    names: Mutex<HashMap<Box<[u8]>, Py<PyString>>>,
}

impl EnvironBuilder {
    pub(super) fn new(
        py: Python<'_>,
        errors: &Bound<'_, PyAny>,
        multithread: bool,
        multiprocess: bool,
    ) -> PyResult<Self> {
        let template = PyDict::new(py);
        // What every application may rely on, where the front server left it out.
        for (name, default) in [
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", ""),
            ("QUERY_STRING", ""),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("wsgi.url_scheme", "http"),
        ] {
            template.set_item(PyString::intern(py, name), default)?;
        }
        template.set_item("wsgi.version", (1, 0))?;
        template.set_item("wsgi.errors", errors)?;
        template.set_item("wsgi.multithread", multithread)?;
        template.set_item("wsgi.multiprocess", multiprocess)?;
        template.set_item("wsgi.run_once", false)?;
        template.set_item("wsgi.input_terminated", true)?;
        template.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        let io = py.import("io")?;
        Ok(Self {
            template: template.unbind(),
            bytes_io: io.getattr("BytesIO")?.unbind(),
            open: io.getattr("open")?.unbind(),
            names: Mutex::default(),
        })
    }

    /// The environ of one request, and of no other.
    pub(super) fn build<'py>(
        &self,
        py: Python<'py>,
        request: Request,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (variables, body) = request.into_parts();
        let environ = self.template.bind(py).copy()?;
        {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, value) in &variables {
                // The server's own, whatever the socket says.
                if name.starts_with(b"wsgi.") {
                    continue;
                }
                environ.set_item(kept_name(py, &mut names, name), from_latin1(py, value))?;
            }
        }
        complete(py, &variables, &environ)?;
        environ.set_item(intern!(py, "wsgi.input"), self.input(py, body)?)?;
        Ok(environ)
    }

    /// The whole body as a file object of Python's own, which has all of read, readline, readlines and iteration
    /// and ends where the body does.
    fn input<'py>(&self, py: Python<'py>, body: Body) -> PyResult<Bound<'py, PyAny>> {
        match body.into_content() {
            Content::Bytes(bytes) => self.bytes_io.bind(py).call1((PyBytes::new(py, &bytes),)),
            Content::File(range) => {
                let mut file = range.file.try_clone()?;
                file.seek(SeekFrom::Start(range.offset))?;
                self.open.bind(py).call1((file.into_raw_fd(), "rb"))
            }
            Content::Empty | Content::Stream { .. } => self.bytes_io.bind(py).call0(),
        }
    }
}

/// What depends on other variables.
fn complete(py: Python<'_>, variables: &Environ, environ: &Bound<'_, PyDict>) -> PyResult<()> {
    let is_https = variables
        .text("HTTPS")
        .is_some_and(|https| matches!(https, "on" | "ON" | "1"))
        || variables.text("REQUEST_SCHEME") == Some("https");
    if is_https {
        environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
    }
    if variables.text("SERVER_NAME").is_none() {
        let host = variables.text("HTTP_HOST").unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        // Never empty, and of the code points 0 to 255 (PEP 3333).
        let name = if name.is_empty() { "localhost" } else { name };
        environ.set_item(intern!(py, "SERVER_NAME"), from_latin1(py, name.as_bytes()))?;
    }
    if variables
        .get("REQUEST_METHOD")
        .is_some_and(<[u8]>::is_empty)
    {
        environ.set_item(intern!(py, "REQUEST_METHOD"), intern!(py, "GET"))?;
    }
    if variables.text("SERVER_PORT").is_none() {
        environ.set_item(
            intern!(py, "SERVER_PORT"),
            if is_https { "443" } else { "80" },
        )?;
    }
    Ok(())
}

fn kept_name<'py>(
    py: Python<'py>,
    names: &mut HashMap<Box<[u8]>, Py<PyString>>,
    name: &[u8],
) -> Bound<'py, PyString> {
    if let Some(kept) = names.get(name) {
        return kept.bind(py).clone();
    }
    let made = from_latin1(py, name);
    if names.len() < KEPT_NAMES && name.len() <= KEPT_LENGTH {
        names.insert(name.into(), made.clone().unbind());
    }
    made
}
