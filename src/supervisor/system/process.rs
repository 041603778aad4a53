//! Processes as the master sees them: signals, ends, memory.

use std::{fmt, fs, os::unix::process::ExitStatusExt, process::ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions};

/// Why a worker went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::supervisor) enum Reason {
    /// A signal that the master did not send.
    Killed,
    /// It ended by itself.
    Exited,
    /// `--max-requests`.
    MaxRequests,
    /// `--max-rss`.
    MaxRss,
    /// `--max-rss-kill`.
    MaxRssKill,
    /// `--max-worker-lifetime`.
    Lifetime,
    /// `--request-timeout`.
    RequestTimeout,
    /// The applications were imported anew.
    Reload,
    /// The mold has died, and another has taken its place.
    MoldDied,
    /// Another master has taken over.
    Upgrade,
    /// Fewer workers are wanted.
    Fewer,
    /// The server stops.
    Stop,
}

impl Reason {
    /// As it stands in the statistics.
    pub(in crate::supervisor) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Exited => "exited",
            Self::MaxRequests => "max-requests",
            Self::MaxRss => "max-rss",
            Self::MaxRssKill => "max-rss-kill",
            Self::Lifetime => "lifetime",
            Self::RequestTimeout => "request-timeout",
            Self::Reload => "reload",
            Self::MoldDied => "mold-died",
            Self::Upgrade => "upgrade",
            Self::Fewer => "fewer",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sends a signal to a process that may have ended by itself.
pub(in crate::supervisor) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A child that has ended, and how. Collects whatever the applications have left behind too, which falls to a
/// subreaper.
pub(in crate::supervisor) fn next_ended() -> Option<(u32, ExitStatus)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    let pid = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
    Some((pid, ExitStatus::from_raw(status.as_raw())))
}

/// `was killed by signal 9 (SIGKILL)`.
pub(in crate::supervisor) fn described(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let core = if status.core_dumped() {
                ", with a core dump"
            } else {
                ""
            };
            match nix::sys::signal::Signal::try_from(signal) {
                Ok(name) => format!("was killed by signal {signal} ({name}){core}"),
                Err(_) => format!("was killed by signal {signal}{core}"),
            }
        }
        (None, code) => format!("exited with status {}", code.unwrap_or(0)),
    }
}

/// Guesses, as a hint for the log, why a process ended that nobody here has killed; empty where the status says it
/// all.
pub(in crate::supervisor) fn suspicion(status: ExitStatus) -> &'static str {
    match status.signal() {
        Some(9) => {
            "\n  hint: if nobody has sent this signal, the kernel has for want of memory: see `journalctl -k` or `dmesg`"
        }
        _ => "",
    }
}

/// Whether a process has ended, and its parent has not asked how.
pub(in crate::supervisor) fn is_zombie(pid: u32) -> bool {
    state(pid) == Some('Z')
}

/// Whether a process was stopped by a signal. One that a debugger holds is not.
pub(in crate::supervisor) fn is_stopped(pid: u32) -> bool {
    state(pid) == Some('T')
}

fn state(pid: u32) -> Option<char> {
    // See proc_pid_stat(5): the name before the state may hold anything.
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit(") ").next()?.chars().next()
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}

/// Resident memory in bytes, with what is shared; `None` when the process is gone.
pub(in crate::supervisor) fn resident(pid: u32) -> Option<u64> {
    // See proc_pid_statm(5).
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let bytes = resident(std::process::id()).unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
        assert_eq!(resident(u32::MAX), None);
    }

    #[test]
    fn ends_have_names() {
        assert_eq!(
            described(ExitStatus::from_raw(9)),
            "was killed by signal 9 (SIGKILL)"
        );
        assert_eq!(
            described(ExitStatus::from_raw(3 << 8)),
            "exited with status 3"
        );
    }

    #[test]
    fn a_kill_that_nobody_asked_for_may_be_the_kernels() {
        assert!(suspicion(ExitStatus::from_raw(9)).contains("memory"));
        assert_eq!(suspicion(ExitStatus::from_raw(11)), "");
        assert_eq!(suspicion(ExitStatus::from_raw(9 << 8)), "");
    }
}
