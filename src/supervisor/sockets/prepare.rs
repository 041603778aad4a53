//! Prepares a start: makes or takes over sockets and the pid file, and becomes the right user.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Command,
    rc::Rc,
    sync::Arc,
};

use super::{
    activation,
    closed::tell_if_closed,
    first_process::{Successors, say_here},
    handover::{self, Inheritable},
    inherited::Given,
    listening,
    pidfile::Pidfile,
};
use crate::{
    config::{AccessLog, Config, ResolveError, SocketAddress},
    observe,
    server::{Binding, Listener, SocketFileState},
    supervisor::{
        error::SupervisorError,
        stats::endpoints::Admin,
        system::{credentials::SealedCredentials, open_files, privileges::Identity},
    },
};

/// Sockets and files, made or taken over.
pub(in crate::supervisor) struct Prepared {
    /// The sockets to serve on.
    pub(in crate::supervisor) listeners: Vec<Arc<Listener>>,
    /// The certificate and the key of those over TCP.
    pub(in crate::supervisor) credentials: Option<Rc<SealedCredentials>>,
    /// The sockets of the operator's programs.
    pub(in crate::supervisor) admin: Admin,
    pidfile: Option<Pidfile>,
    /// Sockets of the master before this one that the configuration has no more.
    unwanted: Vec<Arc<Listener>>,
    /// Tells the master before this one that it may leave. Until then socket files and pid file are that one's.
    before: Option<OwnedFd>,
    /// Tells the first process of the container which one serves, if that has stayed after an upgrade.
    first: Option<OwnedFd>,
}

impl Prepared {
    /// Binds, says what is where, writes the pid file, and becomes the user that it is to run as.
    ///
    /// # Errors
    /// What the system refuses, and what was asked for and cannot be.
    pub(in crate::supervisor) fn new(config: &Config) -> Result<Self, SupervisorError> {
        open_files::raise();
        let mut given = activation::take()?;
        let identity = Identity::of(config)?;
        let credentials = SealedCredentials::of(config, given.credentials.take())?;
        let listeners = bind(config, &mut given, identity.as_ref())?;
        for mount in &config.mounts {
            tracing::info!("mounted at {}: {}", mount.path(), mount.app);
        }
        let admin = Admin::bind(config, &listeners, &mut given, ids(identity.as_ref()))?;
        let pidfile = match (&config.pidfile, given.pidfile) {
            (Some(path), Some(handed_over)) if handed_over.path() == path => Some(handed_over),
            (Some(path), _) => Some(Pidfile::write(path)?),
            (None, _) => None,
        };
        become_user(config, identity.as_ref())?;
        let prepared = Self {
            listeners,
            credentials,
            admin,
            pidfile,
            unwanted: given.listeners,
            before: given.before,
            first: given.first,
        };
        prepared.doubt_tls();
        Ok(prepared)
    }

    /// Makes this process the one that socket files and pid file belong to, and lets the master before it leave.
    /// To be called when it serves; nothing happens without such a master.
    ///
    /// # Errors
    /// The pid file cannot be written.
    pub(in crate::supervisor) fn take_over(&mut self) -> Result<(), SupervisorError> {
        let Some(before) = self.before.take() else {
            return Ok(());
        };
        let wanted = self.listeners.iter().chain(self.admin.listeners());
        for listener in wanted.chain(&self.unwanted) {
            listener.own_file();
        }
        self.unwanted.clear();
        let taken = self.pidfile.as_ref().map_or(Ok(()), Pidfile::take_over);
        if let Some(first) = &self.first {
            say_here(first);
        }
        // It may have been killed meanwhile.
        let _ = rustix::io::write(&before, b"!");
        Ok(taken?)
    }

    /// Makes the pid file anew if somebody has removed it; whether that was so.
    ///
    /// # Errors
    /// It cannot be made.
    pub(in crate::supervisor) fn restore_pidfile(&mut self) -> Result<bool, SupervisorError> {
        let gone = self.pidfile.as_ref().filter(|pidfile| pidfile.is_gone());
        let Some(path) = gone.map(|pidfile| pidfile.path().to_owned()) else {
            return Ok(false);
        };
        self.pidfile = Some(Pidfile::write(&path)?);
        Ok(true)
    }

    /// Whether the files still belong to a master before this one.
    pub(in crate::supervisor) fn is_second(&self) -> bool {
        self.before.is_some()
    }

    pub(in crate::supervisor) fn pidfile_path(&self) -> Option<&Path> {
        self.pidfile.as_ref().map(Pidfile::path)
    }

