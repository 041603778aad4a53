//! The log: lines on standard error, each with the process it is from.
//!
//! Lines are written by the thread that has something to say, one write(2) a line. Where nobody empties a pipe or a
//! socket, they are lost and counted (`standard_error.rs`). Lines that the system refuses, as on a full disk, are lost
//! without a word: there is no place for one.

use std::{fmt, io, process, sync::OnceLock};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, JsonFields, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::standard_error;
use crate::config::{LogFormat, LogLevel};

/// Sends the log to standard error in this format. Only the first call in a process has an effect.
pub fn init(format: LogFormat, level: LogLevel) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level.as_str()))
        .with_writer(move || Lines(format))
        // A line that cannot be written, as on a full disk, would be told of by a macro that panics when that cannot be
        // written either.
        .log_internal_errors(false)
        .with_target(false);
    // A program that has set a subscriber of its own keeps it.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(false).with_timer(TimeAndPid).try_init(),
        LogFormat::Json => {
            let inner = Format::default()
                .json()
                .with_target(false)
                .flatten_event(true);
            lines
                .fmt_fields(JsonFields::new())
                .event_format(WithPid(inner))
                .try_init()
        }
    };
}

/// What this process is among spile's, for its lines: `master`, `worker`. Only the first call has an effect.
pub fn name_process(name: &'static str) {
    let _ = ROLE.set(name);
}

/// Says what has ended the server: the last line of its log.
pub fn failed(error: &dyn fmt::Display, cure: &str, format: LogFormat) {
    match format {
        LogFormat::Text => tracing::error!("{error}\n  hint: {cure}"),
        LogFormat::Json => tracing::error!(hint = cure, "{error}"),
    }
}

/// Writes lines that were made elsewhere, each with its end. They may be lost, as those of this module. `process` is
/// what this process is among spile's.
pub fn write_lines(lines: &str, process: Option<&str>, format: LogFormat) {
    // There is no place to say that it failed.
    let _ = standard_error::write(lines, |lost| lost_lines(lost, process, format));
}

static ROLE: OnceLock<&str> = OnceLock::new();

/// The end that a subscriber writes whole lines into.
struct Lines(LogFormat);

impl io::Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(lines);
        write_lines(&text, ROLE.get().copied(), self.0);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the line of the log that says how many others were lost.
fn lost_lines(lost: u64, process: Option<&str>, format: LogFormat) -> String {
    let mut time = String::new();
    // Without a time it says as much.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let pid = process::id();
    let message = format!("{lost} lines of the log were lost: nobody read standard error");
    match format {
        LogFormat::Text => {
            let process = process.map_or_else(String::new, |process| format!("{process} "));
            format!("{time} [{process}{pid}]  WARN {message}\n")
        }
        LogFormat::Json => {
            let process =
                process.map_or_else(String::new, |process| format!(r#""process":"{process}","#));
            format!(
                "{{\"pid\":{pid},{process}\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\"}}\n"
            )
        }
    }
}

/// `2000-10-10T13:55:36.123456Z [worker 4711]`. The process is asked for at each line: a fork has another.
struct TimeAndPid;

impl FormatTime for TimeAndPid {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(line)?;
        match ROLE.get() {
            Some(role) => write!(line, " [{role} {}]", process::id()),
            None => write!(line, " [{}]", process::id()),
        }
    }
}

/// A JSON object with `pid` and `process` before everything else.
struct WithPid(Format<Json, SystemTime>);

impl<S, N> FormatEvent<S, N> for WithPid
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut object = String::new();
        self.0
            .format_event(context, Writer::new(&mut object), event)?;
        let members = object.strip_prefix('{').ok_or(fmt::Error)?;
        write!(line, "{{\"pid\":{},", process::id())?;
        if let Some(role) = ROLE.get() {
            write!(line, "\"process\":\"{role}\",")?;
        }
        line.write_str(members)
    }
}
