//! What the lanes of a process wait for, in one epoll set.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::server::{
    Listener, handoff::Handoff, net::fd::abort_if_closed_under_us, shared::Shared, sync::lock,
};

/// The epoll set of a process. The scheduler says which lane waits for it.
pub(crate) struct Events {
    shared: Arc<Shared>,
    set: OwnedFd,
    /// Whether the listening sockets are in the set.
    accepts: AtomicBool,
    /// Held to put them in and to take them out.
    change: Mutex<()>,
}

/// What is not a listener; those are numbered from 0.
const JOBS: u64 = u64::MAX;
const ROOM: u64 = u64::MAX - 1;
const LEAVE: u64 = u64::MAX - 2;

impl Events {
    pub(crate) fn new(shared: Arc<Shared>, handoff: &Handoff) -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&set, handoff.has_jobs(), JOBS, false)?;
        watch(&set, shared.slots.room(), ROOM, false)?;
        watch(&set, &shared.stop.leave, LEAVE, false)?;
        for (number, listener) in (0..).zip(shared.listeners().iter()) {
            watch(&set, listener, number, true)?;
        }
        Ok(Self {
            shared,
            set,
            accepts: AtomicBool::new(true),
            change: Mutex::default(),
        })
    }

    /// Waits until something happens. Returns the number of the listener that has a connection, if it is that.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Option<usize> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: 0,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // One only: of several, the kernel gives first what it woke this lane for.
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(LEAVE),
        }];
        if let Err(error) = epoll::wait(&self.set, &mut events, timeout.as_ref()) {
            abort_if_closed_under_us(error);
        }
        let [event] = events;
        match event.data.u64() {
            ROOM => {
                // The lane looks afterwards whether there is room: what is given back from here on is told anew.
                self.shared.slots.room().lower();
                None
            }
            JOBS | LEAVE => None,
            number => usize::try_from(number).ok(),
        }
    }

    /// Whether a lane would not have to wait.
    pub(super) fn is_any_waiting(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&self.set, PollFlags::IN)], Some(&now)).is_ok_and(|count| count > 0)
    }

    /// Has connections be among the events, or not.
    pub(super) fn accept(&self, wanted: bool) {
        if self.accepts.load(Ordering::Relaxed) == wanted {
            return;
        }
        // Held meanwhile: whoever takes the listeners finds them all in the set, or none.
        let listeners = self.shared.listeners();
        let _change = lock(&self.change);
        if self.accepts.swap(wanted, Ordering::Relaxed) == wanted {
            return;
        }
        for (number, listener) in (0..).zip(listeners.iter()) {
            check(if wanted {
                watch(&self.set, listener, number, true)
            } else {
                epoll::delete(&self.set, listener)
            });
        }
    }

    /// Lets other processes be woken for connections before this one.
    pub(super) fn queue_last(&self) {
        let listeners = self.shared.listeners();
        let _change = lock(&self.change);
        if !self.accepts.load(Ordering::Relaxed) {
            return;
        }
        for (number, listener) in (0..).zip(listeners.iter()) {
            check(
                epoll::delete(&self.set, listener)
                    .and_then(|()| watch(&self.set, listener, number, true)),
            );
        }
    }

    /// Takes the listeners away from the lanes, for good.
    pub(crate) fn take_listeners(&self) -> Vec<Listener> {
        let listeners = self.shared.take_listeners();
        let _change = lock(&self.change);
        if self.accepts.swap(false, Ordering::Relaxed) {
            // As long as another process has one open, the kernel would go on to tell of its connections.
            for listener in &listeners {
                check(epoll::delete(&self.set, listener));
            }
        }
        listeners
    }
}

/// Watches a descriptor. Of those that watch an `exclusive` one, one process is woken.
fn watch(set: &OwnedFd, what: impl AsFd, number: u64, exclusive: bool) -> rustix::io::Result<()> {
    let mut flags = epoll::EventFlags::IN;
    if exclusive {
        flags |= epoll::EventFlags::EXCLUSIVE;
    }
    epoll::add(set, what, epoll::EventData::new_u64(number), flags)
}

fn check(changed: rustix::io::Result<()>) {
    if let Err(error) = changed {
        abort_if_closed_under_us(error);
        tracing::error!(%error, "a listening socket cannot be watched");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{address::SocketAddress, server::Binding};

    #[tokio::test]
    async fn connections_are_told_of_as_long_as_they_are_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Listener::bind(&Binding::new(SocketAddress::Unix(path.clone()))).unwrap();
        let shared = Shared::for_tests(vec![listener]);
        let handoff = Handoff::new(shared.clone()).unwrap();
        let events = Events::new(shared, &handoff).unwrap();
        assert!(!events.is_any_waiting());

        let _client = UnixStream::connect(&path).unwrap();
        assert_eq!(events.wait(None), Some(0));
        events.queue_last();
        assert_eq!(events.wait(None), Some(0), "it is still there");

        events.accept(false);
        assert!(!events.is_any_waiting());
        events.queue_last();
        assert!(!events.is_any_waiting());
        events.accept(true);
        assert!(events.is_any_waiting());

        // As another process that has the socket open.
        let kept = events.take_listeners();
        assert!(!events.is_any_waiting());
        events.accept(true);
        assert!(!events.is_any_waiting());
        drop(kept);
    }
}
