//! From a connection's first byte to its answer.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::{
    claim::Claim,
    connection::{Arrived, Connection},
    exchange::{CLIENT_LEFT, Exchange},
    frozen,
    metrics::InFlight,
    request::{
        body::{gather, incoming},
        refusal::Refusal,
        reject::reject,
        validate::examine,
    },
    response::streaming::{self, discard},
    shared::Shared,
    sync::timeout_from_first_wait,
    wire::duplex,
};
use crate::{
    app::{Application, BlockingApplication, BoxFuture, Environ, Handler, Request, Response},
    protocol::{Header, Packet},
};

/// How far a connection has come.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are jobs, which go on at once"
)]
pub(super) enum Step {
    /// Its request is whole, and its application blocks: it needs a lane.
    Job(Job),
    /// Not all of its variables are there yet.
    NotYet(Connection, BytesMut),
    /// It is over.
    Done,
    /// It has to wait for its client or its application.
    Wait(Serving),
}

/// A request that is whole, for an application that blocks.
pub(super) struct Job {
    pub(super) connection: Connection,
    pub(super) exchange: Exchange,
    pub(super) request: Request,
    pub(super) application: Arc<dyn BlockingApplication>,
}

/// The rest of a connection's way, to its end or to a job.
pub(super) type Serving = Pin<Box<dyn Future<Output = Option<Job>> + Send>>;

/// Serves a connection as far as that goes without waiting. nginx has nearly always sent everything by now, so this
/// is all of most requests' way, and the reactor never hears of them. `received` is what came before.
pub(super) fn serve(shared: &Arc<Shared>, connection: Connection, mut received: BytesMut) -> Step {
    match connection.packet_now(shared, &mut received) {
        Ok(Arrived::Packet(packet)) => admit(shared, connection, packet, received),
        Ok(Arrived::Left) => Step::Done,
        Ok(Arrived::NotYet) => Step::NotYet(connection, received),
        Err(refusal) => Step::Wait(refuse(shared.clone(), connection, refusal)),
    }
}

/// Serves a connection that has not sent its variables yet.
pub(super) fn wait_for_packet(
    shared: Arc<Shared>,
    connection: Connection,
    mut received: BytesMut,
) -> Serving {
    // Small while it waits, because thousands may: what comes after is made when there is something to serve.
    Box::pin(async move {
        let packet = timeout_from_first_wait(
            shared.limits.read_timeout,
            first_packet(&shared, &connection, &mut received),
        )
        .await;
        let step = match packet {
            Some(Ok(Some(packet))) => admit(&shared, connection, packet, received),
            // A probe: connected and left without a byte.
            Some(Ok(None)) => Step::Done,
            Some(Err(refusal)) => Step::Wait(refuse(shared, connection, refusal)),
            None if received.is_empty() => {
                tracing::debug!(
                    "a connection was closed: it sent nothing in {:?}",
                    shared.limits.read_timeout
                );
                Step::Done
            }
            None => {
                let refusal = Refusal::TimedOut {
                    received: received.len(),
                    after: shared.limits.read_timeout,
                };
                Step::Wait(refuse(shared, connection, refusal))
            }
        };
        match step {
            Step::Job(job) => Some(job),
            Step::Done => None,
            Step::Wait(rest) => rest.await,
            Step::NotYet(..) => None,
        }
    })
}

/// The packet, or `None` when the peer has not sent a byte: it left, or the server is stopping.
async fn first_packet(
    shared: &Shared,
    connection: &Connection,
    received: &mut BytesMut,
) -> Result<Option<Packet>, Refusal> {
    let mut silent_for_too_long = std::pin::pin!(shared.stop.silent_for_too_long());
    poll_fn(|context| {
        let packet = connection.poll_packet(context, shared, received);
        if packet.is_pending() && received.is_empty() {
            return silent_for_too_long
                .as_mut()
                .poll(context)
                .map(|()| Ok(None));
        }
        packet
    })
    .await
}

/// Finds the application of a request, whose body begins with what was received behind the packet.
fn admit(shared: &Arc<Shared>, connection: Connection, packet: Packet, received: BytesMut) -> Step {
    if packet.header.modifier1 == Header::PING {
        return answer_ping(&connection);
    }
    let mut environ = Environ::new(packet.vars);
    let length = match examine(&environ, !received.is_empty(), &shared.limits) {
        Ok(length) => length,
        Err(refusal) => return Step::Wait(refuse(shared.clone(), connection, refusal)),
    };
    let start = connection.begin_body(shared, received.freeze(), length);
    let (mount, handler) = shared.router.route(&mut environ).unzip();
    let exchange = Exchange {
        head_only: environ.get("REQUEST_METHOD") == Some(b"HEAD"),
        started: Instant::now(),
        mount,
        _in_flight: InFlight::new(&shared.counters),
        environ: (shared.observer.is_some() || shared.limits.request_timeout.is_some())
            .then(|| environ.clone()),
        claim: Claim::default(),
        reported: AtomicBool::new(false),
    };
    match handler {
        Some(Handler::Blocking(application)) if connection.is_drained() => Step::Job(Job {
            connection,
            exchange,
            request: Request::new(environ, start.into()),
            application: application.clone(),
        }),
        Some(Handler::Blocking(application)) => Step::Wait(gathered(
            shared.clone(),
            connection,
            exchange,
            environ,
            (start, length),
            application.clone(),
        )),
        Some(Handler::Async(application)) => {
            let connection = Arc::new(connection);
            let body = incoming(shared, &connection, start, length);
            let request = Request::new(environ, body);
            answer(shared, connection, exchange, request, &**application)
        }
        None => {
            let response = Response::of_status(StatusCode::NOT_FOUND);
            respond(shared, Arc::new(connection), exchange, response)
        }
    }
}

