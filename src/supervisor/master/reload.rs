//! Importing the applications anew, beside those that serve.

use std::time::Duration;
use std::{rc::Rc, sync::Arc};

use rustix::process::Signal;
use tokio::time::{Instant, timeout_at};

use super::{Cause, Master, Starting, Turn, Waiting, generations::Before, scaler};
use crate::{
    client::control::{Failure, Reloaded},
    config::{Config, Cure, Interpreter, options::left_by_reload},
    server::Listener,
    supervisor::{
        backend::python::{generation::Generation, mold::probe},
        error::SupervisorError,
        kept::tell_left,
        system::process::Reason,
    },
};

/// How long a mold may take to close what its application listens on: it does so in milliseconds.
const PARTING: Duration = Duration::from_secs(2);

impl Master {
    /// Reads the configuration again and has the applications imported by a new mold, beside the workers that serve.
    /// `waiting` is told how that ends.
    pub(super) async fn reload(&mut self, waiting: Option<Waiting>) {
        if self.stop.is_some() {
            return;
        }
        if self.ready {
            self.notify.reloading();
        }
        let config = match (self.launch.reload)() {
            Ok(config) => config,
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!("{mistake}\n  hint: {}", mistake.cure);
                }
                return self.refuse(waiting, "there are mistakes in the configuration", None);
            }
        };
        let now = Before {
            config: self.config.clone(),
            inheritance: self.inheritance.clone(),
            wanted: self.wanted,
        };
        if let Err(error) = self.adopt(config) {
            return self.refuse(waiting, &error.to_string(), Some(error.cure()));
        }
        self.waiting.extend(waiting);
        let before = self.make_way().unwrap_or(now);
        match self.start_generation(Cause::Reload).await {
            Ok(()) => {
                if let Some(next) = &mut self.generations.next {
                    next.before = Some(before);
                }
            }
            Err(error) => {
                self.go_back(before);
                self.failed(Cause::Reload, error);
            }
        }
    }

    /// Has the generation that is to follow give way to another: what it has imported may be older than the wish.
    /// What was in force before it, if it came of a reload.
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

    /// A reload that cannot even begin: whatever went on does so.
    fn refuse(&mut self, waiting: Option<Waiting>, what: &str, cure: Option<String>) {
        if self.generations.next.is_none() {
            self.waiting.extend(waiting);
            return self.reload_failed(what, cure);
        }
        self.ledger.reloads_failed += 1;
        tracing::error!(
            "the reload has failed, and the import that was going on goes on: {what}{}",
            hint(cure.as_deref())
        );
        tell_failure(waiting, what, cure);
    }

    /// Takes over what a new configuration has changed.
    pub(super) fn adopt(&mut self, config: Config) -> Result<(), SupervisorError> {
        let interpreter = Interpreter::find(&config)?;
        if interpreter.path != self.inheritance.interpreter.path {
            probe(&interpreter, &config)?;
        }
        self.prepared.rebind(&config)?;
        tell_left(&left_by_reload(&self.launch.config, &config, true));
        self.inheritance.interpreter = Rc::new(interpreter);
        self.inheritance.listeners = self.prepared.listeners.clone();
        self.inheritance.credentials = self.prepared.credentials.clone();
        let numbers = |it: &Config| (it.workers, it.workers_min, it.workers_max);
        if numbers(&config) != numbers(&self.config) {
            self.wanted = config.workers;
            self.scaler = scaler(&config);
        }
        self.config = Rc::new(config);
        Ok(())
    }

    pub(super) async fn start_generation(&mut self, cause: Cause) -> Result<(), SupervisorError> {
        self.part().await;
        self.started += 1;
        let generation = Generation::start(
            self.started,
            self.config.clone(),
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
    pub(super) async fn part(&mut self) {
        self.generations.all_mut().for_each(Generation::part);
        let deadline = Instant::now() + PARTING;
        while self.generations.all().any(Generation::is_parting) {
            match timeout_at(deadline, self.generations.next_report()).await {
                Ok((generation, report)) => self.note(generation, report),
                Err(_) => {
                    return tracing::warn!(
                        "a mold does not react: what its application listens on may be taken when the next is imported"
                    );
                }
            }
        }
    }

    /// Says what a try that has failed has closed.
    pub(super) fn tell_parted(&self) {
        let parted = self
            .generations
            .current
            .as_ref()
            .and_then(Generation::parted);
        if let Some(addresses) = parted {
            tracing::warn!(
                "{addresses}: the application itself listened there; that was closed for the next import to open it, and \
                 stays closed until one succeeds"
            );
        }
    }

    /// Lets the next generation take the place of the one that serves.
    pub(super) fn take_turns(&mut self) {
        let Some(Starting {
            generation,
            cause,
            before,
        }) = self.generations.next.take()
        else {
            return;
        };
        self.mold_due = None;
        self.ready = true;
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
            self.prepared.refit(&before.config, &self.config);
        }
        if cause == Cause::Reload {
            self.ledger.reloads += 1;
            self.failure = None;
        }
        self.turns.push(Turn {
            generation: number,
            cause,
            since,
            waiting: std::mem::take(&mut self.waiting),
        });
        self.say_ready();
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
    pub(super) fn next_failed(&mut self, failure: SupervisorError) {
        let Some(next) = self.generations.next.take() else {
            return;
        };
        if let Some(before) = next.before {
            self.go_back(before);
        }
        self.abandon(next.generation);
        self.failed(next.cause, failure);
    }

    fn failed(&mut self, cause: Cause, failure: SupervisorError) {
        let (what, cure) = (failure.to_string(), failure.cure());
        let is_reload = cause == Cause::Reload;
        match &self.generations.current {
            None if self.config.reload => {
                tracing::error!("{what}: the next try is when a file changes\n  hint: {cure}");
                tell_failure(self.waiting.drain(..), &what, Some(cure));
            }
            None => self.begin_stop(true, Some(failure)),
            Some(current) if is_reload && current.mold.is_some() => {
                self.reload_failed(&what, Some(cure));
            }
            Some(_) => {
                if is_reload {
                    self.reload_failed(&what, Some(cure));
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

    fn go_back(&mut self, before: Before) {
        let Before {
            config,
            inheritance,
            wanted,
        } = before;
        self.prepared.listeners = inheritance.listeners.clone();
        self.prepared.credentials = inheritance.credentials.clone();
        self.inheritance = inheritance;
        self.scaler = scaler(&config);
        self.config = config;
        self.wanted = wanted;
    }

    pub(super) fn reload_failed(&mut self, what: &str, cure: Option<String>) {
        self.ledger.reloads_failed += 1;
        self.failure = Some(what.to_owned());
        let serves = self
            .generations
            .current
            .as_ref()
            .is_some_and(Generation::accepts);
        let then = if serves {
            "the old workers go on"
        } else {
            "no worker serves"
        };
        tracing::error!(
            "the reload has failed, and {then}: {what}{}",
            hint(cure.as_deref())
        );
        self.tell_parted();
        tell_failure(self.waiting.drain(..), what, cure);
        self.say_ready();
    }

    /// Says so to systemd and to the master before this one, once every worker has served.
    pub(super) fn say_ready(&mut self) {
        if !self.ready {
            return;
        }
        self.status = self.described();
        self.notify.ready(&self.status);
        if let Err(error) = self.prepared.take_over() {
            tracing::error!("{error}");
        }
    }
}

fn tell_failure(waiting: impl IntoIterator<Item = Waiting>, what: &str, cure: Option<String>) {
    let hint = cure.unwrap_or_else(|| "the server's log says more".to_owned());
    for waiting in waiting {
        // Whoever asked may have left.
        let _ = waiting.send(Err(Failure {
            what: what.to_owned(),
            hint: hint.clone(),
        }));
    }
}

/// The second line of an error in the log.
fn hint(cure: Option<&str>) -> String {
    cure.map_or_else(String::new, |cure| format!("\n  hint: {cure}"))
}
