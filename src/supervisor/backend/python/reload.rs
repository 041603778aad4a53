//! Importing the applications anew, beside those that serve.

use std::time::Duration;
use std::{rc::Rc, sync::Arc};

use rustix::process::Signal;
use tokio::time::{Instant, timeout_at};

use super::{
    Cause, Python, Turn,
    generations::{Before, Starting},
    scaler,
};
use crate::{
    client::control::Reloaded,
    config::{Config, Cure, Interpreter, options::left_by_reload},
    server::Listener,
    supervisor::{
        backend::{
            Backend,
            python::{generation::Generation, mold::probe},
        },
        error::SupervisorError,
        master::state::{Master, Waiting, tell_failure, tell_left},
        system::process::Reason,
    },
};

/// How long a mold may take to close what its application listens on: it does so in milliseconds.
const PARTING: Duration = Duration::from_secs(2);

impl Python {
    /// Has the applications imported by a new mold, beside the workers that serve.
    pub(super) async fn import_anew(
        &mut self,
        master: &mut Master,
        config: Config,
        waiting: Option<Waiting>,
    ) {
        let now = Before {
            config: master.config.clone(),
            inheritance: self.inheritance.clone(),
            wanted: self.wanted,
        };
        if let Err(error) = self.adopt(master, config) {
            return self.refuse_reload(master, waiting, &error.to_string(), Some(error.cure()));
        }
        master.waiting.extend(waiting);
        let before = self.make_way().unwrap_or(now);
        match self.start_generation(master, Cause::Reload).await {
            Ok(()) => {
                if let Some(next) = &mut self.generations.next {
                    next.before = Some(before);
                }
            }
            Err(error) => {
                self.go_back(master, before);
                self.failed(master, Cause::Reload, error);
            }
        }
    }

    /// Has the generation that is to follow give way to another: what it has imported may be older than the wish.
    /// Returns the configuration before it, if a reload had started it.
    fn make_way(&mut self) -> Option<Before> {
        let next = self.generations.next.take()?;
        if next.generation.imported && self.generations.current.is_none() {
            // Its workers, as far as they serve, are all there are.
            self.generations.current = Some(next.generation);
            return None;
        }
        tracing::info!("the import that was going on is given up for a new one");
        self.abandon(next.generation);
        next.before
    }

    /// Takes over what a new configuration has changed.
    pub(super) fn adopt(
        &mut self,
        master: &mut Master,
        config: Config,
    ) -> Result<(), SupervisorError> {
        let interpreter = Interpreter::find(&config)?;
        if interpreter.path != self.inheritance.interpreter.path {
            probe(&interpreter, &config)?;
        }
        master.prepared.rebind(&config)?;
        tell_left(&left_by_reload(&master.launch.config, &config, true));
        self.inheritance.interpreter = Rc::new(interpreter);
        self.inheritance.listeners = master.prepared.listeners.clone();
        self.inheritance.credentials = master.prepared.credentials.clone();
        let numbers = |it: &Config| (it.workers, it.workers_min, it.workers_max);
        if numbers(&config) != numbers(&master.config) {
            self.wanted = config.workers;
            self.scaler = scaler(&config);
        }
        master.config = Rc::new(config);
        Ok(())
    }

    pub(super) async fn start_generation(
        &mut self,
        master: &mut Master,
        cause: Cause,
    ) -> Result<(), SupervisorError> {
        self.part_molds(master).await;
        self.started += 1;
        let generation = Generation::start(
            self.started,
            master.config.clone(),
            self.inheritance.clone(),
            self.wanted,
            cause == Cause::Reload && self.generations.current.is_some(),
        )
        .await?;
        self.generations.next = Some(Starting {
            generation,
            cause,
            before: None,
        });
        Ok(())
    }

    /// Has the molds close what the applications listen on themselves: the next import opens it again. Requests do not
    /// notice, since workers listen to the server's sockets alone.
    pub(super) async fn part_molds(&mut self, master: &mut Master) {
        self.generations.all_mut().for_each(Generation::part);
        let deadline = Instant::now() + PARTING;
        while self.generations.all().any(Generation::is_parting) {
            match timeout_at(deadline, self.generations.next_report()).await {
                Ok((generation, report)) => self.note(master, generation, report),
                Err(_) => {
                    return tracing::warn!(
                        "a mold does not react: what its application listens on may be taken when the next is imported"
                    );
                }
            }
        }
    }

