//! A server that runs, and how it stops.

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration, time::Instant};

use bytes::BytesMut;
use rustix::io::Errno;
use tokio::{runtime::Handle, time::sleep};

use super::{
    Interrupt, Lane, LaneObserver, Late, Limits, Listener, Observer,
    frozen::{self, Looks},
    handoff::Handoff,
    lane::{
        events::Events,
        scheduler::Scheduler,
        watchdog::{Progress, Watchdog},
    },
    limits::INTERRUPTED_GRACE,
    shared::Shared,
};
use crate::app::Router;

/// While every lane is lost, whether requests wait for one is looked up this often.
const LOST_INTERVAL: Duration = Duration::from_millis(100);

/// What a server is made of.
#[non_exhaustive]
pub struct Parts {
    /// The sockets to accept on.
    pub listeners: Vec<Listener>,
    /// The applications.
    pub router: Router,
    /// What one client, and one request, may take.
    pub limits: Limits,
    /// Where what has to wait does so.
    pub runtime: Handle,
    /// Who is told of each answered request.
    pub observer: Option<Arc<dyn Observer>>,
    /// Who is told what each lane runs.
    pub lane_observer: Option<Arc<dyn LaneObserver>>,
}

impl Parts {
    /// A server on these sockets, with the default limits and without observers. What has to wait does so on `runtime`.
    #[must_use]
    pub fn new(listeners: Vec<Listener>, router: Router, runtime: Handle) -> Self {
        Self {
            listeners,
            router,
            limits: Limits::default(),
            runtime,
            observer: None,
            lane_observer: None,
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Parts")
            .field("listeners", &self.listeners)
            .field("router", &self.router)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What becomes of the connections that wait in the listen queues when a server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Queued {
    /// They are served: nobody else accepts on these sockets.
    Served,
    /// They are left to the other processes that accept on the same sockets.
    LeftToOthers,
}

/// A server's runtime half: give its [`Lane`]s to threads, then stop it when the time has come.
#[derive(Clone)]
pub struct Running {
    shared: Arc<Shared>,
    handoff: Arc<Handoff>,
    events: Arc<Events>,
    scheduler: Arc<Scheduler>,
    watchdog: Arc<Watchdog>,
    lane_observer: Option<Arc<dyn LaneObserver>>,
}

impl Running {
    /// Starts on the given runtime. Nothing is accepted before a lane runs.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let Parts {
            listeners,
            router,
            limits,
            runtime,
            observer,
            lane_observer,
        } = parts;
        let shared = Shared::new(
            listeners,
            router,
            limits,
            runtime,
            observer,
            lane_observer.clone(),
        )?;
        let shared = Arc::new(shared);
        let handoff = Handoff::new(shared.clone())?;
        Ok(Self {
            events: Arc::new(Events::new(shared.clone(), &handoff)?),
            scheduler: Arc::new(Scheduler::new()?),
            handoff,
            shared,
            watchdog: Arc::new(Watchdog::new()?),
            lane_observer,
        })
    }

    /// One more lane, for one more thread. Lanes are numbered from 0.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane::new(
            self.shared.clone(),
            self.handoff.clone(),
            self.events.clone(),
            self.scheduler.clone(),
            self.watchdog.add(),
            self.lane_observer.clone(),
        )
    }

    /// Sees that no blocking application runs for longer than [`Limits::request_timeout`], for as long as it is
    /// polled. It wakes when a request's time may be up, and each second or more often to see whether this process was
    /// frozen meanwhile: such time does not count. It never wakes without a time-out.
    ///
    /// A request whose time is up is named in the log. With an `interrupt` that is called then, and the application
    /// has [`INTERRUPTED_GRACE`] more. After that the request is taken away: the client gets 504, or a reset if the
    /// response had begun, and `lost` is told. The lane is lost until the application returns by itself.
    pub async fn watch(
        &self,
        interrupt: Option<&dyn Interrupt>,
        mut lost: impl FnMut(&Late),
    ) -> Infallible {
        let Some(limit) = self.shared.limits.request_timeout else {
            return std::future::pending().await;
        };
        let grace = interrupt.map_or(Duration::ZERO, |_| INTERRUPTED_GRACE);
        let mut looks = Looks::every(frozen::interval_of(limit));
        loop {
            let now = Instant::now();
            let frozen = looks.look(now);
            // Nothing that begins from now on is late before that.
            let mut next = now + limit.min(looks.interval());
            let lanes = self.watchdog.all();
            for lane_watch in &lanes {
                if let Some(frozen) = frozen {
                    lane_watch.leave_out(frozen, now);
                }
                match lane_watch.progress(now, limit, grace) {
                    Progress::InTime(due) => next = due.unwrap_or(next).min(next),
                    Progress::Late(late) => {
                        tracing::error!(
                            "{} takes longer than {} s",
                            late.request(),
                            limit.as_secs_f64()
                        );
                        next = next.min(now + grace);
                        if let Some(interrupt) = interrupt {
                            interrupt.interrupt(late);
                        }
                    }
                    Progress::TooLate(late, connection) => {
                        if self.watchdog.revoke(&self.shared, &late, &connection) {
                            tracing::error!(
                                "{} was cut off after {:.1} s, with 504 unless its response had begun; \
                                 its thread is stuck",
                                late.request(),
                                late.running_for().as_secs_f64()
                            );
                            lost(&late);
                        }
                    }
                    Progress::Lost => {}
                }
            }
            if self.answer_504_when_lost() {
                next = next.min(now + LOST_INTERVAL);
            }
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Whether a lane runs an application whose request was taken away from it.
    #[must_use]
    pub fn has_lost_lanes(&self) -> bool {
        self.watchdog
            .all()
            .iter()
            .any(|lane_watch| lane_watch.is_lost())
    }

    /// Accepts nothing more, lets what runs finish, then lets the lanes return. `false` when the graceful
    /// time-out cut something off. A lane that is lost is not waited for.
    pub async fn stop(&self, queued: Queued) -> bool {
        self.stop_accepting(queued);
        self.finish().await
    }

    /// The second half of [`Self::stop`], after [`Self::stop_accepting`].
    pub async fn finish(&self) -> bool {
        let limit = self.shared.limits.graceful_timeout;
        let emptied = self.shared.slots.emptied();
        let finished = frozen::timeout(limit, emptied).await.is_some();
        self.stop_at_once();
        finished
    }

    /// Closes the sockets, and lets the lanes return after what they do now.
    pub fn stop_at_once(&self) {
        self.shared.stop.begin_drain();
        drop(self.events.take_listeners());
        self.shared.stop.begin_leave();
        self.shared.log_limit.sum_up_all();
    }

    /// The first half of [`Self::stop`]: takes what waits in the listen queues as far as that is to be, then closes the
    /// sockets. When this returns no connection is accepted any more.
    pub fn stop_accepting(&self, queued: Queued) {
        self.shared.stop.begin_drain();
        let most = match queued {
            // Who connects later is told by the kernel that nobody listens.
            Queued::Served => usize::MAX,
            // A lane may have been woken for a connection just before, which nobody else was woken for. From here
            // on none waits for connections, so there can be no more of these than lanes. One that is lost was not
            // woken, and what is taken for it would only be turned away.
            Queued::LeftToOthers => {
                let lanes = self.watchdog.all();
                lanes
                    .iter()
                    .filter(|lane_watch| !lane_watch.is_lost())
                    .count()
            }
        };
        for listener in self.events.take_listeners() {
            for _ in 0..most {
                let fd = match listener.accept_now() {
                    Ok(fd) => fd,
                    // That one has gone, or may not connect: it says nothing of those behind it.
                    Err(Errno::CONNABORTED) => continue,
                    Err(Errno::MFILE) if self.shared.open_files.raise() => continue,
                    Err(_) => break,
                };
                let Some(connection) = self.handoff.take_in(&listener, fd) else {
                    continue;
                };
                self.handoff.await_head(connection, BytesMut::new());
            }
        }
    }

    /// When every lane is lost, answers what waits for one; whether that is so.
    fn answer_504_when_lost(&self) -> bool {
        let lanes = self.watchdog.all();
        if lanes.is_empty() || !lanes.iter().all(|lane_watch| lane_watch.is_lost()) {
            return false;
        }
        while let Some(job) = self.handoff.next_job() {
            tracing::error!(
                "{} was answered with 504: every thread is stuck",
                job.exchange.named()
            );
            self.watchdog
                .answer_504(&self.shared, &job.connection, &job.exchange);
        }
        true
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Running").finish_non_exhaustive()
    }
}
