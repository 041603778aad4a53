//! Threads that accept connections and answer what can be answered at once.

pub(crate) mod events;
mod leader;
pub(crate) mod scheduler;
pub(crate) mod watchdog;

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rustix::io::Errno;

use self::{
    events::Events,
    scheduler::{LaneState, Scheduler},
    watchdog::LaneWatch,
};
use super::{
    connection::Connection,
    dispatch::{Step, serve, with_body},
    handoff::Handoff,
    hooks::{LaneObserver, Pause},
    job::{Job, Unfinished},
    limits::BODY_GRACE,
    net::fd::abort_if_closed_under_us,
    response::blocking::Reply,
    shared::Shared,
};

/// How long accepting rests when it fails: mostly because the process or the system has no descriptor left.
const EXHAUSTED_REST: Duration = Duration::from_millis(100);

/// How long a lane waits for the first byte of a connection itself.
const MOMENT: Duration = Duration::from_micros(100);

/// So many clients are not waited for after one that was waited for in vain: a flood of them must not hold the lanes.
const MISTRUST: u32 = 16;

/// A thread's share of a server: it accepts connections and runs applications on itself.
///
/// A request that has arrived whole is read, routed and answered where it was accepted. One that has not is left
/// to the runtime, and comes back to a lane when it is whole if its application blocks. So a slow client holds
/// no lane, and a quick request is handed to nobody.
pub struct Lane {
    shared: Arc<Shared>,
    handoff: Arc<Handoff>,
    events: Arc<Events>,
    scheduler: Arc<Scheduler>,
    state: Arc<LaneState>,
    lane_watch: Arc<LaneWatch>,
    lane_observer: Option<Arc<dyn LaneObserver>>,
    /// Whether connections are granted a [`MOMENT`], and bodies their grace.
    moments: Trust,
    bodies: Trust,
}

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        handoff: Arc<Handoff>,
        events: Arc<Events>,
        scheduler: Arc<Scheduler>,
        lane_watch: Arc<LaneWatch>,
        lane_observer: Option<Arc<dyn LaneObserver>>,
    ) -> Self {
        let state = scheduler.add();
        Self {
            shared,
            handoff,
            events,
            scheduler,
            state,
            lane_watch,
            lane_observer,
            moments: Trust::default(),
            bodies: Trust::default(),
        }
    }

    /// Its number among the server's lanes, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.lane_watch.number
    }

    /// Accepts and answers on this thread until the server has stopped.
    pub fn run(&self, pause: &Arc<dyn Pause>) {
        let _runtime = self.shared.runtime.enter();
        self.state.begins();
        let mut next = None;
        let mut guess = Guess::default();
        let mut rests_until = None;
        while !self.has_to_leave() {
            let mut has_taken = false;
            match next.and_then(|number| self.accept(number)) {
                Some(Ok(connection)) => {
                    has_taken = true;
                    self.shared.accept_errors.succeeded();
                    match connection {
                        Some(connection) => self.take(connection, pause),
                        None => self.events.queue_last(),
                    }
                    self.has_answered();
                }
                Some(Err(error)) if self.has_to_rest(error) => {
                    rests_until = Some(Instant::now() + EXHAUSTED_REST);
                }
                Some(Err(_)) | None => {}
            }
            while let Some(job) = self.handoff.next_job() {
                self.answer(job, pause);
                self.has_answered();
            }
            if !guess.is_there_more(has_taken) {
                next = self.wait(pause, rests_until.take());
            }
        }
        // What nobody will answer any more is closed: it would keep the server's state, and that it, alive.
        while self.handoff.next_job().is_some() {}
    }

    /// A connection from one of the sockets, unless the runtime has it; `None` when there is no socket of that number
    /// to accept on now.
    fn accept(&self, number: usize) -> Option<Result<Option<Arc<Connection>>, Errno>> {
        if !self.may_accept() {
            return None;
        }
        // Held until the connection counts: a stop takes the listeners, then waits for what counts.
        let listeners = self.shared.listeners();
        let listener = listeners.get(number)?;
        Some(
            listener
                .accept_now()
                .map(|fd| self.handoff.take_in(listener, fd)),
        )
    }

    /// Serves a new connection as far as that goes without waiting.
    fn take(&self, connection: Arc<Connection>, pause: &Arc<dyn Pause>) {
        let step = AssertUnwindSafe(|| {
            let step = match serve(&self.shared, connection, BytesMut::new()) {
                Step::NotYet(connection, received) if self.is_coming(&connection, pause) => {
                    serve(&self.shared, connection, received)
                }
                step => step,
            };
            match step {
                Step::Body(unfinished) => self.receive(unfinished, pause),
                step => step,
            }
        });
        match std::panic::catch_unwind(step) {
            Ok(Step::Job(job)) => self.answer(job, pause),
            Ok(Step::Done | Step::Body(_)) => {}
            Ok(Step::NotYet(connection, received)) => {
                self.handoff.await_head(connection, received);
                self.events.queue_last();
            }
            Ok(Step::Wait(serving)) => {
                self.handoff.leave_to_runtime(serving);
                self.events.queue_last();
            }
            Err(_) => tracing::error!("serving a request panicked: its connection is closed"),
        }
    }

    /// Whether a connection that has not sent its request does so in a moment. nginx may be between connect(2) and
    /// write(2), and a sleep of that length costs much less than to go by way of the runtime.
    fn is_coming(&self, connection: &Connection, pause: &Arc<dyn Pause>) -> bool {
        if !self.moments.are_worth_it() {
            return false;
        }
        let mut comes = false;
        self.state.gives_up_its_turn();
        pause.pause(&mut || comes = connection.wait_readable(MOMENT).unwrap_or(false));
        self.state.has_its_turn();
        if !comes {
            self.moments.was_vain();
        }
        comes
    }

    /// Receives the body of a request, as long as its client keeps pace. nginx has nearly always gathered all of it, and
    /// to go by way of the runtime costs more than a few short waits.
    fn receive(&self, mut unfinished: Unfinished, pause: &Arc<dyn Pause>) -> Step {
        let grace = if self.bodies.are_worth_it() {
            BODY_GRACE
        } else {
            Duration::ZERO
        };
        let mut received = Ok(false);
        self.state.gives_up_its_turn();
        pause.pause(&mut || received = unfinished.receive_at_pace(&self.shared, grace));
        self.state.has_its_turn();
        if matches!(received, Ok(false)) && !grace.is_zero() && unfinished.is_in_memory() {
            self.bodies.was_vain();
        }
        with_body(&self.shared, unfinished, received)
    }

    fn answer(&self, job: Job, pause: &Arc<dyn Pause>) {
        let Job {
            connection,
            exchange,
            request,
            application,
        } = job;
        let number = self.lane_watch.number;
        if let Some(lane_observer) = &self.lane_observer {
            lane_observer.began(number, request.environ());
        }
        let is_timed = self.shared.limits.request_timeout.is_some();
        let reply = Box::new(Reply::new(
            self.handoff.clone(),
            pause.clone(),
            connection,
            exchange,
            is_timed.then(|| self.lane_watch.clone()),
        ));
        // A reply that is dropped on the way out answers for the application.
        let call = AssertUnwindSafe(|| application.call(request, reply));
        if std::panic::catch_unwind(call).is_err() {
            tracing::error!("the application panicked");
        }
        if is_timed {
            self.lane_watch.clear();
        }
        if let Some(lane_observer) = &self.lane_observer {
            lane_observer.ended(number);
        }
    }

    /// Whether accepting has to rest; says so.
    fn has_to_rest(&self, error: Errno) -> bool {
        if matches!(error, Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) {
            return false;
        }
        abort_if_closed_under_us(error);
        if error == Errno::MFILE && self.shared.open_files.raise() {
            return false;
        }
        self.shared.accept_errors.failed(error);
        true
    }

    fn has_answered(&self) {
        if self.scheduler.has_many_lanes() {
            self.scheduler.has_answered();
        }
    }

    fn may_accept(&self) -> bool {
        !self.shared.slots.is_full() && !self.shared.stop.is_draining()
    }

    fn has_to_leave(&self) -> bool {
        self.shared.stop.has_to_leave()
    }

    /// Waits for something to do: the number of the listener that has a connection, if it is that.
    fn wait(&self, pause: &Arc<dyn Pause>, rests_until: Option<Instant>) -> Option<usize> {
        let scheduler = Some(&self.scheduler).filter(|it| it.has_many_lanes());
        let mut next = None;
        pause.pause(&mut || {
            if let Some(scheduler) = scheduler {
                scheduler.lead(&self.state, pause.turns(), || self.events.is_any_waiting());
            }
            next = self.wait_for_event(rests_until);
            if let Some(scheduler) = scheduler {
                // At a stop each lane that returns calls the next.
                scheduler.leave(&self.state, self.has_to_leave());
            }
        });
        self.state.has_its_turn();
        next
    }

    fn wait_for_event(&self, rests_until: Option<Instant>) -> Option<usize> {
        let rest = rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        let rest = rest.filter(|rest| !rest.is_zero());
        if self.shared.slots.is_full() && !self.shared.stop.is_draining() {
            let limit = self.shared.limits.in_flight;
            self.shared.accept_errors.is_full(limit);
        }
        self.events.accept(rest.is_none() && self.may_accept());
        self.events.wait(rest)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lane").finish_non_exhaustive()
    }
}