    /// Has `command`, a master to come after this one, inherit the sockets and the pid file; see
    /// [`handover::hand_over`].
    pub(in crate::supervisor) fn hand_over<'a>(
        &'a self,
        command: &mut Command,
        ready: &'a OwnedFd,
        successors: Option<&'a Successors>,
    ) -> io::Result<Inheritable<'a>> {
        // What nobody finds any more, the new master makes itself.
        let listeners = self.listeners.iter().chain(self.admin.listeners());
        let listeners = listeners.filter(|it| it.file_state() == SocketFileState::Reachable);
        handover::hand_over(
            command,
            listeners.map(Arc::as_ref),
            self.pidfile.as_ref(),
            self.credentials.as_deref(),
            ready,
            successors
                .map(Successors::tell)
                .or(self.first.as_ref().map(|it| it.as_fd())),
        )
    }

    /// Leaves the sockets' files to the master that comes after this one.
    pub(in crate::supervisor) fn leave_files(&self) {
        for listener in self.listeners.iter().chain(self.admin.listeners()) {
            listener.forget_file();
        }
    }

    /// Reads the certificate and the key again, and binds what a new configuration names that is not bound yet. Those
    /// that it names no more are left out, and closed when nobody holds them.
    ///
    /// # Errors
    /// The files will not do or a socket cannot be bound; nothing has changed then.
    pub(in crate::supervisor) fn rebind(&mut self, config: &Config) -> Result<(), SupervisorError> {
        let credentials = SealedCredentials::of(config, self.credentials.clone())?;
        owner(config)?;
        let mut listeners: Vec<Arc<Listener>> = Vec::new();
        let activated = self.listeners.iter().any(|it| it.is_passed());
        // One that nobody finds any more is made anew.
        let known = self.listeners.iter();
        let known = known.filter(|it| it.file_state() == SocketFileState::Reachable);
        let mut known: Vec<_> = known.cloned().collect();
        let identity = Identity::of(config)?;
        for address in wanted(config, activated) {
            let found = listen(config, address, identity.as_ref(), &mut known, true)
                .map_err(|error| error.for_want_of_root(identity.as_ref()))?;
            for listener in &found {
                if !self.listeners.iter().any(|it| Arc::ptr_eq(it, listener)) {
                    announce(listener, credentials.is_some());
                    tell_if_closed(config, listener);
                    if config.takes_anybody() {
                        warn_if_public(listener);
                    }
                }
            }
            listeners.extend(found);
        }
        // What systemd has passed stays.
        for passed in self.listeners.iter().filter(|it| it.is_passed()) {
            if !listeners.iter().any(|it| Arc::ptr_eq(it, passed)) {
                listeners.push(passed.clone());
            }
        }
        self.listeners = listeners;
        self.credentials = credentials;
        self.doubt_tls();
        Ok(())
    }

    /// Gives the sockets that are bound already the permissions, the owner and the backlog that a configuration has
    /// changed; whether there were any such changes. What the system refuses is said, and stays as it was.
    pub(in crate::supervisor) fn refit(&self, before: &Config, now: &Config) -> bool {
        let is_other_mode = before.socket_mode != now.socket_mode;
        let is_other_owner = before.socket_owner != now.socket_owner;
        let is_other_backlog = before.backlog != now.backlog;
        // It was looked up before, when that could still be refused.
        let owner = owner(now).unwrap_or_default();
        let left_out = || io::Error::other("it is left out now");
        let mut refitted = false;
        // Those of systemd are as that was told.
        for listener in self.listeners.iter().filter(|it| !it.is_passed()) {
            let address = listener.address();
            let mut done = |option, done: io::Result<()>| match done {
                Ok(()) => {
                    tracing::info!("{option} has changed: it goes for {address} as well");
                    refitted = true;
                }
                Err(error) => tracing::warn!(
                    "{option} has changed, but {address} stays as it was: {error}\n  hint: restart spile to have it made \
                     anew"
                ),
            };
            if is_other_mode && !address.is_tcp() {
                done(
                    "--socket-mode",
                    match now.socket_mode {
                        Some(mode) => listener.set_mode(mode.bits()),
                        None => Err(left_out()),
                    },
                );
            }
            if is_other_owner && !address.is_tcp() {
                done(
                    "--socket-owner",
                    match &owner {
                        (None, None) => Err(left_out()),
                        (user, group) => listener.set_owner(*user, *group),
                    },
                );
            }
            if is_other_backlog {
                done("--backlog", listener.set_backlog(now.backlog));
            }
        }
        refitted
    }
}

