//! Options that a reload leaves as they were when the server was started.

use crate::config::Config;

/// Those that have changed and are the master's own.
pub(in crate::supervisor) fn kept_by_master(running: &Config, new: &Config) -> Vec<&'static str> {
    changed([
        ("--pidfile", running.pidfile != new.pidfile),
        ("--control", running.control != new.control),
        ("--metrics", running.metrics != new.metrics),
        ("--user", running.user != new.user),
        ("--group", running.group != new.group),
        ("--umask", running.umask != new.umask),
        ("--log-level", running.log_level != new.log_level),
        ("--log-format", running.log_format != new.log_format),
        ("--reload", running.reload != new.reload),
        ("--touch-reload", running.touch_reload != new.touch_reload),
    ])
}

/// Those that have changed where the master serves itself, without Python: all but who may connect, the files of TLS,
/// and what the sockets are given.
pub(in crate::supervisor) fn kept_without_python(
    running: &Config,
    new: &Config,
) -> Vec<&'static str> {
    let mut kept = changed([
        ("APP or --mount", running.mounts != new.mounts),
        ("--socket", running.sockets != new.sockets),
        ("--tls-cert", running.tls.is_some() != new.tls.is_some()),
        ("--threads", running.threads != new.threads),
        ("--sandbox", running.sandbox != new.sandbox),
        (
            "--sandbox-write",
            running.sandbox_write != new.sandbox_write,
        ),
        ("--access-log", running.access_log != new.access_log),
        (
            "--access-log-format",
            running.access_log_format != new.access_log_format,
        ),
        ("--read-timeout", running.read_timeout != new.read_timeout),
        (
            "--graceful-timeout",
            running.graceful_timeout != new.graceful_timeout,
        ),
        (
            "--request-timeout",
            running.request_timeout != new.request_timeout,
        ),
        (
            "--max-vars-size",
            running.max_vars_size != new.max_vars_size,
        ),
        ("--max-vars", running.max_vars != new.max_vars),
        ("--max-body", running.max_body != new.max_body),
        (
            "--max-in-flight",
            running.max_in_flight != new.max_in_flight,
        ),
    ]);
    kept.extend(kept_by_master(running, new));
    kept
}

/// Says so in the log.
pub(in crate::supervisor) fn tell_kept(options: &[&str]) {
    for option in options {
        tracing::warn!("{option} has changed: that takes a restart, or an upgrade (SIGUSR2)");
    }
}

fn changed<const N: usize>(options: [(&'static str, bool); N]) -> Vec<&'static str> {
    let changed = options.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(option, _)| option).collect()
}
