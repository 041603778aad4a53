//! The generation that serves, the one that is to follow it, and those that finish what they have.

use std::{future::poll_fn, io, rc::Rc, task::Poll};

use crate::{
    config::Config,
    supervisor::backend::python::{channel::Report, generation::Generation, mold::Inheritance},
};

/// All generations that have processes.
#[derive(Default)]
pub(super) struct Generations {
    /// The one that serves. Without a mold when that has died: its workers serve until the next can.
    pub(super) current: Option<Generation>,
    /// The one that is to follow it.
    pub(super) next: Option<Starting>,
    /// The ones that finish their requests.
    pub(super) old: Vec<Generation>,
}

/// A generation that does not serve with all its workers yet.
pub(super) struct Starting {
    pub(super) generation: Generation,
    pub(super) cause: Cause,
    /// The state to go back to if it fails.
    pub(super) before: Option<Before>,
}

/// The configuration before a reload.
pub(super) struct Before {
    pub(super) config: Rc<Config>,
    pub(super) inheritance: Inheritance,
    pub(super) wanted: usize,
}

/// Why a generation was started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Start,
    Reload,
    MoldDied,
}

impl Generations {
    pub(super) fn all(&self) -> impl Iterator<Item = &Generation> {
        let next = self.next.as_ref().map(|next| &next.generation);
        self.current.iter().chain(next).chain(&self.old)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Generation> {
        let next = self.next.as_mut().map(|next| &mut next.generation);
        self.current.iter_mut().chain(next).chain(&mut self.old)
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Generation> {
        self.all_mut()
            .find(|generation| generation.number == number)
    }

    pub(super) fn is_next(&self, number: u64) -> bool {
        let next = self.next.as_ref();
        next.is_some_and(|next| next.generation.number == number)
    }

    /// The next report, and the generation it comes from.
    pub(super) async fn next_report(&self) -> (u64, io::Result<Report>) {
        poll_fn(|context| {
            for generation in self.all() {
                if let Poll::Ready(report) = generation.poll_report(context) {
                    return Poll::Ready((generation.number, report));
                }
            }
            Poll::Pending
        })
        .await
    }
}
