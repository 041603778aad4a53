//! One line a request: in the combined format that nginx and Apache write, or as a JSON object.

use std::{
    fs::OpenOptions,
    io::{self, Write, stdout},
    sync::Mutex,
    time::SystemTime,
};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::{
    app::Environ,
    config::{self, LogFormat},
    server::{Answered, Observer},
};

/// Lines that may wait for a slow disk; beyond them lines are dropped, never a request delayed.
const WAITING_LINES: usize = 16 * 1024;

/// Writes a line for each request on a thread of its own.
pub struct AccessLog {
    lines: Mutex<NonBlocking>,
    format: LogFormat,
    _writer: WorkerGuard,
}

impl AccessLog {
    /// Opens the log; `None` when it is off. Several processes may append to one file.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(target: &config::AccessLog, format: LogFormat) -> io::Result<Option<Self>> {
        let builder = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(WAITING_LINES);
        let (lines, writer) = match target {
            config::AccessLog::Off => return Ok(None),
            config::AccessLog::Stdout => builder.finish(stdout()),
            config::AccessLog::File(path) => {
                builder.finish(OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        Ok(Some(Self {
            lines: Mutex::new(lines),
            format,
            _writer: writer,
        }))
    }
}

impl Observer for AccessLog {
    fn answered(&self, answered: &Answered<'_>) {
        let now = SystemTime::now();
        let line = match self.format {
            LogFormat::Text => combined(answered, now),
            LogFormat::Json => json(answered, now),
        };
        if let Ok(mut lines) = self.lines.lock() {
            // A full queue counts the line as dropped and says no more.
            let _ = lines.write_all(&line);
        }
    }
}

/// `ADDRESS - USER [TIME] "METHOD URI PROTOCOL" STATUS BYTES "REFERER" "AGENT" SECONDS`
fn combined(answered: &Answered<'_>, now: SystemTime) -> Vec<u8> {
    let environ = answered.environ;
    let mut line = Vec::with_capacity(256);
    let mut put = |bytes: &[u8]| line.extend_from_slice(bytes);
    put(&escaped(environ, "REMOTE_ADDR"));
    put(b" - ");
    put(&escaped(environ, "REMOTE_USER"));
    put(format!(" [{}] \"", common_time(now)).as_bytes());
    put(&escaped(environ, "REQUEST_METHOD"));
    put(b" ");
    put(&escaped(environ, "REQUEST_URI"));
    put(b" ");
    put(&escaped(environ, "SERVER_PROTOCOL"));
    put(format!("\" {} {} \"", answered.status, answered.body_bytes).as_bytes());
    put(&escaped(environ, "HTTP_REFERER"));
    put(b"\" \"");
    put(&escaped(environ, "HTTP_USER_AGENT"));
    put(format!(
        "\" {:.6}{}\n",
        answered.duration.as_secs_f64(),
        if answered.complete { "" } else { " cut" }
    )
    .as_bytes());
    line
}

/// `10/Oct/2000:13:55:36 +0000`, from `Tue, 10 Oct 2000 13:55:36 GMT`.
fn common_time(now: SystemTime) -> String {
    let text = httpdate::fmt_http_date(now);
    let part = |range| text.get(range).unwrap_or_default();
    let (day, month, year, clock) = (part(5..7), part(8..11), part(12..16), part(17..25));
    format!("{day}/{month}/{year}:{clock} +0000")
}

/// The same facts by name; what a request does not have is null.
fn json(answered: &Answered<'_>, now: SystemTime) -> Vec<u8> {
    let text = |name: &str| answered.environ.text(name);
    let line = serde_json::json!({
        "time": httpdate::fmt_http_date(now),
        "remote_addr": text("REMOTE_ADDR"),
        "remote_user": text("REMOTE_USER"),
        "method": text("REQUEST_METHOD"),
        "uri": text("REQUEST_URI"),
        "protocol": text("SERVER_PROTOCOL"),
        "status": answered.status,
        "body_bytes": answered.body_bytes,
        "referer": text("HTTP_REFERER"),
        "user_agent": text("HTTP_USER_AGENT"),
        "seconds": answered.duration.as_secs_f64(),
        "complete": answered.complete,
    });
    format!("{line}\n").into_bytes()
}

/// A variable that cannot end its field or its line; `-` for none.
fn escaped(environ: &Environ, name: &str) -> Vec<u8> {
    match environ.get(name) {
        None | Some(b"") => b"-".to_vec(),
        Some(value) => value.escape_ascii().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::Answered;

    #[test]
    fn a_value_cannot_forge_a_line() {
        let mut environ = Environ::default();
        environ.set("REMOTE_ADDR", "::1");
        environ.set("REQUEST_METHOD", "GET");
        environ.set("REQUEST_URI", "/x");
        environ.set("HTTP_USER_AGENT", "a\"\nb");
        let answered = Answered::new(&environ, 200, 12, Duration::from_millis(5), true);
        let line = String::from_utf8(combined(&answered, SystemTime::UNIX_EPOCH)).unwrap();
        assert_eq!(
            line,
            "::1 - - [01/Jan/1970:00:00:00 +0000] \"GET /x -\" 200 12 \"-\" \"a\\\"\\nb\" 0.005000\n"
        );
    }
}
