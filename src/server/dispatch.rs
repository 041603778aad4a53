//! A request's way, from its first byte to its answer.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
};

use bytes::BytesMut;
use http::StatusCode;

use super::{
    call::Call,
    connection::Connection,
    exchange::Exchange,
    job::{Job, Unfinished},
    request::{
        body::{Gathering, incoming},
        refusal::Refusal,
        reject::reject,
        validate::examine,
    },
    response::streaming::{Responded, respond, respond_now},
    shared::Shared,
    sync::timeout_from_first_wait,
    wire::{Arrived, Next, duplex},
};
use crate::{
    app::{Application, Body, Environ, Handler, Request, Response},
    protocol::Vars,
};

/// How far a connection has come.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are jobs, which go on at once"
)]
pub(super) enum Step {
    /// Its request is whole, and its application blocks: it needs a lane.
    Job(Job),
    /// Its next request is not there, or not the whole head. The bytes are what has come of it.
    NotYet(Arc<Connection>, BytesMut),
    /// Not all of its body is there yet, and its application blocks.
    Body(Unfinished),
    /// It is over.
    Done,
    /// It has to wait for its client or its application.
    Wait(Serving),
}

/// The rest of a connection's way, to its end or to a job.
pub(super) type Serving = Pin<Box<dyn Future<Output = Option<Job>> + Send>>;

/// Serves a connection as far as that goes without waiting. nginx has nearly always sent everything by now, so this
/// is all of most requests' way, and the reactor never hears of them. `received` is what came before.
pub(super) fn serve(
    shared: &Arc<Shared>,
    connection: Arc<Connection>,
    mut received: BytesMut,
) -> Step {
    match connection.read_head(shared, &mut received) {
        Ok(Arrived::Head(vars)) => admit(shared, connection, vars, received),
        Ok(Arrived::NotYet) => Step::NotYet(connection, received),
        Ok(Arrived::Answered | Arrived::Left) => Step::Done,
        Err(refusal) => refuse(shared.clone(), connection, refusal),
    }
}

/// Serves a connection whose next request's head is not there yet.
pub(super) fn wait_for_head(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    mut received: BytesMut,
) -> Serving {
    // Small while it waits, because thousands may: what comes after is made when there is something to serve.
    Box::pin(async move {
        let limit = shared.limits.read_timeout;
        let head = head_or_silence(&shared, &connection, &mut received);
        let step = match timeout_from_first_wait(limit, head).await {
            Some(Ok(Arrived::Head(vars))) => admit(&shared, connection, vars, received),
            Some(Ok(_)) => Step::Done,
            Some(Err(refusal)) => refuse(shared.clone(), connection, refusal),
            None if received.is_empty() => {
                tracing::debug!("a connection was closed: it sent nothing in {limit:?}");
                Step::Done
            }
            None => {
                let received = received.len();
                let after = limit;
                refuse(
                    shared.clone(),
                    connection,
                    Refusal::TimedOut { received, after },
                )
            }
        };
        to_the_end(&shared, step).await
    })
}

/// Waits for a head; [`Arrived::Left`] when a silent connection is closed because the server stops.
async fn head_or_silence(
    shared: &Shared,
    connection: &Connection,
    received: &mut BytesMut,
) -> Result<Arrived, Refusal> {
    let mut silent_for_too_long = std::pin::pin!(shared.stop.silent_for_too_long());
    poll_fn(|context| {
        let head = connection.poll_head(context, shared, received);
        if head.is_pending() && received.is_empty() {
            let stops = silent_for_too_long.as_mut().poll(context);
            return stops.map(|()| Ok(Arrived::Left));
        }
        head
    })
    .await
}

/// Goes on from a step, on the runtime.
async fn to_the_end(shared: &Arc<Shared>, step: Step) -> Option<Job> {
    match step {
        Step::Job(job) => Some(job),
        Step::NotYet(connection, received) => {
            wait_for_head(shared.clone(), connection, received).await
        }
        Step::Body(unfinished) => unfinished.finish(shared).await,
        Step::Done => None,
        Step::Wait(rest) => rest.await,
    }
}

