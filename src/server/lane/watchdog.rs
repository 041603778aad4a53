//! What each lane runs now, and what is done when that takes too long.
//!
//! An application that blocks is called on a lane, and nothing can take the lane back from it. What can be taken back
//! is the request: the runtime answers it with 504 in the application's place, and the lane is lost until the
//! application returns.

use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::StatusCode;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::{
    app::{Content, Response},
    server::{
        claim::Begun, connection::Connection, exchange::Exchange, response::writer::Opening,
        shared::Shared, sync::lock,
    },
};

/// Asks an application that takes too long to give up: an interpreter raises an exception in it.
pub trait Interrupt: Send + Sync + 'static {
    /// Called on the runtime's thread, so it must not block. It may act later, but never when
    /// [`Late::is_running`] is false: the lane then runs another request, or none.
    fn interrupt(&self, late: Late);
}

/// A request that runs for longer than it may.
#[derive(Clone)]
pub struct Late {
    lane: usize,
    since: Instant,
    exchange: Arc<Exchange>,
}

impl Late {
    /// The number of the lane that it runs on.
    #[must_use]
    pub fn lane(&self) -> usize {
        self.lane
    }

    /// Its method and path, for people: `GET /report`. What the client chose is escaped.
    #[must_use]
    pub fn request(&self) -> String {
        self.exchange.named()
    }

    /// How long it has run.
    #[must_use]
    pub fn running_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether the application still runs it, and the answer is still the application's.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.exchange.claim.is_the_applications()
    }
}

/// Knows what all lanes run, and takes requests away that run for too long.
pub(crate) struct Watchdog {
    lanes: Mutex<Vec<Arc<LaneWatch>>>,
    /// A socket whose peer has left. It takes the place of connections that are closed under an application.
    dead: OwnedFd,
}

impl Watchdog {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (dead, _) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok(Self {
            lanes: Mutex::default(),
            dead,
        })
    }

    /// One more, with the next number from 0.
    pub(crate) fn add(&self) -> Arc<LaneWatch> {
        let mut lanes = lock(&self.lanes);
        let lane_watch = Arc::new(LaneWatch {
            number: lanes.len(),
            watched: Mutex::default(),
        });
        lanes.push(lane_watch.clone());
        lane_watch
    }

    pub(crate) fn all(&self) -> Vec<Arc<LaneWatch>> {
        lock(&self.lanes).clone()
    }

    /// Answers a request in its application's place, or breaks off the answer that has begun. `false` when the
    /// application was quicker.
    pub(crate) fn revoke(&self, shared: &Shared, late: &Late, connection: &Connection) -> bool {
        let exchange = &late.exchange;
        match exchange.claim.revoke() {
            None => return false,
            Some(Begun::Yes) => {
                connection.abort_now();
                let (status, sent) = exchange.claim.sent();
                exchange.answered(shared, status, sent, false);
            }
            Some(Begun::No) => write_504(shared, connection, exchange),
        }
        connection.close_now(&self.dead);
        true
    }

    /// Answers a request that no lane is left for.
    pub(crate) fn answer_504(&self, shared: &Shared, connection: &Connection, exchange: &Exchange) {
        write_504(shared, connection, exchange);
        connection.close_now(&self.dead);
    }
}

/// Writes a 504, without waiting for room.
fn write_504(shared: &Shared, connection: &Connection, exchange: &Exchange) {
    let response = Response::of_status(StatusCode::GATEWAY_TIMEOUT);
    let Ok((head, body)) = response.into_wire() else {
        return connection.abort_now();
    };
    let body = match body.into_content() {
        Content::Bytes(text) => text,
        _ => bytes::Bytes::new(),
    };
    let Opening {
        framing,
        head,
        beginning,
    } = Opening::new(head, &body, exchange.head_only);
    let sent = connection.stream.send_now([&head, beginning]);
    // Nothing was sent before, so a peer that is there has room for it.
    let whole = sent.is_ok_and(|sent| sent == head.len() + beginning.len());
    exchange.answered(shared, framing.status(), framing.sent(), whole);
    if whole {
        connection.let_go();
    } else {
        connection.abort_now();
    }
}

/// Holds what one lane runs now. Only that lane and, when time is up, the runtime touch it.
pub(crate) struct LaneWatch {
    pub(crate) number: usize,
    watched: Mutex<Option<Watched>>,
}

struct Watched {
    since: Instant,
    /// When the application was told that its time is up.
    told: Option<Instant>,
    connection: Arc<Connection>,
    exchange: Arc<Exchange>,
}

/// How far what a lane runs has come.
pub(crate) enum Progress {
    /// It runs nothing, or its time is not up before this instant.
    InTime(Option<Instant>),
    /// Its time is up, and nobody has told it.
    Late(Late),
    /// It was told, and the time to act on that is up too.
    TooLate(Late, Arc<Connection>),
    /// Its request was taken away, and it has not come back.
    Lost,
}

impl LaneWatch {
    /// Begins a request.
    pub(crate) fn begin(&self, connection: &Arc<Connection>, exchange: &Arc<Exchange>) {
        *lock(&self.watched) = Some(Watched {
            since: Instant::now(),
            told: None,
            connection: connection.clone(),
            exchange: exchange.clone(),
        });
    }

    /// Ends a request, unless the lane has gone on to another.
    pub(crate) fn end(&self, exchange: &Arc<Exchange>) {
        let ended = lock(&self.watched).take_if(|it| Arc::ptr_eq(&it.exchange, exchange));
        // Outside the lock: it may be what closes the connection.
        drop(ended);
    }

    /// Ends what the lane has returned from, wherever the answer is now.
    pub(crate) fn clear(&self) {
        let ended = lock(&self.watched).take();
        drop(ended);
    }

    /// Has a time in which this process did not run count for nothing.
    pub(crate) fn leave_out(&self, frozen: Duration, now: Instant) {
        if let Some(watched) = lock(&self.watched).as_mut() {
            // What has begun after that has not been frozen for so long.
            watched.since = now.min(watched.since + frozen);
            watched.told = watched.told.map(|told| now.min(told + frozen));
        }
    }

    pub(crate) fn progress(&self, now: Instant, limit: Duration, grace: Duration) -> Progress {
        let mut watched = lock(&self.watched);
        let Some(watched) = watched.as_mut() else {
            return Progress::InTime(None);
        };
        let claim = &watched.exchange.claim;
        if claim.is_revoked() {
            return Progress::Lost;
        }
        if claim.is_settled() {
            return Progress::InTime(None);
        }
        let late = Late {
            lane: self.number,
            since: watched.since,
            exchange: watched.exchange.clone(),
        };
        let due = watched.since + limit;
        match watched.told {
            _ if now < due => Progress::InTime(Some(due)),
            None if !grace.is_zero() => {
                watched.told = Some(now);
                claim.mark_late();
                Progress::Late(late)
            }
            Some(told) if now < told + grace => Progress::InTime(Some(told + grace)),
            _ => Progress::TooLate(late, watched.connection.clone()),
        }
    }

    /// Whether the request was taken away and the lane has not come back.
    pub(crate) fn is_lost(&self) -> bool {
        lock(&self.watched)
            .as_ref()
            .is_some_and(|watched| watched.exchange.claim.is_revoked())
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Late")
            .field("lane", &self.lane)
            .field("request", &self.request())
            .finish_non_exhaustive()
    }
}
