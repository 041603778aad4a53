//! Who may connect, and what one client may take.

use std::time::Duration;

use super::AllowFrom;

/// Who may connect, and bounds on time and memory. The defaults suit a server behind nginx.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Whose connections are taken over TCP. Everybody's.
    pub allow_from: AllowFrom,
    /// The largest block of variables, in bytes: 65535, which is also what the protocol can carry.
    pub vars_size: usize,
    /// The most variables of a request, repeats included: 1024. Browsers behind nginx come to 25 or so.
    pub vars: usize,
    /// The largest body of a request, in bytes; `None` for any, which is the default. A larger one is refused before
    /// a byte of it is kept.
    pub body_size: Option<u64>,
    /// Connections held at once; more wait in the listen queue. 16384.
    pub in_flight: usize,
    /// Whether the process's soft limit of open files is raised to the hard one once many connections are held, or no
    /// descriptor is left. It is not: that is the program's to decide.
    pub raise_open_files: bool,
    /// How long a client may take for its variables, and for each further part of its body. 60 s.
    pub read_timeout: Duration,
    /// How long a client may take nothing of its response. 60 s.
    pub write_timeout: Duration,
    /// How long an application may take to answer; `None` for any time, which is the default.
    ///
    /// One that does not block has to give its response's head in it, reading the request's body included; else
    /// the client gets 504. One that blocks has to be done in it: its request is taken away, and the client gets
    /// 504, or a reset if the response had begun. Where there is a way to interrupt it (see
    /// [`Interrupt`](super::Interrupt)), that is tried first, and [`INTERRUPTED_GRACE`](super::INTERRUPTED_GRACE)
    /// granted.
    pub request_timeout: Option<Duration>,
    /// How long requests may run on after a graceful stop has begun. 30 s.
    pub graceful_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allow_from: AllowFrom::default(),
            vars_size: usize::from(u16::MAX),
            vars: 1024,
            body_size: None,
            in_flight: 16384,
            raise_open_files: false,
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            request_timeout: None,
            graceful_timeout: Duration::from_secs(30),
        }
    }
}

/// How long an application that was interrupted has to answer before its request is taken away.
pub const INTERRUPTED_GRACE: Duration = Duration::from_secs(2);

/// Bytes of memory that all bodies together may take that are gathered for applications that block. One that is longer
/// than half of what is left of it goes into a temporary file.
pub(super) const BODIES_IN_MEMORY: usize = 64 << 20;

/// Bytes of it that are kept for the next bodies when no request needs them.
pub(super) const IDLE_BODY_MEMORY: usize = 32 << 20;

/// How long they are kept, at least; and at most twice as long.
pub(super) const IDLE_BODY_TIME: Duration = Duration::from_secs(10);

/// A client may keep a thread waiting for the body of its request for this long in all, and longer the more has come:
/// see [`BODY_PACE`].
pub(super) const BODY_GRACE: Duration = Duration::from_millis(10);

/// Bytes of a body a second under which a client counts as slow: a front server that has gathered the body is many
/// times as fast, also on a machine that is busy. Below it the thread goes on to other requests and the body is received
/// in the background.
pub(super) const BODY_PACE: u64 = 32 << 20;

/// Of a response whose client is slow, this many bytes are kept in memory; the rest in a temporary file.
pub(super) const RESPONSE_IN_MEMORY: usize = 32 * 1024;

/// A response's temporary file grows no further than this before the application has to wait: nginx's own
/// `uwsgi_max_temp_file_size`.
pub(super) const RESPONSE_ON_DISK: u64 = 1 << 30;

/// A client may keep a thread waiting for this long in all, and longer the more it has taken: see
/// [`PACE`].
pub(super) const GRACE: Duration = Duration::from_millis(20);

/// Bytes a second under which a client counts as slow. Below it the thread goes on to other requests and
/// the response is sent in the background.
pub(super) const PACE: u64 = 8 << 20;