/// Whether clients are worth a wait, judged by the last ones.
#[derive(Default)]
struct Trust {
    /// How many are not waited for.
    passes: AtomicU32,
}

impl Trust {
    fn are_worth_it(&self) -> bool {
        let passes = self.passes.load(Ordering::Relaxed);
        if passes > 0 {
            self.passes.store(passes - 1, Ordering::Relaxed);
        }
        passes == 0
    }

    fn was_vain(&self) {
        self.passes.store(MISTRUST, Ordering::Relaxed);
    }
}

/// Whether one connection more waits, judged by the last time. To be told of it by epoll_wait(2) costs less than an
/// accept(2) in vain, and more than one that is not.
#[derive(Default)]
struct Guess {
    tries: bool,
    /// Connections left until the next try.
    patience: u32,
}

/// After a guess that was wrong, so many connections pass before the next.
const PATIENCE: u32 = 16;

impl Guess {
    fn is_there_more(&mut self, has_taken: bool) -> bool {
        if self.tries && !has_taken {
            self.patience = PATIENCE;
        } else if has_taken {
            self.patience = self.patience.saturating_sub(1);
        }
        self.tries = has_taken && self.patience == 0;
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_wait_in_vain_some_clients_get_none() {
        let trust = Trust::default();
        assert!(trust.are_worth_it() && trust.are_worth_it());
        trust.was_vain();
        let passed = (0..).take_while(|_| !trust.are_worth_it()).count();
        assert_eq!(passed, usize::try_from(MISTRUST).unwrap());
    }
}
