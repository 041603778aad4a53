//! Reloads: the configuration is read again, and the backend puts it in force.

use super::{
    super::backend::Backend,
    Supervisor,
    state::{Master, Waiting},
};

/// Ends the log line about a missing socket, where a reload makes it anew.
const RELOADING: &str = "it is made anew by a reload";
/// Ends that line where an operator has to act.
const UPGRADE_IT: &str = "start spile anew, or send it SIGUSR2, to have it made";
/// The same under `--user`, who may not be able to make the socket.
const RESTART_IT: &str = "start spile anew to have it made";

impl<B: Backend> Supervisor<B> {
    /// Reads the configuration again and has the backend put it in force. `waiting` is told how that ends.
    pub(super) async fn reload(&mut self, waiting: Option<Waiting>) {
        let Self { master, backend } = self;
        if master.stop.is_some() {
            return;
        }
        if master.ready {
            master.notify.reloading();
        }
        match (master.launch.reload)() {
            Ok(config) => backend.reload(master, config, waiting).await,
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!("{mistake}\n  hint: {}", mistake.cure);
                }
                let what = "there are mistakes in the configuration";
                backend.refuse_reload(master, waiting, what, None);
            }
        }
    }

    /// Makes anew, once a second, the files that the server is found by and that somebody has removed.
    pub(super) async fn look_after_files(&mut self) {
        let Master {
            prepared,
            config,
            files,
            admin,
            upgrade,
            ..
        } = &mut self.master;
        // They belong to two masters at a time.
        if upgrade.is_some() || prepared.is_second() {
            return;
        }
        files.restore(prepared, config, admin.as_mut());
        let reloads = self.backend.makes_sockets();
        let is_other = config.user.is_some() || config.group.is_some();
        let then = match (reloads, is_other) {
            (true, _) => RELOADING,
            (false, true) => RESTART_IT,
            (false, false) => UPGRADE_IT,
        };
        // An import that goes on has them already, or ends soon.
        if !self.backend.is_reloading() && files.lacks_sockets(prepared, then) && reloads {
            self.reload(None).await;
        }
    }
}
