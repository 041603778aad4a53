//! Descriptors that Python objects own.

use std::os::fd::{OwnedFd, RawFd};

use pyo3::{intern, prelude::*};
use spile::server::duplicate;

/// Returns a copy of the descriptor that a Python object has, by its `fileno`.
#[allow(unsafe_code)]
pub(crate) fn copy_of(object: &Bound<'_, PyAny>) -> PyResult<OwnedFd> {
    let fd: RawFd = object
        .call_method0(intern!(object.py(), "fileno"))?
        .extract()?;
    // SAFETY: the object owns the descriptor, and closes it in Python code alone. None of that runs before the copy is
    // made, because this thread holds the interpreter's lock. Python code may do to any descriptor what it likes, so
    // an object whose `fileno` lies gains nothing by it.
    Ok(unsafe { duplicate(fd) }?)
}
