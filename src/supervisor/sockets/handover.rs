//! How one master hands its sockets and its pid file to the next: by inheritance, with a list in the environment.

use std::{
    env, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
    process::Command,
    rc::Rc,
    sync::Arc,
};

use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::{
    inherited::{ActivationError, Given, HANDED_OVER, VARIABLES, take_descriptor, take_listening},
    pidfile::Pidfile,
};
use crate::{
    address::SocketAddress,
    server::{FileId, Listener},
    supervisor::system::credentials::SealedCredentials,
};

/// Takes the sockets and files of the master before this one; `None` if there is none.
pub(in crate::supervisor) fn take() -> Result<Option<Given>, ActivationError> {
    let Some(text) = env::var_os(HANDED_OVER).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let handed_over = serde_json::from_str(&text.to_string_lossy());
    take_handed_over(handed_over.map_err(ActivationError::HandedOver)?).map(Some)
}

/// The descriptors that a master hands to the next.
#[derive(Debug, Serialize, Deserialize)]
struct HandedOver {
    sockets: Vec<HandedSocket>,
    pidfile: Option<HandedPidfile>,
    /// Sealed memory with the certificate and the key.
    credentials: Option<RawFd>,
    /// The end of a pipe to say that it serves.
    ready: RawFd,
    /// The end of a pipe to the first process of the container, to say so too.
    #[serde(default)]
    first: Option<RawFd>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedSocket {
    fd: RawFd,
    address: SocketAddress,
    /// The host name that it was bound for.
    name: Option<String>,
    /// Its file, if that is spile's to remove.
    file: Option<FileId>,
    /// Whether systemd had passed it.
    passed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedPidfile {
    fd: RawFd,
    path: PathBuf,
}

/// Descriptors that the next process inherits; no longer when this is dropped.
#[derive(Debug)]
#[must_use]
pub(in crate::supervisor) struct Inheritable<'a>(Vec<BorrowedFd<'a>>);

impl Drop for Inheritable<'_> {
    fn drop(&mut self) {
        for fd in &self.0 {
            // It was set before, so it can be set.
            let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
    }
}

/// Has `command`, a new master, inherit the sockets, the pid file, the credentials and the end of a pipe by which to
/// say that it serves, to the first process of a container as well. What this returns has to be kept until the command was started, and no other started meanwhile.
///
/// # Errors
/// A descriptor cannot be made inheritable.
pub(in crate::supervisor) fn hand_over<'a>(
    command: &mut Command,
    listeners: impl Iterator<Item = &'a Listener> + Clone,
    pidfile: Option<&'a Pidfile>,
    credentials: Option<&'a SealedCredentials>,
    ready: &'a OwnedFd,
    first: Option<BorrowedFd<'a>>,
) -> io::Result<Inheritable<'a>> {
    let handed_over = HandedOver {
        sockets: listeners
            .clone()
            .map(|listener| HandedSocket {
                fd: listener.as_raw_fd(),
                address: listener.address().clone(),
                name: listener.name().map(str::to_owned),
                file: listener.file(),
                passed: listener.is_passed(),
            })
            .collect(),
        pidfile: pidfile.map(|pidfile| HandedPidfile {
            fd: pidfile.as_fd().as_raw_fd(),
            path: pidfile.path().to_owned(),
        }),
        credentials: credentials.map(|it| it.as_fd().as_raw_fd()),
        ready: ready.as_raw_fd(),
        first: first.map(|it| it.as_raw_fd()),
    };
    let inheritable = Inheritable(
        listeners
            .map(AsFd::as_fd)
            .chain(pidfile.map(AsFd::as_fd))
            .chain(credentials.map(AsFd::as_fd))
            .chain([ready.as_fd()])
            .chain(first)
            .collect(),
    );
    for fd in &inheritable.0 {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
    }
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
        // The watchdog is the new one's to feed.
        .env_remove("WATCHDOG_PID")
        .env(HANDED_OVER, serde_json::to_string(&handed_over)?);
    Ok(inheritable)
}

fn take_handed_over(handed_over: HandedOver) -> Result<Given, ActivationError> {
    let mut listeners = Vec::new();
    for HandedSocket {
        fd,
        address,
        name,
        file,
        passed,
    } in handed_over.sockets
    {
        let listener = take_listening(fd).and_then(|fd| {
            Ok(if passed {
                Listener::from_fd(fd, address)?
            } else {
                Listener::handed_over(fd, address, name, file)?
            })
        });
        listeners.push(Arc::new(
            listener.map_err(|unfit| unfit.of(fd, HANDED_OVER))?,
        ));
    }
    let pidfile = handed_over
        .pidfile
        .map(|HandedPidfile { fd, path }| {
            let taken = take_descriptor(fd).map_err(|unfit| unfit.of(fd, HANDED_OVER))?;
            Ok(Pidfile::handed_over(path, taken))
        })
        .transpose()?;
    let credentials = handed_over
        .credentials
        .map(|fd| {
            let taken = take_descriptor(fd).and_then(|fd| Ok(SealedCredentials::take(fd)?));
            taken
                .map(Rc::new)
                .map_err(|unfit| unfit.of(fd, HANDED_OVER))
        })
        .transpose()?;
    let ready = handed_over.ready;
    let before = take_descriptor(ready).map_err(|unfit| unfit.of(ready, HANDED_OVER))?;
    let first = handed_over
        .first
        .map(|fd| take_descriptor(fd).map_err(|unfit| unfit.of(fd, HANDED_OVER)))
        .transpose()?;
    Ok(Given {
        listeners,
        pidfile,
        credentials,
        before: Some(before),
        first,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_master_gets_sockets_and_pid_file_and_no_other_child_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let binding = crate::server::Binding::new(SocketAddress::Unix(path));
        let listeners = [Listener::bind(&binding).unwrap()];
        let pidfile = Pidfile::write(&directory.path().join("pid")).unwrap();
        let flags = |fd: BorrowedFd<'_>| rustix::io::fcntl_getfd(fd).unwrap();
        let mut command = Command::new("true");
        let (_reading, ready) = rustix::pipe::pipe().unwrap();
        let inheritable = hand_over(
            &mut command,
            listeners.iter(),
            Some(&pidfile),
            None,
            &ready,
            None,
        )
        .unwrap();
        assert_eq!(flags(listeners[0].as_fd()), FdFlags::empty());
        assert_eq!(flags(pidfile.as_fd()), FdFlags::empty());
        drop(inheritable);
        assert_eq!(flags(listeners[0].as_fd()), FdFlags::CLOEXEC);
        let (_, text) = command
            .get_envs()
            .find(|(name, _)| *name == HANDED_OVER)
            .unwrap();
        let text = text.unwrap().to_str().unwrap();
        let mut handed_over: HandedOver = serde_json::from_str(text).unwrap();
        // Another process would have copies of its own under these numbers.
        let copy = |fd: BorrowedFd<'_>| {
            use std::os::fd::IntoRawFd;
            fd.try_clone_to_owned().unwrap().into_raw_fd()
        };
        handed_over.sockets[0].fd = copy(listeners[0].as_fd());
        handed_over.pidfile.as_mut().unwrap().fd = copy(pidfile.as_fd());
        handed_over.ready = copy(ready.as_fd());
        let mut given = take_handed_over(handed_over).unwrap();
        assert!(given.before.is_some());
        assert_eq!(given.pidfile.as_ref().unwrap().path(), pidfile.path());
        let taken = given.take_at(listeners[0].address()).unwrap();
        assert!(!taken.is_passed());
        assert_eq!(taken.file(), listeners[0].file());
    }
}
