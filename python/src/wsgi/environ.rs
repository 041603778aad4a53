//! The dict an application is called with.

use std::sync::Mutex;

use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyDict, PyString},
};
use spile::app::{Body, Environ};

use super::{FileWrapper, input::Input, shapes::Shapes, text::from_latin1};

/// Makes the environ of each request from what is the same in all.
pub(super) struct EnvironBuilder {
    template: Py<PyDict>,
    shapes: Mutex<Shapes>,
}

impl EnvironBuilder {
    pub(super) fn new(
        py: Python<'_>,
        errors: &Bound<'_, PyAny>,
        multithread: bool,
        multiprocess: bool,
    ) -> PyResult<Self> {
        let template = PyDict::new(py);
        // Interned, so that an application's own literal is the same object: that is looked up fastest.
        let set =
            |name, value: Bound<'_, PyAny>| template.set_item(PyString::intern(py, name), value);
        // What every application may rely on, where the front server left it out.
        for (name, default) in [
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", ""),
            ("QUERY_STRING", ""),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("wsgi.url_scheme", "http"),
        ] {
            set(name, PyString::intern(py, default).into_any())?;
        }
        set("wsgi.version", (1, 0).into_bound_py_any(py)?)?;
        set("wsgi.errors", errors.clone())?;
        set("wsgi.multithread", multithread.into_bound_py_any(py)?)?;
        set("wsgi.multiprocess", multiprocess.into_bound_py_any(py)?)?;
        set("wsgi.run_once", false.into_bound_py_any(py)?)?;
        set("wsgi.input_terminated", true.into_bound_py_any(py)?)?;
        set("wsgi.file_wrapper", py.get_type::<FileWrapper>().into_any())?;
        Input::register(py)?;
        Ok(Self {
            template: template.unbind(),
            shapes: Mutex::default(),
        })
    }

    /// The environ of one request, and of no other.
    pub(super) fn build<'py>(
        &self,
        py: Python<'py>,
        variables: &Environ,
        body: Body,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.with_variables(py, variables)?;
        environ.set_item(intern!(py, "wsgi.input"), Bound::new(py, Input::new(body))?)?;
        Ok(environ)
    }

    fn with_variables<'py>(
        &self,
        py: Python<'py>,
        variables: &Environ,
    ) -> PyResult<Bound<'py, PyDict>> {
        let template = self.template.bind(py);
        // Never waits: making a dict may run finalizers, and they may hand the interpreter to a thread that would
        // wait here for ever.
        if let Ok(mut shapes) = self.shapes.try_lock() {
            if let Some(environ) = shapes.environ(template, variables)? {
                return Ok(environ);
            }
        }
        let environ = template.copy()?;
        for (name, value) in variables {
            if !is_own(name) {
                environ.set_item(from_latin1(py, name)?, from_latin1(py, value)?)?;
            }
        }
        complete(variables, &environ)?;
        Ok(environ)
    }
}

/// Whether a name is the server's own to set, whatever the socket says.
pub(super) fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"wsgi.")
}

/// The variables that [`complete`] looks at.
pub(super) const SOURCES: [&[u8]; 7] = [
    b"UWSGI_SCHEME",
    b"HTTPS",
    b"REQUEST_SCHEME",
    b"SERVER_NAME",
    b"HTTP_HOST",
    b"REQUEST_METHOD",
    b"SERVER_PORT",
];

/// Sets what depends on other variables.
pub(super) fn complete(variables: &Environ, environ: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = environ.py();
    let (scheme, port) = if variables.url_scheme() == "https" {
        (intern!(py, "https"), intern!(py, "443"))
    } else {
        (intern!(py, "http"), intern!(py, "80"))
    };
    environ.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
    if variables.text("SERVER_NAME").is_none() {
        let host = variables.text("HTTP_HOST").unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        // Never empty, and of the code points 0 to 255 (PEP 3333).
        let name = if name.is_empty() { "localhost" } else { name };
        environ.set_item(
            intern!(py, "SERVER_NAME"),
            from_latin1(py, name.as_bytes())?,
        )?;
    }
    if variables
        .get("REQUEST_METHOD")
        .is_some_and(<[u8]>::is_empty)
    {
        environ.set_item(intern!(py, "REQUEST_METHOD"), intern!(py, "GET"))?;
    }
    if variables.text("SERVER_PORT").is_none() {
        environ.set_item(intern!(py, "SERVER_PORT"), port)?;
    }
    Ok(())
}
