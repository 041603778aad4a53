//! Requests for applications that block, on their way to a lane.

use std::{sync::Arc, time::Duration};

use super::{
    connection::Connection,
    exchange::Exchange,
    request::{body::Gathering, refusal::Refusal, reject::reject},
    shared::Shared,
};
use crate::app::{BlockingApplication, Request};

/// A request that is whole: a lane can call its application.
pub(super) struct Job {
    pub(super) connection: Arc<Connection>,
    pub(super) exchange: Exchange,
    pub(super) request: Request,
    pub(super) application: Arc<dyn BlockingApplication>,
}

/// A request whose body has not come whole.
pub(super) struct Unfinished {
    job: Job,
    body: Gathering,
}

impl Unfinished {
    /// Puts a request and the beginning of its body together.
    pub(super) fn new(job: Job, body: Gathering) -> Self {
        Self { job, body }
    }

    /// Receives the body on this thread for as long as its client keeps pace, and returns whether it is whole.
    pub(super) fn receive_at_pace(
        &mut self,
        shared: &Shared,
        grace: Duration,
    ) -> Result<bool, Refusal> {
        let connection = &self.job.connection;
        self.body.receive_at_pace(shared, connection, grace)
    }

    /// Says whether the body is in memory: one that goes into a file is never received on a lane.
    pub(super) fn is_in_memory(&self) -> bool {
        self.body.is_in_memory()
    }

    /// Receives the rest of the body on the runtime; `None` when that fails, which the peer is told.
    pub(super) async fn finish(mut self, shared: &Shared) -> Option<Job> {
        match self.body.receive(shared, &self.job.connection).await {
            Ok(()) => Some(self.into_job()),
            Err(refusal) => {
                // The room that it takes is for others, however long the client stays.
                drop(self.body);
                reject(shared, &self.job.connection, refusal).await;
                None
            }
        }
    }

    /// Returns the request with the body that has come.
    pub(super) fn into_job(self) -> Job {
        let mut job = self.job;
        *job.request.body_mut() = self.body.into_body();
        job
    }

    /// Gives the request up.
    pub(super) fn into_connection(self) -> Arc<Connection> {
        self.job.connection
    }
}
