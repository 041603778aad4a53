//! Files that the server is found by, and that somebody else may remove while it runs: of its sockets, and with its
//! process id.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use super::prepare::Prepared;
use crate::{
    config::{Config, SocketAddress},
    server::SocketFileState,
    supervisor::stats::endpoints::Serving,
};

/// The pause after a first attempt to have sockets made anew, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The hint about a file that was removed.
const CURE: &str = "something has removed it, perhaps what cleans /tmp: a place of its own below /run is safer \
                    (RuntimeDirectory= in a unit)";

/// The hint where the file cannot be made, as by a user who is not root any more.
const RESTART: &str = "a restart makes it anew";

/// Remembers which files were missing, so that each is logged once.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Files {
    /// Sockets whose name another file has.
    replaced: HashSet<SocketAddress>,
    is_pidfile_told: bool,
    is_control_told: bool,
    /// When the next attempt is due, and the pause after it.
    next: Option<(Instant, Duration)>,
}

impl Files {
    /// Makes the pid file and the control socket anew where they are missing.
    pub(in crate::supervisor) fn restore(
        &mut self,
        prepared: &mut Prepared,
        config: &Config,
        serving: Option<&mut Serving>,
    ) {
        let path = prepared.pidfile_path().map(ToOwned::to_owned);
        let path = path.unwrap_or_default();
        match prepared.restore_pidfile() {
            Ok(false) => self.is_pidfile_told = false,
            Ok(true) => {
                tracing::warn!(
                    "the pid file {} was gone and is made anew\n  hint: {CURE}",
                    path.display()
                );
            }
            Err(error) if !std::mem::replace(&mut self.is_pidfile_told, true) => {
                tracing::error!("the pid file is gone: {error}\n  hint: {CURE}; {RESTART}");
            }
            Err(_) => {}
        }
        let first = prepared.listeners.first().map(|it| it.asked());
        let (Some(first), Some(serving)) = (first, serving) else {
            return;
        };
        match prepared.admin.restore_control(config, &first, serving) {
            Ok(false) => self.is_control_told = false,
            Ok(true) => tracing::warn!("the control socket's file was gone\n  hint: {CURE}"),
            Err(error) if !std::mem::replace(&mut self.is_control_told, true) => {
                tracing::error!(
                    "the control socket's file is gone: {error}\n  hint: {CURE}; {RESTART}"
                );
            }
            Err(_) => {}
        }
    }

    /// Whether sockets are to be made anew now, because their files are gone; says so, with what follows from it.
    pub(in crate::supervisor) fn lacks_sockets(&mut self, prepared: &Prepared, then: &str) -> bool {
        let mut gone = Vec::new();
        for listener in &prepared.listeners {
            let address = listener.address();
            match listener.file_state() {
                SocketFileState::Reachable => {
                    self.replaced.remove(address);
                }
                SocketFileState::Gone => gone.push(address.to_string()),
                SocketFileState::Replaced => {
                    if self.replaced.insert(address.clone()) {
                        tracing::error!(
                            "another file is where the socket {address} was: whoever connects there does not reach \
                             this server\n  hint: stop the other server, if there is one, and reload this one"
                        );
                    }
                }
            }
        }
        let now = Instant::now();
        if gone.is_empty() {
            self.next = self.next.filter(|(due, _)| now < *due + LONGEST);
            return false;
        }
        let pause = match self.next {
            Some((due, _)) if now < due => return false,
            Some((_, pause)) => (pause * 2).min(LONGEST),
            None => FIRST,
        };
        self.next = Some((now + pause, pause));
        tracing::error!(
            "the file of the socket {} is gone, so nobody can connect there: {then}\n  hint: {CURE}",
            gone.join(" and ")
        );
        true
    }
}
