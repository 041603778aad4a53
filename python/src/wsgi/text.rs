//! "Native strings" whose characters are bytes: PEP 3333, "A Note on String Types".

use std::{borrow::Cow, ptr};

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    ffi,
    prelude::*,
    types::PyString,
};

/// Bytes as a `str` of the code points 0 to 255.
#[allow(unsafe_code)]
pub(super) fn from_latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: `bytes` is readable for `length` bytes, and only for the call is it used. Errors cannot be decoded in
    // Latin-1, so no handler is named.
    let text = unsafe { ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, ptr::null()) };
    // SAFETY: the call gave a new reference that is this function's alone, or null with an exception set.
    let text = unsafe { Bound::from_owned_ptr_or_err(py, text) }?;
    Ok(text.cast_into::<PyString>()?)
}

/// A `str` of the code points 0 to 255 as bytes; `what` names it in the error.
pub(super) fn to_latin1<'a>(text: &'a Bound<'_, PyAny>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    let Ok(text) = text.cast::<PyString>() else {
        let kind = text
            .get_type()
            .name()
            .map_or_else(|_| "?".to_owned(), |name| name.to_string());
        return Err(PyTypeError::new_err(format!("{what} is a str, not {kind}")));
    };
    let utf8 = text.to_str()?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let bytes = utf8
        .chars()
        .map(|character| u8::try_from(u32::from(character)))
        .collect::<Result<_, _>>();
    bytes.map(Cow::Owned).map_err(|_| {
        PyValueError::new_err(format!(
            "{what} {utf8:?} has characters that latin-1 does not have (PEP 3333)"
        ))
    })
}