    /// Lets the next generation take the place of the one that serves.
    pub(super) fn take_turns(&mut self, master: &mut Master) {
        let Some(Starting {
            generation,
            cause,
            before,
        }) = self.generations.next.take()
        else {
            return;
        };
        self.mold_due = None;
        master.ready = true;
        let since = generation.since;
        let number = generation.number;
        let listeners = generation.inheritance.listeners.clone();
        if let Some(mut old) = self.generations.current.replace(generation) {
            let is_kept = |it: &Arc<Listener>| listeners.iter().any(|kept| Arc::ptr_eq(kept, it));
            // Of a socket that is given up, its last workers answer what waits in the queue.
            let signal = if old.inheritance.listeners.iter().all(is_kept) {
                Signal::HUP
            } else {
                Signal::TERM
            };
            old.inheritance.listeners.clear();
            let reason = match cause {
                Cause::MoldDied => Reason::MoldDied,
                Cause::Start | Cause::Reload => Reason::Reload,
            };
            old.leave(signal, reason);
            self.generations.old.push(old);
        }
        if let Some(before) = before {
            master.prepared.refit(&before.config, &master.config);
        }
        if cause == Cause::Reload {
            master.reloaded();
        }
        self.turns.push(Turn {
            generation: number,
            cause,
            since,
            waiting: std::mem::take(&mut master.waiting),
        });
        master.say_ready(&self.serving());
    }

    /// Says that a generation serves once no old worker can accept a connection any more: whoever connects after that
    /// meets the new code.
    pub(super) fn tell_turns(&mut self) {
        if self.generations.old.iter().any(Generation::accepts) {
            return;
        }
        for turn in self.turns.drain(..) {
            let reloaded = Reloaded {
                generation: turn.generation,
                seconds: turn.since.elapsed().as_secs_f64(),
            };
            match turn.cause {
                Cause::Start => tracing::info!("ready"),
                Cause::MoldDied => tracing::info!("ready again"),
                Cause::Reload => tracing::info!(
                    "reloaded in {:.2} s: generation {} serves",
                    reloaded.seconds,
                    reloaded.generation
                ),
            }
            for waiting in turn.waiting {
                // Whoever asked may have left.
                let _ = waiting.send(Ok(reloaded.clone()));
            }
        }
    }

    /// The next generation will not do: the one that serves goes on.
    pub(super) fn next_failed(&mut self, master: &mut Master, failure: SupervisorError) {
        let Some(next) = self.generations.next.take() else {
            return;
        };
        if let Some(before) = next.before {
            self.go_back(master, before);
        }
        self.abandon(next.generation);
        self.failed(master, next.cause, failure);
    }

    fn failed(&mut self, master: &mut Master, cause: Cause, failure: SupervisorError) {
        let (what, cure) = (failure.to_string(), failure.cure());
        let is_reload = cause == Cause::Reload;
        match &self.generations.current {
            None if master.config.reload => {
                tracing::error!("{what}: the next try is when a file changes\n  hint: {cure}");
                tell_failure(master.waiting.drain(..), &what, Some(cure));
            }
            None => master.broken = Some(failure),
            Some(current) if is_reload && current.mold.is_some() => {
                self.reload_failed(master, &what, Some(cure));
            }
            Some(_) => {
                if is_reload {
                    self.reload_failed(master, &what, Some(cure));
                }
                let pause = self.mold_backoff.after_failure();
                self.mold_due = Some(Instant::now() + pause);
                tracing::error!(
                    "{what}: the workers that are left go on; the next try is in {} s",
                    pause.as_secs_f32()
                );
            }
        }
    }

    fn abandon(&mut self, mut generation: Generation) {
        generation.inheritance.listeners.clear();
        generation.leave(Signal::HUP, Reason::Reload);
        self.generations.old.push(generation);
    }

    fn go_back(&mut self, master: &mut Master, before: Before) {
        let Before {
            config,
            inheritance,
            wanted,
        } = before;
        master.prepared.listeners = inheritance.listeners.clone();
        master.prepared.credentials = inheritance.credentials.clone();
        self.inheritance = inheritance;
        self.scaler = scaler(&config);
        master.config = config;
        self.wanted = wanted;
    }
}
