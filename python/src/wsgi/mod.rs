//! WSGI applications: PEP 3333.
//!
//! - `body_reader`: pieces and lines of a request's body.
//! - `environ`: the dict an application is called with; `derived`: entries of it that no variable gives as it is.
//! - `error_log`: `wsgi.errors` for a log of JSON lines.
//! - `exchange`: `start_response`, `write` and the response behind them.
//! - `file_wrapper`: `wsgi.file_wrapper`.
//! - `input`: `wsgi.input`.
//! - `shapes`: environs that are made once for all requests with the same names.
//! - `text`: strings whose characters are bytes.

mod body_reader;
mod derived;
mod environ;
mod error_log;
mod exchange;
mod file_wrapper;
mod input;
mod shapes;
mod text;

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::{
    exceptions::{PySystemExit, PyTypeError},
    intern,
    prelude::*,
    types::{PyBytes, PyList, PyTuple},
};
use spile::{
    app::{Answer, BlockingApplication, Body, Environ, Failed, Request},
    config::{Config, LogFormat},
};

use crate::interrupt;
use environ::EnvironBuilder;
use error_log::ErrorLog;
use exchange::Exchange;
pub(crate) use exchange::check_head;
pub(crate) use file_wrapper::FileWrapper;

/// Whether this process is a child that an application has forked.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Says that this process is a child of the worker, and none itself.
pub(crate) fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}

fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// A WSGI callable.
pub(crate) struct Wsgi {
    callable: Py<PyAny>,
    environ: EnvironBuilder,
    /// An application that returns bare bytes is told once.
    warned_of_bytes: AtomicBool,
}

impl Wsgi {
    /// `config` is the worker's: it decides the flags of the environ and the form of `wsgi.errors`.
    pub(crate) fn new(py: Python<'_>, callable: Py<PyAny>, config: &Config) -> PyResult<Self> {
        let errors = match config.log_format {
            LogFormat::Text => py.import("sys")?.getattr("stderr")?,
            LogFormat::Json => {
                let errors = Bound::new(py, ErrorLog::default())?.into_any();
                // The interpreter flushes only its own streams.
                py.import("atexit")?
                    .call_method1("register", (errors.getattr("flush")?,))?;
                errors
            }
        };
        // However many there are now.
        let multiprocess = config.workers_max > 1;
        let environ = EnvironBuilder::new(py, &errors, config.threads > 1, multiprocess)?;
        Ok(Self {
            callable,
            environ,
            warned_of_bytes: AtomicBool::new(false),
        })
    }

    /// Calls the application and sends what it gives, block by block.
    fn respond(
        &self,
        py: Python<'_>,
        variables: &Environ,
        body: Body,
        exchange: &Bound<'_, Exchange>,
    ) -> PyResult<()> {
        let environ = self.environ.build(py, variables, body)?;
        let start_response = exchange.getattr(intern!(py, "start_response"))?;
        let result = self.callable.bind(py).call1((environ, start_response));
        let result = unless_forked(py, result)?;
        let exchange = exchange.get();
        let sent = unless_forked(py, self.send(&result, exchange)).and_then(|()| exchange.end());
        // Always, once, whatever happened before (PEP 3333, "close").
        if let Err(error) = unless_forked(py, close(&result)) {
            // The response is through, or has failed for another reason.
            log(py, &named(variables), &error);
        }
        sent
    }

    fn send(&self, result: &Bound<'_, PyAny>, exchange: &Exchange) -> PyResult<()> {
        let py = result.py();
        if let Ok(blocks) = result.cast_exact::<PyList>() {
            if blocks.len() == 1 {
                return exchange.send_only(bytes(&blocks.get_item(0)?)?);
            }
        } else if let Ok(blocks) = result.cast_exact::<PyTuple>() {
            if blocks.len() == 1 {
                return exchange.send_only(bytes(&blocks.get_item(0)?)?);
            }
        } else if let Ok(file) = result.cast_exact::<FileWrapper>() {
            if let Some(range) = file.get().range(py) {
                return exchange.send_file(range);
            }
        } else if let Ok(block) = result.cast_exact::<PyBytes>() {
            if !self.warned_of_bytes.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "the application returns bytes; it should return a list of bytes, [body]: \
                     iterating over bytes gives numbers. They are sent as one block"
                );
            }
            return exchange.send_only(block.as_bytes());
        }
        if result.is_none() {
            return Err(PyTypeError::new_err(
                "the application returned None; it should return a list of bytes",
            ));
        }
        for block in result.try_iter()? {
            let block = block?;
            if is_forked() || !exchange.send(bytes(&block)?)? {
                break;
            }
        }
        Ok(())
    }
}