impl Prepared {
    /// Says so when there is a certificate and nothing to use it on. Which sockets systemd passes shows only now, so it
    /// is no mistake.
    fn doubt_tls(&self) {
        let mut addresses = self.listeners.iter().map(|it| it.address());
        if self.credentials.is_some() && !addresses.any(SocketAddress::is_tcp) {
            tracing::warn!(
                cure = "give a --socket HOST:PORT, or leave --tls-cert out",
                "--tls-cert changes nothing: only TCP sockets speak TLS, and there is none"
            );
        }
    }
}

/// Listens wherever the configuration says, with the sockets that were given where they are the same, and on all
/// that systemd has passed.
fn bind(
    config: &Config,
    given: &mut Given,
    identity: Option<&Identity>,
) -> Result<Vec<Arc<Listener>>, SupervisorError> {
    let activated = given.listeners.iter().any(|it| it.is_passed());
    let any_port = given.before.is_some();
    let mut listeners = Vec::new();
    for address in wanted(config, activated) {
        let known = &mut given.listeners;
        listeners.extend(listen(config, address, identity, known, any_port)?);
    }
    listeners.extend(given.take_passed());
    for listener in &listeners {
        announce(listener, config.tls.is_some());
        tell_if_closed(config, listener);
        if config.takes_anybody() {
            warn_if_public(listener);
        }
    }
    Ok(listeners)
}

/// The sockets that a configuration names. What systemd has passed takes the place of the one that nobody named.
fn wanted(config: &Config, activated: bool) -> &[SocketAddress] {
    if config.default_socket && activated {
        return &[];
    }
    &config.sockets
}

fn listen(
    config: &Config,
    address: &SocketAddress,
    identity: Option<&Identity>,
    known: &mut Vec<Arc<Listener>>,
    any_port: bool,
) -> Result<Vec<Arc<Listener>>, SupervisorError> {
    let (user, group) = owner(config)?;
    let (to_user, to_group) = ids(identity);
    let mut binding = Binding::new(address.clone());
    binding.mode = config.socket_mode.map(|mode| mode.bits());
    binding.owner = (user.or(to_user), group.or(to_group));
    binding.backlog = config.backlog;
    Ok(listening::listen(&binding, known, any_port)?)
}

/// The user and the group of `--socket-owner`.
pub(in crate::supervisor) fn owner(
    config: &Config,
) -> Result<(Option<u32>, Option<u32>), ResolveError> {
    let owner = config.socket_owner.as_ref().map(|owner| owner.resolve());
    Ok(owner.transpose()?.unwrap_or_default())
}

/// Becomes the user, who then has an access log to write to.
fn become_user(config: &Config, identity: Option<&Identity>) -> Result<(), SupervisorError> {
    let Some(identity) = identity.filter(|identity| !identity.is_current()) else {
        return Ok(());
    };
    let failed = || SupervisorError::io("cannot open the access log");
    if let AccessLog::File(path) = &config.access_log {
        let (user, group) = identity.ids();
        observe::AccessLog::make_file(path, user, group).map_err(failed())?;
    }
    identity.assume()?;
    observe::AccessLog::try_open(&config.access_log).map_err(failed())?;
    Ok(())
}

/// Returns the user and the group that this process will become, and that own the files it makes.
fn ids(identity: Option<&Identity>) -> (Option<u32>, Option<u32>) {
    let future = identity.filter(|identity| !identity.is_current());
    future.map(Identity::ids).unwrap_or_default()
}

fn announce(listener: &Listener, tls: bool) {
    let passed = if listener.is_passed() {
        ", a socket that was passed"
    } else {
        ""
    };
    let address = listener.address();
    let upstream = as_nginx_has_it(address);
    let (over, scheme) = match address {
        SocketAddress::Tcp(..) if tls => (" (TLS)", "suwsgi://"),
        _ => ("", ""),
    };
    tracing::info!("listening on {address}{over}{passed} (nginx: uwsgi_pass {scheme}{upstream};)");
}

/// To be called for a listener that takes everybody's connections.
fn warn_if_public(listener: &Listener) {
    if listener.is_public() {
        tracing::warn!(cure = PUBLIC_CURE, "{}: {PUBLIC}", listener.address());
    }
}

/// The warning about a socket that everybody may reach.
pub(crate) const PUBLIC: &str = "whoever can reach this address may send requests, past the front server and in the name of any user";

/// What to do about it.
pub(crate) const PUBLIC_CURE: &str =
    "name the front servers with --allow-from, or listen on a unix socket or 127.0.0.1";

/// nginx would take a relative path from a directory of its own.
fn as_nginx_has_it(address: &SocketAddress) -> SocketAddress {
    match address {
        SocketAddress::Unix(path) => {
            SocketAddress::Unix(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        SocketAddress::Tcp(..) => address.clone(),
    }
}
