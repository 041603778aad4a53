//! The log: lines on standard error.

use std::io::stderr;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogFormat, LogLevel};

/// Sends the log to standard error in this format. Only the first call in a process has an effect.
pub fn init(format: LogFormat, level: LogLevel) {
    let lines = fmt()
        .with_env_filter(EnvFilter::new(level.as_str()))
        .with_writer(stderr)
        .with_target(false);
    // A program that has set a subscriber of its own keeps it.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
