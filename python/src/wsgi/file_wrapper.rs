//! `wsgi.file_wrapper`: PEP 3333, "Optional Platform-Specific File Handling".

use std::{fs::File, os::unix::fs::MetadataExt};

use pyo3::{exceptions::PyStopIteration, intern, prelude::*, sync::PyOnceLock, types::PyType};
use spile::app::FileRange;

use crate::descriptor::copy_of;

/// A file as an iterable of blocks. When an application returns one for a regular file, the file is sent with
/// sendfile(2) from where it stands.
#[pyclass(frozen, module = "spile._spile")]
pub(crate) struct FileWrapper {
    file: Py<PyAny>,
    block_size: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize=8192))]
    fn new(filelike: Py<PyAny>, blksize: usize) -> Self {
        Self {
            file: filelike,
            block_size: blksize,
        }
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let block = self
            .file
            .bind(py)
            .call_method1(intern!(py, "read"), (self.block_size,))?;
        if block.is_truthy()? {
            Ok(block)
        } else {
            Err(PyStopIteration::new_err(()))
        }
    }

    /// Closes the file, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.file.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

impl FileWrapper {
    /// The rest of the file, when it is a regular one that is stored somewhere; anything else is iterated.
    pub(super) fn range(&self, py: Python<'_>) -> Option<FileRange> {
        let file = self.file.bind(py);
        if !reads_what_it_holds(file).ok()? || !is_readable(file).ok()? {
            return None;
        }
        let copy = File::from(copy_of(file).ok()?);
        // Where Python stands, which is not where the descriptor does when there is a buffer.
        let offset = file
            .call_method0(intern!(py, "tell"))
            .ok()?
            .extract()
            .ok()?;
        let metadata = copy.metadata().ok()?;
        // What the kernel makes up as it is read, below /proc and /sys, is of a size that tells nothing.
        if !metadata.is_file() || metadata.blocks() == 0 {
            return None;
        }
        let length = metadata.len().saturating_sub(offset);
        Some(FileRange::new(copy, offset, length))
    }
}

/// Whether reading gives the descriptor's own bytes: not with gzip.GzipFile and the like, which have one too.
fn reads_what_it_holds(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = file.py();
    let is = |file: &Bound<'_, PyAny>, class: &PyOnceLock<_>, name: &str| {
        class
            .import(py, "io", name)
            .and_then(|class: &Bound<'_, PyType>| file.is_instance(class))
    };
    if is(file, &FILE_IO, "FileIO")? {
        return Ok(true);
    }
    if is(file, &READER, "BufferedReader")? || is(file, &RANDOM, "BufferedRandom")? {
        return is(&file.getattr(intern!(py, "raw"))?, &FILE_IO, "FileIO");
    }
    // Others of io's classes convert; what is none of them stands for a file, as tempfile's do.
    Ok(!is(file, &BASE, "IOBase")?)
}

/// Whether it was opened for reading, as far as it says so.
fn is_readable(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    match file.getattr_opt(intern!(file.py(), "readable"))? {
        Some(readable) => readable.call0()?.is_truthy(),
        None => Ok(true),
    }
}

static FILE_IO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static READER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static RANDOM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static BASE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
