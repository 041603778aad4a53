//! The two places where connections are served: on lanes, and on the runtime.

use std::{io, os::fd::OwnedFd, sync::Arc};

use bytes::BytesMut;

#[cfg(feature = "tls")]
use super::net::tls;
use super::{
    Listener,
    connection::Connection,
    dispatch::{Job, Serving, wait_for_packet},
    net::stream::Stream,
    shared::Shared,
    sync::{Event, Queue},
};

/// Hands connections to the runtime, and requests that come back from it to the lanes.
#[derive(Clone)]
pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    jobs: Arc<Queue<Job>>,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            shared,
            jobs: Arc::new(Queue::new()?),
        })
    }

    /// Makes a connection of what a listener has accepted. With TLS it is left to the runtime, and there is none to
    /// serve now: its request comes later.
    pub(super) fn take_in(&self, listener: &Listener, fd: OwnedFd) -> Option<Connection> {
        let slot = self.shared.slots.enter();
        let fd = self.shared.open_files.placed(fd, self.shared.slots.held());
        let stream = Stream::new(fd, listener.family());
        #[cfg(feature = "tls")]
        if let Some(tls) = listener.tls() {
            let dispatcher = self.clone();
            let serve = move |connection| dispatcher.await_packet(connection, BytesMut::new());
            let shared = self.shared.clone();
            let served = tls::serve(shared, stream.with_peer(), tls.config(), slot, serve);
            self.shared.runtime.spawn(served);
            return None;
        }
        Some(Connection::new(stream, slot))
    }

    /// Leaves a connection to the runtime that has not sent its variables yet. `received` is what came of them.
    pub(super) fn await_packet(&self, connection: Connection, received: BytesMut) {
        self.leave_to_runtime(wait_for_packet(self.shared.clone(), connection, received));
    }

    /// Has the runtime serve a connection that has to wait for its client.
    pub(super) fn leave_to_runtime(&self, serving: Serving) {
        let Self { shared, jobs } = self.clone();
        self.shared.runtime.spawn(async move {
            if let Some(job) = serving.await {
                // No lane would take it any more.
                if !shared.stop.has_to_leave() {
                    jobs.push(job);
                }
            }
        });
    }

    /// Takes the oldest request that waits for a lane.
    pub(super) fn next_job(&self) -> Option<Job> {
        self.jobs.pop()
    }

    /// Is readable as long as requests wait for a lane.
    pub(super) fn has_jobs(&self) -> &Event {
        self.jobs.event()
    }
}
