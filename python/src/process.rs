//! What Python's standard library has no call for.

use std::io;

use pyo3::{exceptions::PyOSError, prelude::*};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Has the kernel kill this process when its parent ends, or no more. A parent that has ended before is for the
/// caller to notice.
#[pyfunction]
pub(crate) fn end_with_parent(on: bool) -> PyResult<()> {
    set_parent_process_death_signal(on.then_some(Signal::KILL))
        .map_err(|error| PyOSError::new_err(io::Error::from(error)))
}
