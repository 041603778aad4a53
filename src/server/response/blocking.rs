//! The response of an application that blocks: written at once, or handed to the spool when the client is slow.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;

use super::{
    framing::BodyFraming,
    spool::{Ending, Spool},
    writer::{Broken, Opening, log, report, rest_of, send_error},
};
use crate::{
    app::{Answer, AnswerError, Content, Failed, FileRange, Response},
    protocol::ResponseHead,
    server::{
        connection::Connection,
        exchange::{CLIENT_LEFT, Exchange},
        handoff::Handoff,
        hooks::Pause,
        lane::watchdog::LaneWatch,
        limits::{GRACE, PACE},
        net::stream::FILE_TURN,
        pace::Pace,
    },
};

/// How often it is looked whether a client is still there that nothing is sent to.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Where a blocking application's response goes.
pub(crate) struct Reply {
    handoff: Arc<Handoff>,
    pause: Arc<dyn Pause>,
    connection: Arc<Connection>,
    exchange: Arc<Exchange>,
    /// The watchdog's record of this lane, if the request's time is limited.
    lane_watch: Option<Arc<LaneWatch>>,
    framing: Option<BodyFraming>,
    /// Since when the client is slow, what is left goes through here.
    spool: Option<Arc<Spool>>,
    /// When it is next looked whether the client is still there, once something has asked.
    next_look: Option<Instant>,
    /// What the client has taken, and how long this thread has waited for it.
    pace: Pace,
    /// An error has ended it already.
    broken: bool,
    finished: bool,
}

impl Reply {
    pub(crate) fn new(
        handoff: Arc<Handoff>,
        pause: Arc<dyn Pause>,
        connection: Arc<Connection>,
        exchange: Exchange,
        lane_watch: Option<Arc<LaneWatch>>,
    ) -> Self {
        let exchange = Arc::new(exchange);
        if let Some(lane_watch) = &lane_watch {
            lane_watch.begin(&connection, &exchange);
        }
        Self {
            handoff,
            pause,
            connection,
            exchange,
            lane_watch,
            framing: None,
            spool: None,
            next_look: None,
            pace: Pace::new(GRACE, PACE),
            broken: false,
            finished: false,
        }
    }

    /// Ends the response as the application's outcome has it.
    fn settle(&mut self, outcome: Result<(), Failed>) {
        self.finished = true;
        let still_ours = self.exchange.claim.settle();
        if let Some(lane_watch) = &self.lane_watch {
            lane_watch.end(&self.exchange);
        }
        if !still_ours {
            tracing::warn!(
                "{} came back after its request was taken away from it",
                self.exchange.named()
            );
            if let Some(spool) = &self.spool {
                spool.end(Ending::Broken, 0);
            }
            return;
        }
        if self.framing.is_none() && !self.broken {
            if outcome.is_ok() {
                tracing::error!("the application returned without a response");
            }
            self.apologise();
            return self.end(Ok(()));
        }
        let is_complete = self
            .framing
            .as_ref()
            .map_or(Ok(()), BodyFraming::check_complete);
        self.end(match outcome {
            // The log has these already.
            _ if self.broken => Err(None),
            Err(Failed) => Err(None),
            Ok(()) => is_complete.map_err(Some),
        });
    }