/// Says that somebody is there. No request: nothing counts it, and no application sees it.
fn answer_ping(connection: &Connection) -> Step {
    // Nothing was sent before, so there is room; whoever does not want the answer does not need it.
    let _ = connection.stream.send_now([&Header::PONG.encode(), b""]);
    connection.let_go();
    Step::Done
}

/// A request whose body has not come yet, for an application that blocks.
fn gathered(
    shared: Arc<Shared>,
    connection: Connection,
    exchange: Exchange,
    environ: Environ,
    (start, length): (Bytes, u64),
    application: Arc<dyn BlockingApplication>,
) -> Serving {
    Box::pin(async move {
        match gather(&shared, &connection, start, length).await {
            Ok(body) => Some(Job {
                connection,
                exchange,
                request: Request::new(environ, body),
                application,
            }),
            Err(refusal) => refuse(shared, connection, refusal).await,
        }
    })
}

/// Calls an application that does not block.
fn answer(
    shared: &Arc<Shared>,
    connection: Arc<Connection>,
    exchange: Exchange,
    request: Request,
    application: &dyn Application,
) -> Step {
    let mut call = Call::of(application, request);
    // Nobody is woken by this first poll. If it is not the last, the runtime polls again at once.
    if let Poll::Ready(response) = call.poll(&mut Context::from_waker(Waker::noop())) {
        return respond(shared, connection, exchange, response);
    }
    let shared = shared.clone();
    Step::Wait(Box::pin(async move {
        let response = poll_fn(|context| match call.poll(context) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => connection.stream.poll_closed(context).map(|()| None),
        });
        let response = match shared.limits.request_timeout {
            Some(limit) => frozen::timeout(limit, response).await.unwrap_or_else(|| {
                tracing::error!(
                    "{} did not answer in {} s: answered with 504",
                    exchange.named(),
                    limit.as_secs_f64()
                );
                Some(Response::of_status(StatusCode::GATEWAY_TIMEOUT))
            }),
            None => response.await,
        };
        discard(call);
        let Some(response) = response else {
            tracing::debug!("the client left before it was answered");
            exchange.answered(&shared, CLIENT_LEFT, 0, false);
            return None;
        };
        match respond(&shared, connection, exchange, response) {
            Step::Wait(rest) => rest.await,
            _ => None,
        }
    }))
}

/// An application that was called; a panic in it is a 500.
enum Call {
    Runs(BoxFuture<Response>),
    Panicked,
}

impl Call {
    fn of(application: &dyn Application, request: Request) -> Self {
        std::panic::catch_unwind(AssertUnwindSafe(|| application.call(request)))
            .map_or(Self::Panicked, Self::Runs)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Response> {
        if let Self::Runs(call) = self {
            let poll = AssertUnwindSafe(|| call.as_mut().poll(context));
            if let Ok(polled) = std::panic::catch_unwind(poll) {
                return polled;
            }
        }
        tracing::error!("the application panicked: the request is answered with 500");
        Poll::Ready(Response::of_status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

/// Sends a response: at once, when the socket has room for all of it.
fn respond(
    shared: &Arc<Shared>,
    connection: Arc<Connection>,
    exchange: Exchange,
    mut response: Response,
) -> Step {
    if let Some(tunnel) = response.take_tunnel() {
        let shared = shared.clone();
        return Step::Wait(Box::pin(async move {
            duplex::switch(shared, connection, exchange, response, tunnel).await;
            None
        }));
    }
    match streaming::respond_now(shared, &connection, &exchange, response) {
        None => Step::Done,
        Some(rest) => {
            let shared = shared.clone();
            Step::Wait(Box::pin(async move {
                streaming::respond(&shared, &connection, &exchange, rest).await;
                None
            }))
        }
    }
}

/// Tells the peer why its request was not taken, and closes.
fn refuse(shared: Arc<Shared>, connection: Connection, refusal: Refusal) -> Serving {
    Box::pin(async move {
        reject(shared, connection, refusal).await;
        None
    })
}
