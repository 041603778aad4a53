//! What all connections of a server share.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::runtime::Handle;

use super::{
    LaneObserver, Limits, Listener, Observer,
    accept_errors::AcceptErrors,
    log_limit::LogLimit,
    metrics::Counters,
    net::{allow::Guard, open_files::OpenFiles},
    request::memory::BodyMemory,
    response::corrected::Corrected,
    shutdown::Stop,
    slots::Slots,
};
use crate::{app::Router, protocol::Decoder};

/// The state behind a running server.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) decoder: Decoder,
    pub(super) counters: Counters,
    /// What peers can cause to be logged goes through it.
    pub(super) log_limit: LogLimit,
    pub(super) corrected: Corrected,
    pub(super) runtime: Handle,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) body_memory: Arc<BodyMemory>,
    pub(super) stop: Stop,
    pub(super) accept_errors: AcceptErrors,
    pub(super) slots: Arc<Slots>,
    pub(super) open_files: OpenFiles,
    listeners: RwLock<Vec<Listener>>,
}

impl Shared {
    pub(super) fn new(
        mut listeners: Vec<Listener>,
        router: Router,
        limits: Limits,
        runtime: Handle,
        observer: Option<Arc<dyn Observer>>,
        lane_observer: Option<Arc<dyn LaneObserver>>,
    ) -> io::Result<Self> {
        let counters = Counters::new(&router);
        let log_limit = LogLimit::new(runtime.clone());
        let guard = Guard {
            allowed: limits.allow_from.clone(),
            refused: counters.not_allowed(),
            log_limit: log_limit.clone(),
        };
        for listener in &mut listeners {
            listener.guard(&guard);
        }
        let slots = Slots::new(limits.in_flight)?;
        let open_files = OpenFiles::new(limits.raise_open_files);
        Ok(Self {
            decoder: Decoder::new(limits.vars_size).max_vars(limits.vars),
            counters,
            log_limit,
            corrected: Corrected::new(&router, lane_observer),
            router,
            limits,
            body_memory: BodyMemory::new(runtime.clone()),
            runtime,
            observer,
            stop: Stop::new()?,
            accept_errors: AcceptErrors::default(),
            slots,
            open_files,
            listeners: RwLock::new(listeners),
        })
    }

    /// One without applications, on the runtime of the test.
    #[cfg(test)]
    pub(super) fn for_tests(listeners: Vec<Listener>) -> Arc<Self> {
        let (router, limits) = (Router::new(), Limits::default());
        Arc::new(Self::new(listeners, router, limits, Handle::current(), None, None).unwrap())
    }

    /// The sockets to accept on: none once the server is stopping.
    pub(super) fn listeners(&self) -> RwLockReadGuard<'_, Vec<Listener>> {
        self.listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the sockets away from the lanes.
    pub(super) fn take_listeners(&self) -> Vec<Listener> {
        std::mem::take(
            &mut *self
                .listeners
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