    /// Answers in the application's place: 500, or 504 when it has failed because its time was up.
    fn apologise(&mut self) {
        let status = if self.exchange.claim.is_late() {
            StatusCode::GATEWAY_TIMEOUT
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let Ok((head, body)) = Response::of_status(status).into_wire() else {
            return;
        };
        if let Content::Bytes(text) = body.into_content() {
            // A client that has left needs no apology.
            let _ = self.open(head, &text);
        }
    }

    fn open(&mut self, head: ResponseHead, first: &[u8]) -> Result<(), AnswerError> {
        let opening = Opening::new(head, first, self.exchange.head_only);
        if opening.framing.is_unbounded() {
            self.connection.begin_unbounded();
        }
        self.framing = Some(opening.framing);
        let written = self.write([&opening.head, opening.beginning]);
        self.note(written)
    }

    /// An error once the request was taken away.
    fn check(&mut self) -> Result<(), AnswerError> {
        let taken = self.exchange.claim.is_revoked();
        self.note(if taken {
            Err(AnswerError::Gone)
        } else {
            Ok(())
        })
    }

    fn end(&mut self, outcome: Result<(), Broken>) {
        let (status, body_bytes) = self.outcome();
        let shared = &self.handoff.shared;
        if let Some(spool) = &self.spool {
            if let Err(Some(error)) = &outcome {
                log(shared, error);
            }
            let ending = if outcome.is_ok() {
                Ending::Whole
            } else {
                Ending::Broken
            };
            return spool.end(ending, body_bytes);
        }
        // Nothing was sent, and nobody would read an apology.
        let status = if status == 0 { CLIENT_LEFT } else { status };
        report(shared, &self.exchange, (status, body_bytes), &outcome);
        let next = self.connection.end_now(shared, outcome.is_ok());
        self.handoff.go_on(&self.connection, next);
    }

    /// Sends both chunks or leaves what the client does not take to the spool.
    fn write(&mut self, chunks: [&[u8]; 2]) -> Result<(), AnswerError> {
        let total = chunks.iter().map(|chunk| chunk.len()).sum();
        let mut sent = 0;
        while sent < total && self.spool.is_none() {
            match self.connection.stream.send_now(rest_of(chunks, sent)) {
                Ok(count) => {
                    sent += count;
                    self.pace.moved(count);
                    if sent < total {
                        // It took what it has room for: to try again would be in vain.
                        self.wait()?;
                    }
                }
                Err(error) => self.wait_unless_broken(error)?,
            }
        }
        match &self.spool {
            Some(spool) if sent < total => {
                let spool = spool.clone();
                rest_of(chunks, sent)
                    .into_iter()
                    .try_for_each(|rest| spool.push(rest, &*self.pause))
            }
            _ => Ok(()),
        }
    }

    /// Sends a part of a file or leaves the rest to the spool. What is left of it then was not sent.
    fn write_file(&mut self, range: &mut FileRange) -> Result<(), AnswerError> {
        while range.length > 0 && self.spool.is_none() {
            match self.connection.stream.send_file_now(range) {
                Ok(count) => {
                    self.pace.moved(count);
                    if count < FILE_TURN && range.length > 0 {
                        self.wait()?;
                    }
                }
                Err(error) => self.wait_unless_broken(error)?,
            }
        }
        match &self.spool {
            Some(spool) if range.length > 0 => {
                spool.push_file(range.clone())?;
                range.length = 0;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn wait_unless_broken(&mut self, error: io::Error) -> Result<(), AnswerError> {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(send_error(error));
        }
        self.wait()
    }

    /// Waits for a client that keeps pace; for one that does not, opens the spool.
    fn wait(&mut self) -> Result<(), AnswerError> {
        let patience = self.pace.patience();
        if patience.is_zero() {
            let (status, _) = self.outcome();
            self.spool = Some(Spool::open(
                &self.handoff,
                &self.connection,
                &self.exchange,
                status,
            ));
            return Ok(());
        }
        let Self {
            pace,
            pause,
            connection,
            ..
        } = self;
        let mut waited = Ok(());
        pace.waiting(|| pause.pause(&mut || waited = connection.wait_writable(patience)));
        Ok(waited?)
    }

    /// Remembers that nothing more can be sent, and says why unless the client just left.
    fn note(&mut self, written: Result<(), AnswerError>) -> Result<(), AnswerError> {
        let (_, body_bytes) = self.outcome();
        self.exchange.claim.progressed(body_bytes);
        written.inspect_err(|error| {
            self.broken = true;
            if !matches!(error, AnswerError::Gone) {
                let shared = &self.handoff.shared;
                shared.log_limit.say("a response was cut off", || {
                    tracing::warn!("a response was cut off: {error}");
                });
            }
        })
    }

    /// The status, 0 if none was sent, and the bytes of the body.
    fn outcome(&self) -> (u16, u64) {
        self.framing
            .as_ref()
            .map_or((0, 0), |framing| (framing.status(), framing.sent()))
    }

    fn framing(&mut self) -> Result<&mut BodyFraming, AnswerError> {
        self.framing.as_mut().ok_or(AnswerError::OutOfOrder)
    }
}

impl Answer for Reply {
    fn begin(&mut self, head: ResponseHead, first: &[u8]) -> Result<(), AnswerError> {
        if self.framing.is_some() {
            return Err(AnswerError::OutOfOrder);
        }
        if self.broken {
            return Err(AnswerError::Gone);
        }
        if !self.exchange.claim.begin(head.status()) {
            return self.note(Err(AnswerError::Gone));
        }
        let corrected = &self.handoff.shared.corrected;
        corrected.say(self.exchange.mount, head.corrections());
        self.open(head, first)
    }

    fn send(&mut self, chunk: &[u8]) -> Result<(), AnswerError> {
        self.check()?;
        let clipped = self.framing()?.clip(chunk);
        let written = if clipped.is_empty() && !chunk.is_empty() {
            // Nothing is written that could fail.
            if self.connection.has_hung_up() {
                Err(AnswerError::Gone)
            } else {
                Ok(())
            }
        } else {
            self.write([b"", clipped])
        };
        self.note(written)
    }

    fn send_file(&mut self, mut file: FileRange) -> Result<(), AnswerError> {
        self.check()?;
        file.length = self.framing()?.fit(file.length);
        let length = file.length;
        let written = self.write_file(&mut file);
        self.framing()?.count(length - file.length);
        self.note(written)
    }

    fn look(&mut self) -> Result<(), AnswerError> {
        self.check()?;
        let now = Instant::now();
        let due = *self.next_look.get_or_insert(now + LOOK_INTERVAL);
        if now < due {
            return Ok(());
        }
        self.next_look = Some(now + LOOK_INTERVAL);
        let left = match &self.spool {
            Some(spool) => spool.has_failed(),
            None => self.connection.has_left(),
        };
        if left {
            tracing::debug!("the client left while its response was being made");
            return self.note(Err(AnswerError::Gone));
        }
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.framing.is_some()
    }

    fn takes_more(&self) -> bool {
        self.framing.as_ref().is_none_or(BodyFraming::takes_more)
    }

    fn is_open(&self) -> bool {
        !self.broken && !self.exchange.claim.is_revoked()
    }

    fn finish(mut self: Box<Self>, outcome: Result<(), Failed>) {
        self.settle(outcome);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.finished {
            self.settle(Err(Failed));
        }
    }
}
