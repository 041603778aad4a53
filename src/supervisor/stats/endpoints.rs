//! The sockets that an operator's programs connect to: the control socket, and Prometheus'.

use std::{io, sync::Arc};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{
    control::{self, Asked},
    exporter,
};
use crate::{
    config::{Config, SocketAddress},
    server::{Binding, Listener, SocketFileState},
    supervisor::{
        error::SupervisorError,
        sockets::{inherited::Given, listening},
    },
};

/// How many questions may wait for the master.
const WAITING: usize = 16;

/// The sockets, bound.
#[derive(Debug)]
pub(in crate::supervisor) struct Admin {
    /// The control socket, unless it could not be made and nobody asked for it.
    control: Option<Arc<Listener>>,
    /// Prometheus', if it is wanted: one for each address of its host.
    metrics: Vec<Arc<Listener>>,
}

/// The sockets at work, until this is dropped.
#[derive(Debug)]
pub(in crate::supervisor) struct Serving {
    tasks: JoinSet<()>,
    control: Option<AbortHandle>,
    master: mpsc::Sender<Asked>,
}

impl Admin {
    /// Binds those that were not given. `listeners` are the sockets that the server is found by; `control_owner` is
    /// who may connect to the control socket, this process's user if not said.
    ///
    /// # Errors
    /// One that was asked for cannot be bound.
    pub(in crate::supervisor) fn bind(
        config: &Config,
        listeners: &[Arc<Listener>],
        given: &mut Given,
        control_owner: (Option<u32>, Option<u32>),
    ) -> Result<Self, SupervisorError> {
        let metrics = match &config.metrics {
            Some(address) => {
                let owner = config.socket_owner.as_ref();
                let mut binding = Binding::new(address.clone());
                binding.mode = config.socket_mode.map(|mode| mode.bits());
                binding.owner = owner
                    .map(|owner| owner.resolve())
                    .transpose()?
                    .unwrap_or_default();
                binding.backlog = 128;
                let any_port = given.before.is_some();
                let listeners = listening::listen(&binding, &mut given.listeners, any_port)
                    .map_err(SupervisorError::Metrics)?;
                for listener in &listeners {
                    tracing::info!("metrics for Prometheus at {}, /metrics", listener.address());
                }
                listeners
            }
            None => Vec::new(),
        };
        let control = match listeners.first() {
            Some(first) => control::bind(config, &first.asked(), given, control_owner)?,
            None => None,
        };
        Ok(Self { control, metrics })
    }

    /// All of them.
    pub(in crate::supervisor) fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> + Clone {
        self.control.iter().chain(&self.metrics)
    }

    /// Begins to answer, on this runtime. What is asked comes out of the channel.
    ///
    /// # Errors
    /// The runtime does not take a socket.
    pub(in crate::supervisor) fn serve(
        &self,
    ) -> Result<(Serving, mpsc::Receiver<Asked>), SupervisorError> {
        let failed = || SupervisorError::io("cannot serve the control socket or the metrics");
        let (master, asked) = mpsc::channel(WAITING);
        let mut serving = Serving {
            tasks: JoinSet::new(),
            control: None,
            master,
        };
        if let Some(listener) = &self.control {
            serving.serve_control(listener).map_err(failed())?;
        }
        for listener in &self.metrics {
            let metrics = exporter::serve(listener, serving.master.clone()).map_err(failed())?;
            serving.tasks.spawn(metrics);
        }
        Ok((serving, asked))
    }

    /// Makes the control socket anew if somebody has removed its file; whether that was so. `first` is the socket that
    /// the server is found by.
    ///
    /// # Errors
    /// It was asked for and cannot be made.
    pub(in crate::supervisor) fn restore_control(
        &mut self,
        config: &Config,
        first: &SocketAddress,
        serving: &mut Serving,
    ) -> Result<bool, SupervisorError> {
        let gone = self.control.as_ref();
        if gone.is_none_or(|it| it.file_state() != SocketFileState::Gone) {
            return Ok(false);
        }
        let made = control::bind(config, first, &mut Given::default(), (None, None))?;
        if let Some(listener) = &made {
            let failed = SupervisorError::io("cannot serve the control socket");
            serving.serve_control(listener).map_err(failed)?;
        }
        self.control = made;
        Ok(true)
    }

    /// Closes the sockets, once nothing serves them any more: the next server can have their addresses.
    pub(in crate::supervisor) fn close(&mut self) {
        self.control = None;
        self.metrics.clear();
    }
}

impl Serving {
    /// Answers at this control socket, and no more at the one before.
    fn serve_control(&mut self, listener: &Listener) -> io::Result<()> {
        let serving = control::serve(listener, self.master.clone())?;
        let before = self.control.replace(self.tasks.spawn(serving));
        if let Some(before) = before {
            before.abort();
        }
        Ok(())
    }
}
