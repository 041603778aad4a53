//! Turns signals into an operator's requests, with gunicorn's meanings.

use std::{future::poll_fn, io, task::Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A request of an operator, by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Request {
    /// TERM: stop, and let requests finish.
    Stop,
    /// INT, QUIT: stop at once.
    StopAtOnce,
    /// HUP: import the applications anew.
    Reload,
    /// USR1: open the logs anew.
    ReopenLogs,
    /// USR2: start the program anew.
    Upgrade,
    /// TTIN: one worker more.
    MoreWorkers,
    /// TTOU: one worker fewer.
    FewerWorkers,
    /// CHLD: a process has ended.
    Child,
}

/// The signals of the master; before they are watched, they would just kill.
pub(in crate::supervisor) struct Requests(Vec<(Signal, Request)>);

impl Requests {
    pub(in crate::supervisor) fn watch() -> io::Result<Self> {
        let kinds = [
            (SignalKind::interrupt(), Request::StopAtOnce),
            (SignalKind::quit(), Request::StopAtOnce),
            (SignalKind::terminate(), Request::Stop),
            (SignalKind::child(), Request::Child),
            (SignalKind::hangup(), Request::Reload),
            (SignalKind::user_defined1(), Request::ReopenLogs),
            (SignalKind::user_defined2(), Request::Upgrade),
            (
                SignalKind::from_raw(libc_signal::TTIN),
                Request::MoreWorkers,
            ),
            (
                SignalKind::from_raw(libc_signal::TTOU),
                Request::FewerWorkers,
            ),
        ];
        let watched = kinds
            .into_iter()
            .map(|(kind, request)| Ok((signal(kind)?, request)));
        watched.collect::<io::Result<_>>().map(Self)
    }

    /// The next of them, the most urgent first.
    pub(in crate::supervisor) async fn next(&mut self) -> Request {
        poll_fn(|context| {
            for (signal, request) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*request);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Numbers of signals that tokio has no name for.
mod libc_signal {
    use nix::sys::signal::Signal;

    pub(super) const TTIN: i32 = Signal::SIGTTIN as i32;
    pub(super) const TTOU: i32 = Signal::SIGTTOU as i32;
}
