//! From a connection's first byte to its answer.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use http::StatusCode;
use tokio::time::{sleep, timeout};

use super::{
    connection::Connection,
    core::Core,
    counters::InFlight,
    exchange::Exchange,
    refusal::Refusal,
    request_body::{gather, incoming},
    respond,
    seat::Claim,
};
use crate::{
    app::{BlockingApplication, Environ, Handler, Request, Response},
    protocol::{Packet, decimal},
};

/// A request that is whole, for an application that blocks.
pub(super) struct Job {
    pub(super) connection: Connection,
    pub(super) exchange: Exchange,
    pub(super) request: Request,
    pub(super) application: Arc<dyn BlockingApplication>,
}

/// Serves a connection to its end or, if its application blocks, until the request is whole.
///
/// Nothing is awaited unless it has to be: nginx has nearly always sent everything by now, so the first poll
/// does it all.
pub(super) async fn serve(core: Arc<Core>, connection: Connection) -> Option<Job> {
    let mut received = BytesMut::new();
    let packet = match timeout_from_first_wait(
        core.limits.read_timeout,
        first_packet(&core, &connection, &mut received),
    )
    .await
    {
        Some(Ok(Some(packet))) => packet,
        // A probe: connected and left without a byte.
        Some(Ok(None)) => return None,
        Some(Err(refusal)) => return refuse(&core, connection, refusal).await,
        None if received.is_empty() => {
            tracing::debug!(
                "a connection was closed: it sent nothing in {:?}",
                core.limits.read_timeout
            );
            return None;
        }
        None => {
            let refusal = Refusal::TimedOut {
                received: received.len(),
                after: core.limits.read_timeout,
            };
            return refuse(&core, connection, refusal).await;
        }
    };
    let mut environ = Environ::new(packet.vars);
    let length = match environ.get("CONTENT_LENGTH") {
        None | Some(b"") => 0,
        Some(digits) => match decimal(digits) {
            Some(length) => length,
            None => {
                let refusal = Refusal::ContentLength {
                    value: String::from_utf8_lossy(digits).into_owned(),
                };
                return refuse(&core, connection, refusal).await;
            }
        },
    };
    let start = received.freeze();
    let start = start.slice(
        ..start
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX)),
    );
    connection.body_left.store(
        length - u64::try_from(start.len()).unwrap_or(0),
        Ordering::Relaxed,
    );

    core.counters
        .request_bytes
        .increment(u64::try_from(start.len()).unwrap_or(0));
    let (mount, handler) = core.router.route(&mut environ).unzip();
    let handler = handler.cloned();
    let exchange = Exchange {
        head_only: environ.get("REQUEST_METHOD") == Some(b"HEAD"),
        started: Instant::now(),
        mount,
        _in_flight: InFlight::new(&core.counters),
        environ: (core.observer.is_some() || core.limits.request_timeout.is_some())
            .then(|| environ.clone()),
        claim: Claim::default(),
        told: AtomicBool::new(false),
    };
    match handler {
        Some(Handler::Blocking(application)) => {
            let body = match gather(&core, &connection, start, length).await {
                Ok(body) => body,
                Err(refusal) => return refuse(&core, connection, refusal).await,
            };
            Some(Job {
                connection,
                exchange,
                request: Request::new(environ, body),
                application,
            })
        }
        Some(Handler::Async(application)) => {
            let connection = Arc::new(connection);
            let body = incoming(&core, &connection, start, length);
            let request = Request::new(environ, body);
            let call = answer(|| application.call(request));
            let response = match core.limits.request_timeout {
                Some(limit) => timeout_from_first_wait(limit, call).await,
                None => Some(call.await),
            };
            let response = response.unwrap_or_else(|| {
                tracing::error!(
                    "{} did not answer in {} s: answered with 504",
                    exchange.named(),
                    core.limits
                        .request_timeout
                        .map_or(0.0, |it| it.as_secs_f64())
                );
                Response::of_status(StatusCode::GATEWAY_TIMEOUT)
            });
            respond::respond(&core, &connection, &exchange, response).await;
            None
        }
        None => {
            let response = Response::of_status(StatusCode::NOT_FOUND);
            respond::respond(&core, &connection, &exchange, response).await;
            None
        }
    }
}

/// The packet, or `None` when the peer has not sent a byte: it left, or the server is stopping.
async fn first_packet(
    core: &Core,
    connection: &Connection,
    received: &mut BytesMut,
) -> Result<Option<Packet>, Refusal> {
    let mut silent_for_too_long = std::pin::pin!(async {
        core.stop.draining().await;
        sleep(SILENCE_WHEN_STOPPING).await;
    });
    poll_fn(|context| {
        let packet = connection.poll_packet(context, core, received);
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

/// Tells the peer what was wrong, in a way that it gets to read it, and closes.
async fn refuse(core: &Core, connection: Connection, refusal: Refusal) -> Option<Job> {
    refusal.log(&connection);
    core.counters.refused(&refusal);
    if let Some(response) = refusal.response() {
        respond::write_refusal(core, &connection, response).await;
    }
    None
}

/// The answer of an application; a panic in it is a 500.
async fn answer(call: impl FnOnce() -> crate::app::BoxFuture<Response>) -> Response {
    let panicked = || {
        tracing::error!("the application panicked: the request is answered with 500");
        Response::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    };
    let Ok(mut future) = std::panic::catch_unwind(AssertUnwindSafe(call)) else {
        return panicked();
    };
    poll_fn(|context| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled,
            Err(_) => Poll::Ready(panicked()),
        }
    })
    .await
}

/// How long a stopping server waits for the first byte of a connection: nginx sends it with the next system call.
const SILENCE_WHEN_STOPPING: Duration = Duration::from_secs(1);

/// `None` when the time is up. No timer is made unless the future has to wait.
pub(super) async fn timeout_from_first_wait<F: Future>(
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut first = true;
    let tried = poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        // Polled again below, with the timer.
        Poll::Pending if std::mem::take(&mut first) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    match tried {
        Some(output) => Some(output),
        None => timeout(limit, future).await.ok(),
    }
}
