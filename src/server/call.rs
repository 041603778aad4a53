//! The call of an asynchronous application, until it has a response.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    task::{Context, Poll, Waker},
};

use http::StatusCode;

use super::{
    connection::Connection,
    exchange::{CLIENT_LEFT, Exchange},
    frozen,
    response::streaming::discard,
    shared::Shared,
};
use crate::app::{Application, BoxFuture, Request, Response};

/// An application that was called; a panic in it is a 500.
pub(super) enum Call {
    Runs(BoxFuture<Response>),
    Panicked,
}

impl Call {
    pub(super) fn new(application: &dyn Application, request: Request) -> Self {
        std::panic::catch_unwind(AssertUnwindSafe(|| application.call(request)))
            .map_or(Self::Panicked, Self::Runs)
    }

    /// Returns a response that needs no wait. This poll wakes nobody: [`Self::response`] polls again at once.
    pub(super) fn response_now(&mut self) -> Option<Response> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(response) => Some(response),
            Poll::Pending => None,
        }
    }

    /// Waits for the response; `None` when the client leaves before it is there, which is reported. One that takes
    /// longer than a request may is a 504.
    pub(super) async fn response(
        mut self,
        shared: &Shared,
        connection: &Connection,
        exchange: &Exchange,
    ) -> Option<Response> {
        let response = poll_fn(|context| match self.poll(context) {
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
        discard(self);
        if response.is_none() {
            tracing::debug!("the client left before it was answered");
            exchange.answered(shared, CLIENT_LEFT, 0, false);
        }
        response
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
