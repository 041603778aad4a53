//! systemd's notify protocol (sd_notify(3)), for `Type=notify` and `Type=notify-reload`.

use std::{env, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Variables of systemd that are meant for this process alone: its children start without them.
pub(in crate::supervisor) const VARIABLES: [&str; 3] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Tells systemd how the service is. Does nothing where there is no systemd to tell.
#[derive(Clone, Copy, Debug)]
pub(in crate::supervisor) struct Notify {
    heard: bool,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    pub(in crate::supervisor) fn from_env() -> Self {
        let heard = env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = sd_notify::watchdog_enabled();
        Self {
            heard,
            watchdog: watchdog.filter(|every| heard && !every.is_zero()),
        }
    }

    /// Whether there is somebody to tell.
    pub(in crate::supervisor) fn is_heard(&self) -> bool {
        self.heard
    }

    /// The service serves, for the first time or after a reload.
    pub(in crate::supervisor) fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
    }

    /// The service reloads: [`Self::ready`] has to follow, whether or not the reload succeeds, or
    /// `systemctl reload` waits for it until it gives up.
    pub(in crate::supervisor) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[
                NotifyState::Reloading,
                now,
                NotifyState::Status("reloading"),
            ]),
            Err(error) => tracing::warn!("the monotonic clock cannot be read: {error}"),
        }
    }

    /// The service stops.
    pub(in crate::supervisor) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Sets the line that `systemctl status` shows.
    pub(in crate::supervisor) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(&line(status))]);
    }

    /// Another process is the service's main one from now on. systemd believes it of the one it knows as such.
    pub(in crate::supervisor) fn main_pid(&self, pid: u32) {
        self.tell(&[NotifyState::MainPid(pid)]);
    }

    /// How often [`Self::watchdog`] has to be called: twice in `WatchdogSec=`. `None` without a watchdog.
    pub(in crate::supervisor) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|every| every / 2)
    }

    /// The service is alive.
    pub(in crate::supervisor) fn watchdog(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// The watchdog as a timer.
    pub(in crate::supervisor) fn heartbeat(self) -> Heartbeat {
        let timer = self.watchdog_interval().map(|every| {
            let mut timer = interval(every);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer
        });
        Heartbeat {
            notify: self,
            timer,
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if !self.heard {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            tracing::warn!("systemd cannot be told {states:?}: {error}");
        }
    }
}

/// Tells the watchdog in time.
#[derive(Debug)]
pub(in crate::supervisor) struct Heartbeat {
    notify: Notify,
    timer: Option<Interval>,
}

impl Heartbeat {
    /// Waits until it is time, and tells it; for ever without a watchdog. Nothing is lost when this is dropped
    /// halfway, as `select!` does.
    pub(in crate::supervisor) async fn beat(&mut self) {
        match &mut self.timer {
            Some(timer) => {
                timer.tick().await;
                self.notify.watchdog();
            }
            None => std::future::pending().await,
        }
    }
}

/// A message is lines of `NAME=value`: a status of several lines would say other things.
fn line(status: &str) -> String {
    status.replace(char::is_control, " ")
}