/// Finds the application of a request, whose body begins with what was received behind the head.
fn admit(
    shared: &Arc<Shared>,
    connection: Arc<Connection>,
    vars: Vars,
    received: BytesMut,
) -> Step {
    let mut environ = Environ::new(vars);
    let length = match examine(&environ, !received.is_empty(), &shared.limits) {
        Ok(length) => length,
        Err(refusal) => return refuse(shared.clone(), connection, refusal),
    };
    let start = connection.begin_body(shared, received.freeze(), length);
    let (mount, handler) = shared.router.route(&mut environ).unzip();
    let exchange = Exchange::new(shared, &environ, mount);
    match handler {
        Some(Handler::Blocking(application)) => {
            let (body, rest) = if connection.is_read_whole() {
                (start.into(), None)
            } else {
                match Gathering::new(&shared.body_memory, &start, length) {
                    Ok(rest) => (Body::empty(), Some(rest)),
                    Err(refusal) => return refuse(shared.clone(), connection, refusal),
                }
            };
            let job = Job {
                connection,
                exchange,
                request: Request::new(environ, body),
                application: application.clone(),
            };
            match rest {
                None => Step::Job(job),
                Some(rest) => Step::Body(Unfinished::new(job, rest)),
            }
        }
        Some(Handler::Async(application)) => {
            let body = incoming(shared, &connection, start, length);
            let request = Request::new(environ, body);
            call(shared, connection, exchange, request, &**application)
        }
        None => {
            let response = Response::of_status(StatusCode::NOT_FOUND);
            answer(shared, connection, exchange, response)
        }
    }
}

/// Goes on with a body that was received on a lane: whole, or not, or refused.
pub(super) fn with_body(
    shared: &Arc<Shared>,
    unfinished: Unfinished,
    received: Result<bool, Refusal>,
) -> Step {
    match received {
        Ok(true) => Step::Job(unfinished.into_job()),
        Ok(false) => {
            let shared = shared.clone();
            Step::Wait(Box::pin(async move { unfinished.finish(&shared).await }))
        }
        Err(refusal) => refuse(shared.clone(), unfinished.into_connection(), refusal),
    }
}

/// Calls an application that does not block, and answers what it returns.
fn call(
    shared: &Arc<Shared>,
    connection: Arc<Connection>,
    exchange: Exchange,
    request: Request,
    application: &dyn Application,
) -> Step {
    let mut call = Call::new(application, request);
    if let Some(response) = call.response_now() {
        return answer(shared, connection, exchange, response);
    }
    let shared = shared.clone();
    Step::Wait(Box::pin(async move {
        let response = call.response(&shared, &connection, &exchange).await?;
        let step = answer(&shared, connection, exchange, response);
        to_the_end(&shared, step).await
    }))
}

/// Sends a response: at once, when the socket has room for all of it.
fn answer(
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
    let outgoing = match respond_now(shared, &connection, &exchange, response) {
        Responded::Ended(next) => return goes_on(connection, next),
        Responded::Waits(outgoing) => outgoing,
    };
    let shared = shared.clone();
    Step::Wait(Box::pin(async move {
        let next = respond(&shared, &connection, &exchange, outgoing).await;
        to_the_end(&shared, goes_on(connection, next)).await
    }))
}

/// What follows a response.
fn goes_on(connection: Arc<Connection>, next: Next) -> Step {
    match next {
        Next::Again => Step::NotYet(connection, BytesMut::new()),
        Next::Close | Next::Reset => Step::Done,
    }
}

/// Tells the peer why its request was not taken, and closes.
fn refuse(shared: Arc<Shared>, connection: Arc<Connection>, refusal: Refusal) -> Step {
    Step::Wait(Box::pin(async move {
        reject(&shared, &connection, refusal).await;
        None
    }))
}
