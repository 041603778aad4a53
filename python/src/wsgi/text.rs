//! "Native strings" whose characters are bytes: PEP 3333, "A Note on String Types".

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::PyString,
};
use std::borrow::Cow;

/// Bytes as a `str` of the code points 0 to 255.
pub(super) fn from_latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => PyString::new(py, text),
        _ => PyString::new(
            py,
            &bytes.iter().copied().map(char::from).collect::<String>(),
        ),
    }
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
