//! Threads that accept connections and answer what can be answered at once.

pub(crate) mod scheduler;
pub(crate) mod watchdog;

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    fd::OwnedFd,
    io::Errno,
};

use self::{scheduler::Post, watchdog::LaneWatch};
use super::{
    connection::Connection,
    dispatch::{Job, Step, serve},
    handoff::Handoff,
    hooks::{LaneObserver, Pause},
    net::fd::abort_if_closed_under_us,
    response::blocking::Reply,
    shared::Shared,
};

/// How long accepting rests when it fails: mostly because the process or the system has no descriptor left.
const EXHAUSTED_REST: Duration = Duration::from_millis(100);

/// How long a lane waits for the first byte of a connection itself.
const MOMENT: Duration = Duration::from_micros(100);

/// So many connections are not waited for after one that stayed silent: a flood of them must not hold the lanes.
const MISTRUST: u32 = 16;

/// A thread's share of a server: it accepts connections and runs applications on itself.
///
/// A request that has arrived whole is read, routed and answered where it was accepted. One that has not is left
/// to the runtime, and comes back to a lane when it is whole if its application blocks. So a slow client holds
/// no lane, and a quick request is handed to nobody.
pub struct Lane {
    shared: Arc<Shared>,
    handoff: Arc<Handoff>,
    lane_watch: Arc<LaneWatch>,
    post: Arc<Post>,
    lane_observer: Option<Arc<dyn LaneObserver>>,
    /// How many connections are not granted a [`MOMENT`], because one was that stayed silent.
    vain_moments: AtomicU32,
    /// Everything a lane waits for.
    all: OwnedFd,
    /// The same without new connections, for a server that is full or stopping.
    but_new: OwnedFd,
}

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        handoff: Arc<Handoff>,
        lane_watch: Arc<LaneWatch>,
        lane_observer: Option<Arc<dyn LaneObserver>>,
    ) -> std::io::Result<Self> {
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let but_new = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, listener) in (0..).zip(shared.listeners().iter()) {
            // One lane is woken for a connection, not all of them.
            watch(&all, listener, number, true)?;
        }
        watch(&all, handoff.has_jobs(), JOBS, true)?;
        watch(&all, &shared.stop.drain, NOTHING, false)?;
        watch(&but_new, handoff.has_jobs(), JOBS, true)?;
        watch(&but_new, shared.slots.room(), NOTHING, false)?;
        for set in [&all, &but_new] {
            watch(set, &shared.unseen, UNSEEN, true)?;
            watch(set, &shared.stop.leave, NOTHING, false)?;
        }
        let post = shared.crew.add();
        Ok(Self {
            shared,
            handoff,
            lane_watch,
            post,
            lane_observer,
            vain_moments: AtomicU32::new(0),
            all,
            but_new,
        })
    }

    /// Its number among the server's lanes, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.lane_watch.number
    }

    /// Accepts and answers on this thread until the server has stopped.
    pub fn run(&self, pause: &Arc<dyn Pause>) {
        let _runtime = self.shared.runtime.enter();
        let crew = &self.shared.crew;
        crew.joins(&self.post);
        let mut next = None;
        let mut guess = Guess::default();
        let mut resting = false;
        while !self.has_to_leave() {
            let mut has_taken = false;
            // First what this lane alone was woken for: if it did other work before, an application could block
            // it for long while every other lane sleeps.
            let accepted = next.and_then(|number| self.accept(number));
            self.pass_on();
            match accepted {
                Some(Ok(Some(connection))) => {
                    has_taken = true;
                    self.shared.accept_errors.succeeded();
                    self.take(connection, pause);
                    crew.has_answered();
                }
                Some(Ok(None)) => {
                    has_taken = true;
                    self.shared.accept_errors.succeeded();
                    self.queue_last();
                    crew.has_answered();
                }
                Some(Err(error)) => resting = self.has_to_rest(error),
                None => {}
            }
            while let Some(job) = self.handoff.next_job() {
                self.answer(job, pause);
                crew.has_answered();
            }
            if guess.is_there_more(has_taken) || has_taken && crew.is_watched() {
                continue;
            }
            next = self.wait(pause, resting);
            resting = false;
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
        let step = AssertUnwindSafe(|| match serve(&self.shared, connection, BytesMut::new()) {
            Step::NotYet(connection, received) if self.is_coming(&connection, pause) => {
                serve(&self.shared, connection, received)
            }
            step => step,
        });
        match std::panic::catch_unwind(step) {
            Ok(Step::Job(job)) => self.answer(job, pause),
            Ok(Step::Done) => {}
            Ok(Step::NotYet(connection, received)) => {
                self.handoff.await_head(connection, received);
                self.queue_last();
            }
            Ok(Step::Wait(serving)) => {
                self.handoff.leave_to_runtime(serving);
                self.queue_last();
            }
            Err(_) => tracing::error!("serving a request panicked: its connection is closed"),
        }
    }

    /// Whether a connection that has not sent its request does so in a moment. nginx may be between connect(2) and
    /// write(2), and a sleep of that length costs much less than to go by way of the runtime.
    fn is_coming(&self, connection: &Connection, pause: &Arc<dyn Pause>) -> bool {
        let vain = self.vain_moments.load(Ordering::Relaxed);
        if vain > 0 {
            self.vain_moments.store(vain - 1, Ordering::Relaxed);
            return false;
        }
        let mut comes = false;
        self.post.gives_up_its_turn();
        pause.pause(&mut || comes = connection.wait_readable(MOMENT).unwrap_or(false));
        self.post.has_its_turn();
        if !comes {
            self.vain_moments.store(MISTRUST, Ordering::Relaxed);
        }
        comes
    }

    /// Lets the other lanes and processes be woken before this one. A connection that was left to the runtime
    /// comes back to this process, so taking every one of them would leave the others idle.
    fn queue_last(&self) {
        for (number, listener) in (0..).zip(self.shared.listeners().iter()) {
            rewatch(&self.all, listener, number);
        }
    }

    /// Does that, and is told of connections and jobs that are there already: the kernel tells of each only as many
    /// lanes as it takes to find one that waits, and that one may have held back.
    fn look_anew(&self, set: &OwnedFd) {
        self.queue_last();
        rewatch(set, self.handoff.has_jobs(), JOBS);
    }

    /// Has another lane look for what this one knows to be waiting and leaves behind as it goes to work.
    fn pass_on(&self) {
        if self.post.knew_more() && self.is_any_waiting() && !self.shared.crew.tell_napping() {
            self.shared.unseen.raise();
        }
    }

    fn is_any_waiting(&self) -> bool {
        let listeners = self.shared.listeners();
        let jobs = self.handoff.has_jobs().as_fd();
        let all: Vec<_> = listeners.iter().map(AsFd::as_fd).chain([jobs]).collect();
        are_readable(&all)
    }

    /// Whether what this lane was woken for is still there.
    fn is_waiting(&self, number: u64) -> bool {
        if number == JOBS {
            return are_readable(&[self.handoff.has_jobs().as_fd()]);
        }
        let listeners = self.shared.listeners();
        let listener = usize::try_from(number)
            .ok()
            .and_then(|it| listeners.get(it));
        listener.is_some_and(|it| are_readable(&[it.as_fd()]))
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

    fn may_accept(&self) -> bool {
        !self.shared.slots.is_full() && !self.shared.stop.is_draining()
    }

    fn has_to_leave(&self) -> bool {
        self.shared.stop.has_to_leave()
    }

    /// Waits for something to do: the number of the socket that has a connection, if it is that.
    fn wait(&self, pause: &Arc<dyn Pause>, resting: bool) -> Option<usize> {
        let set = if self.may_accept() && !resting {
            &self.all
        } else {
            // Lowered, then looked at again: a place given back in between is seen, and one given back long ago
            // wakes nobody.
            self.shared.slots.room().lower();
            if self.shared.slots.is_full() && !self.shared.stop.is_draining() {
                self.shared
                    .accept_errors
                    .is_full(self.shared.limits.in_flight);
            }
            if self.may_accept() && !resting {
                // Other lanes may have been about to see it.
                self.shared.slots.room().raise();
                return None;
            }
            &self.but_new
        };
        let rest = Timespec {
            tv_sec: 0,
            tv_nsec: EXHAUSTED_REST.subsec_nanos().into(),
        };
        let timeout = resting.then_some(rest);
        let crew = &self.shared.crew;
        crew.rests(&self.post);
        let mut number = NOTHING;
        // What turns out to be no work for this lane costs it no turn at an interpreter's lock.
        pause.pause(&mut || {
            loop {
                // One only: of several, the kernel gives first what it woke this lane for.
                let mut events = [epoll::Event {
                    flags: epoll::EventFlags::empty(),
                    data: epoll::EventData::new_u64(NOTHING),
                }];
                // Whatever it was, the loop looks at everything.
                if let Err(error) = epoll::wait(set, &mut events, timeout.as_ref()) {
                    abort_if_closed_under_us(error);
                }
                let [event] = events;
                number = event.data.u64();
                if number == NOTHING {
                    crew.begins(&self.post);
                    break;
                }
                if number == UNSEEN {
                    self.shared.unseen.lower();
                    self.post.knows_more();
                    self.look_anew(set);
                    continue;
                }
                let takes_over =
                    || crew.takes_over(&self.post, pause.turns(), || self.look_anew(set));
                let mut has_to = takes_over();
                // Before it looks at anything else: no lane behind this one was told.
                while !has_to && self.is_waiting(number) {
                    has_to = takes_over();
                }
                if has_to {
                    break;
                }
            }
        });
        self.post.has_its_turn();
        usize::try_from(number).ok().filter(|_| number < UNSEEN)
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

/// What a lane is woken for beside connections, whose sockets are numbered from 0: a stop, or room for more.
const NOTHING: u64 = u64::MAX;
/// What came back from the runtime.
const JOBS: u64 = u64::MAX - 1;
/// What another lane knows to be waiting, and has left behind.
const UNSEEN: u64 = u64::MAX - 2;

/// Whether one of them is readable now.
fn are_readable(these: &[BorrowedFd<'_>]) -> bool {
    let mut polled: Vec<_> = these
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0)
}

/// Watches anew what is watched by one lane at a time.
fn rewatch(set: &OwnedFd, what: impl AsFd, number: u64) {
    if let Err(error) = epoll::delete(set, &what).and_then(|()| watch(set, &what, number, true)) {
        abort_if_closed_under_us(error);
        tracing::error!(%error, "a socket cannot be watched");
    }
}

fn watch(set: &OwnedFd, what: impl AsFd, number: u64, exclusive: bool) -> rustix::io::Result<()> {
    let mut flags = epoll::EventFlags::IN;
    if exclusive {
        flags |= epoll::EventFlags::EXCLUSIVE;
    }
    epoll::add(set, what, epoll::EventData::new_u64(number), flags)
}

impl fmt::Debug for Lane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lane").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::watchdog::Watchdog;
    use super::*;
    use crate::{
        address::SocketAddress,
        server::{Binding, Listener},
    };

    #[tokio::test]
    async fn a_lane_that_goes_to_work_has_another_look_for_what_it_leaves_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Listener::bind(&Binding::new(SocketAddress::Unix(path.clone()))).unwrap();
        let shared = Shared::for_tests(vec![listener]);
        let handoff = Handoff::new(shared.clone()).unwrap();
        let lane_watch = Watchdog::new().unwrap().add();
        let lane = Lane::new(shared.clone(), handoff, lane_watch, None).unwrap();
        let has_another_look = || {
            let is_told = are_readable(&[shared.unseen.as_fd()]);
            shared.unseen.lower();
            is_told
        };

        lane.post.knows_more();
        lane.pass_on();
        assert!(!has_another_look(), "nothing waits");

        let _waits = UnixStream::connect(path).unwrap();
        lane.pass_on();
        assert!(!has_another_look(), "others were told of it");
        lane.post.knows_more();
        lane.pass_on();
        assert!(has_another_look());
        lane.pass_on();
        assert!(!has_another_look(), "it was said once");
    }
}