impl BlockingApplication for Wsgi {
    fn call(&self, request: Request, answer: Box<dyn Answer>) {
        Python::attach(|py| {
            let (variables, body) = request.into_parts();
            let exchange = match Bound::new(py, Exchange::new(answer)) {
                Ok(exchange) => exchange,
                Err(error) => {
                    interrupt::forget(py);
                    return log(py, &named(&variables), &error);
                }
            };
            let outcome = self.respond(py, &variables, body, &exchange);
            // Destructors have run.
            let outcome = unless_forked(py, outcome);
            let failed = match &outcome {
                Ok(()) => false,
                // A client that has left is no failure of the application that finds out.
                Err(_) if !exchange.get().is_open() => true,
                Err(error) => {
                    log(py, &named(&variables), error);
                    true
                }
            };
            if let Some(answer) = exchange.get().take(py) {
                answer.finish(if failed { Err(Failed) } else { Ok(()) });
            }
            // Before anything is dropped: that may run the application's code, and the request is over.
            interrupt::forget(py);
        });
    }
}

/// Calls `close` of what an application has returned, if it has one.
fn close(result: &Bound<'_, PyAny>) -> PyResult<()> {
    let is_plain = result.is_exact_instance_of::<PyList>()
        || result.is_exact_instance_of::<PyTuple>()
        || result.is_exact_instance_of::<PyBytes>();
    if is_plain {
        // They have none, and before Python 3.13 it takes an exception to be told so.
        return Ok(());
    }
    match result.getattr_opt(intern!(result.py(), "close"))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// A request's method and path, escaped: what a client sends cannot look like a line of the log.
fn named(variables: &Environ) -> String {
    let method = variables.text("REQUEST_METHOD").unwrap_or("GET");
    let path = variables.get("PATH_INFO").unwrap_or_default();
    format!("{method} {}", path.escape_ascii())
}

/// What came of the application's code, in the worker. A child that this code has forked ends here: request, sockets
/// and runtime are the worker's.
fn unless_forked<T>(py: Python<'_>, outcome: PyResult<T>) -> PyResult<T> {
    if is_forked() {
        let status = exit_status(py, outcome.err());
        let _ = py
            .import(intern!(py, "spile._forked"))
            .and_then(|forked| forked.call_method1(intern!(py, "leave"), (status,)));
        // It does not return.
        std::process::exit(status);
    }
    outcome
}

/// The exit status of an interpreter that ends so.
fn exit_status(py: Python<'_>, error: Option<PyErr>) -> i32 {
    match error {
        None => 0,
        Some(error) if error.is_instance_of::<PySystemExit>(py) => {
            match error.value(py).getattr(intern!(py, "code")) {
                Ok(code) => code.extract().unwrap_or(i32::from(!code.is_none())),
                Err(_) => 1,
            }
        }
        Some(error) => {
            log(py, "in a process that the application forked", &error);
            1
        }
    }
}

/// The bytes of one block of a response.
fn bytes<'a>(block: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    block
        .cast::<PyBytes>()
        .map(|block| block.as_bytes())
        .map_err(|_| {
            let kind = block
                .get_type()
                .name()
                .map_or_else(|_| "?".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!("a block of a WSGI response is bytes, not {kind}"))
        })
}

/// An application's exception, with its traceback.
fn log(py: Python<'_>, request: &str, error: &PyErr) {
    let traceback = traceback(py, error)
        .or_else(|interrupted| {
            if interrupt::is_timeout(py, &interrupted) {
                // Time was up while the application's own failure was put into words.
                traceback(py, error)
            } else {
                Err(interrupted)
            }
        })
        .unwrap_or_else(|_| error.to_string());
    tracing::error!(
        "{request}: the application failed\n{}",
        indent_what_looks_like_ours(traceback.trim_end())
    );
}

/// Lines of the log begin with the date. The text of an exception may be a client's, and have lines that do so, too.
fn indent_what_looks_like_ours(text: &str) -> String {
    let mut indented = String::with_capacity(text.len());
    let mut begins = true;
    for character in text.chars() {
        if begins && character.is_ascii_digit() {
            indented.push_str("  ");
        }
        begins = matches!(character, '\n' | '\r');
        indented.push(character);
    }
    indented
}

fn traceback(py: Python<'_>, error: &PyErr) -> PyResult<String> {
    let lines = py.import(intern!(py, "traceback"))?.call_method1(
        intern!(py, "format_exception"),
        (error.get_type(py), error.value(py), error.traceback(py)),
    )?;
    // Names of files that are no UTF-8 have lone surrogates, which Python writes to standard error so.
    intern!(py, "")
        .call_method1(intern!(py, "join"), (lines,))?
        .call_method1(intern!(py, "encode"), ("utf-8", "backslashreplace"))?
        .extract()
        .map(|text: Vec<u8>| String::from_utf8_lossy(&text).into_owned())
}
