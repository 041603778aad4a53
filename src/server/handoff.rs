//! The two places where connections are served: on lanes, and on the runtime.

use std::{io, os::fd::OwnedFd, sync::Arc};

use bytes::BytesMut;

#[cfg(feature = "tls")]
use super::net::tls;
use super::{
    Listener,
    connection::Connection,
    dispatch::{Serving, wait_for_head},
    job::Job,
    net::stream::Stream,
    shared::Shared,
    slots::Slot,
    sync::{Event, Queue},
    wire::{Next, Wire},
};

/// Hands connections to the runtime, and the requests that come back from it to the lanes.
pub(super) struct Handoff {
    pub(super) shared: Arc<Shared>,
    jobs: Queue<Job>,
}

impl Handoff {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            shared,
            jobs: Queue::new()?,
        }))
    }

    /// Makes a connection of a socket that a listener has accepted. One with TLS is left to the runtime, and `None`:
    /// its request comes later.
    pub(super) fn take_in(
        self: &Arc<Self>,
        listener: &Listener,
        fd: OwnedFd,
    ) -> Option<Arc<Connection>> {
        let shared = &self.shared;
        let slot = shared.slots.enter();
        let fd = shared.open_files.placed(fd, shared.slots.held());
        let stream = Stream::new(fd, listener.family());
        #[cfg(feature = "tls")]
        if let Some(tls) = listener.tls() {
            let handoff = self.clone();
            let intake = tls::Intake {
                connect,
                serve: move |connection| handoff.await_head(connection, BytesMut::new()),
            };
            let served = tls::serve(
                shared.clone(),
                stream.with_peer(),
                tls.config(),
                slot,
                intake,
            );
            shared.runtime.spawn(served);
            return None;
        }
        Some(connect(stream, slot))
    }

    /// Leaves a connection to the runtime whose next request's head is not there yet. `received` is what came of it.
    pub(super) fn await_head(self: &Arc<Self>, connection: Arc<Connection>, received: BytesMut) {
        self.leave_to_runtime(wait_for_head(self.shared.clone(), connection, received));
    }

    /// Has a connection that ended a response wait for its next request, if there may be one.
    pub(super) fn go_on(self: &Arc<Self>, connection: &Arc<Connection>, next: Next) {
        match next {
            Next::Again => self.await_head(connection.clone(), BytesMut::new()),
            Next::Close | Next::Reset => {}
        }
    }

    /// Has the runtime serve a connection that has to wait for its client.
    pub(super) fn leave_to_runtime(self: &Arc<Self>, serving: Serving) {
        let handoff = self.clone();
        self.shared.runtime.spawn(async move {
            if let Some(job) = serving.await {
                // No lane would take it any more.
                if !handoff.shared.stop.has_to_leave() {
                    handoff.jobs.push(job);
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

/// Makes every connection: here alone it is said what it speaks.
fn connect(stream: Stream, slot: Slot) -> Arc<Connection> {
    Connection::new(stream, Wire::uwsgi(), slot)
}

#[cfg(test)]
mod tests {
    use std::{io::Read, io::Write, os::unix::net::UnixStream, time::Duration};

    use super::*;
    use crate::{
        app::{Answer, BlockingApplication, Handler, Request, Response, Router},
        protocol::Encoder,
        server::{Family, Limits, Plain, response::blocking::Reply},
    };

    struct Blocks;

    impl BlockingApplication for Blocks {
        fn call(&self, _: Request, mut answer: Box<dyn Answer>) {
            let (head, _) = Response::text("blocked").into_wire().unwrap();
            let sent = answer.begin(head, b"blocked");
            answer.finish(sent.map_err(|_| crate::app::Failed));
        }
    }

    async fn returns(_: Request) -> Response {
        Response::text("awaited")
    }

    fn read(peer: &mut UnixStream, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(peer.read(&mut byte).unwrap(), 1, "{}", read.escape_ascii());
            read.push(byte[0]);
        }
        String::from_utf8(read).unwrap()
    }

    /// A wire that keeps connections is served one request after another, by both kinds of applications.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_kept_connection_carries_one_request_after_another() {
        let mut router = Router::new();
        router
            .mount("/awaited", Handler::Async(Arc::new(returns)))
            .unwrap();
        router
            .mount("/blocked", Handler::Blocking(Arc::new(Blocks)))
            .unwrap();
        let (limits, runtime) = (Limits::default(), tokio::runtime::Handle::current());
        let shared = Shared::new(Vec::new(), router, limits, runtime, None, None).unwrap();
        let handoff = Handoff::new(Arc::new(shared)).unwrap();
        let (mut peer, ours) = UnixStream::pair().unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = Stream::new(ours.into(), Family::Unix);
        let slot = handoff.shared.slots.enter();
        let connection = Connection::new(stream, Wire::kept(), slot);
        handoff.await_head(connection, BytesMut::new());
        for path in ["/awaited", "/blocked", "/blocked", "/awaited"] {
            let packet = Encoder::new()
                .var("REQUEST_METHOD", "GET")
                .var("PATH_INFO", path);
            peer.write_all(&packet.finish().unwrap()).unwrap();
            if path == "/blocked" {
                let job = loop {
                    match handoff.next_job() {
                        Some(job) => break job,
                        None => tokio::task::yield_now().await,
                    }
                };
                let Job {
                    connection,
                    exchange,
                    request,
                    application,
                } = job;
                let reply =
                    Reply::new(handoff.clone(), Arc::new(Plain), connection, exchange, None);
                application.call(request, Box::new(reply));
            }
            let answer = read(&mut peer, path.trim_start_matches('/'));
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        }
        assert_eq!(handoff.shared.slots.held(), 1);
    }
}
