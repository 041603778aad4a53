//! What a program that embeds the server may implement: who is told of requests, and what a thread does around a wait.

use std::{sync::Arc, time::Duration};

use crate::{app::Environ, protocol::Corrections};

/// Is told of each request when its response has been handed over; an access log is one.
pub trait Observer: Send + Sync + 'static {
    /// Called on the thread that answered: it should be quick and must not block.
    fn answered(&self, answered: &Answered<'_>);
}

/// Is told what each lane runs; a scoreboard is one.
pub trait LaneObserver: Send + Sync + 'static {
    /// The lane of this number, from 0, begins to run an application that blocks. Called on the lane, before every
    /// such request: it should cost next to nothing.
    fn began(&self, lane: usize, environ: &Environ);

    /// The application has returned to the lane.
    fn ended(&self, lane: usize);

    /// Notes that these corrections are about to be logged of the application at a mount. Returns those of them that
    /// nobody who shares the observer's memory has noted before.
    fn note_corrections(&self, mount: &str, corrections: Corrections) -> Corrections;
}

impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn answered(&self, answered: &Answered<'_>) {
        (**self).answered(answered);
    }
}

/// A request and what became of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// Its variables, as the application saw them.
    pub environ: &'a Environ,
    /// The status sent; 0 when the connection ended before one was.
    pub status: u16,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// From the arrival of the variables to the last byte handed to the operating system.
    pub duration: Duration,
    /// Whether the response was whole.
    pub complete: bool,
}

impl<'a> Answered<'a> {
    /// As the server makes them; for tests of observers.
    #[must_use]
    pub fn new(
        environ: &'a Environ,
        status: u16,
        body_bytes: u64,
        duration: Duration,
        complete: bool,
    ) -> Self {
        Self {
            environ,
            status,
            body_bytes,
            duration,
            complete,
        }
    }
}

/// What a thread does around a wait: an interpreter lets go of its lock.
pub trait Pause: Send + Sync {
    /// Runs `wait`, which blocks.
    fn pause(&self, wait: &mut (dyn FnMut() + Send));

    /// What the threads that it is for are to each other while they run.
    fn turns(&self) -> Turns {
        Turns::Parallel
    }
}

/// A [`Pause`] that does nothing beside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Pause for Plain {
    fn pause(&self, wait: &mut (dyn FnMut() + Send)) {
        wait();
    }
}

/// What the lanes of a server are to each other while they run an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turns {
    /// They run side by side, as far as there are processors.
    Parallel,
    /// One runs at a time, as threads under an interpreter's lock do: helping one that runs gains nothing.
    InTurn,
}
