//! The dict an application is called with.

use std::sync::Mutex;

use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyDict, PyString},
};
use spile::app::{Body, Environ};

use super::{
    FileWrapper,
    derived::{derive, is_own},
    input::Input,
    shapes::Shapes,
    text::from_latin1,
};

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
        derive(variables, &environ)?;
        Ok(environ)
    }
}
