//! Entries of the environ that no variable gives as it is.

use pyo3::{intern, prelude::*, types::PyDict};
use spile::app::Environ;

use super::text::from_latin1;

/// Whether a name is the server's own to set, whatever the socket says.
pub(super) fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"wsgi.")
}

/// The variables that [`derive`] looks at.
pub(super) const SOURCES: [&[u8]; 7] = [
    b"UWSGI_SCHEME",
    b"HTTPS",
    b"REQUEST_SCHEME",
    b"SERVER_NAME",
    b"HTTP_HOST",
    b"REQUEST_METHOD",
    b"SERVER_PORT",
];

/// Sets the entries of an environ that depend on other variables (PEP 3333, "environ Variables").
pub(super) fn derive(variables: &Environ, environ: &Bound<'_, PyDict>) -> PyResult<()> {
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
