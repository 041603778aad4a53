//! Sockets to accept on.

use std::{
    fmt, fs, io,
    net::{SocketAddr, ToSocketAddrs},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::{Pid, test_kill_process},
};
use thiserror::Error;

use super::{
    allow::Guard,
    fd::off_stdio,
    socket_file::{FileId, SocketFile, SocketFileState},
};
use crate::address::{SocketAddress, is_public};
#[cfg(feature = "tls")]
use crate::server::Tls;

/// How a listening socket is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Binding {
    /// Where; of a host name's addresses the first.
    pub address: SocketAddress,
    /// The host name that this is an address of, if it is one.
    pub name: Option<String>,
    /// Permission bits of a unix socket's file; without, what the umask leaves.
    pub mode: Option<u32>,
    /// User and group ids of a unix socket's file.
    pub owner: (Option<u32>, Option<u32>),
    /// How many connections the kernel keeps until they are accepted. It caps this at
    /// `net.core.somaxconn`; when a unix socket's queue is full, nginx answers 502.
    pub backlog: u32,
}

impl Binding {
    /// A binding with a queue of 4096.
    #[must_use]
    pub fn new(address: SocketAddress) -> Self {
        Self {
            address,
            name: None,
            mode: None,
            owner: (None, None),
            backlog: 4096,
        }
    }
}

/// What kind of socket a connection came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Unix,
    Tcp,
}

/// A listening socket. A unix socket's file is removed when the listener that made it is dropped.
pub struct Listener {
    // Dropped first: nobody finds the name of a socket that is closed.
    file: Option<SocketFile>,
    fd: OwnedFd,
    address: SocketAddress,
    name: Option<String>,
    passed: bool,
    guard: Option<Guard>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Listener {
    /// Binds and listens. A unix socket's file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// See [`BindError`]. A socket that another process listens on is left alone.
    pub fn bind(binding: &Binding) -> Result<Self, BindError> {
        match &binding.address {
            SocketAddress::Unix(path) => Self::bind_unix(path, binding),
            SocketAddress::Tcp(host, port) => Self::bind_tcp(host, *port, binding),
        }
    }

    /// Takes a socket that listens already, such as one that was inherited. Its file is not removed.
    ///
    /// # Errors
    /// The descriptor cannot be made non-blocking.
    pub fn from_fd(fd: OwnedFd, address: SocketAddress) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self {
            fd,
            address,
            name: None,
            file: None,
            passed: true,
            guard: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Takes a socket that an earlier process of spile has made, and its file, which is removed only once this
    /// process owns it: see [`Listener::own_file`].
    ///
    /// # Errors
    /// The descriptor cannot be made non-blocking.
    pub fn handed_over(
        fd: OwnedFd,
        address: SocketAddress,
        name: Option<String>,
        file: Option<FileId>,
    ) -> io::Result<Self> {
        let file = match (&address, file) {
            (SocketAddress::Unix(path), Some(id)) => Some(SocketFile::of_another(path, id)),
            _ => None,
        };
        Ok(Self {
            file,
            name,
            passed: false,
            ..Self::from_fd(fd, address)?
        })
    }

    /// Whether the socket was passed in by something that is not spile, such as systemd.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.passed
    }

    /// The file that spile has bound the socket to, if it has one and made it.
    #[must_use]
    pub fn file(&self) -> Option<FileId> {
        self.file.as_ref().map(SocketFile::id)
    }

    /// Makes this process the one that removes the file.
    pub fn own_file(&self) {
        if let Some(file) = &self.file {
            file.own();
        }
    }

    /// Leaves the file to another process.
    pub fn forget_file(&self) {
        if let Some(file) = &self.file {
            file.forget();
        }
    }

    /// Whether it is found by its address. That can change only for a unix socket whose file spile has made.
    #[must_use]
    pub fn file_state(&self) -> SocketFileState {
        self.file
            .as_ref()
            .map_or(SocketFileState::Reachable, SocketFile::file_state)
    }

    /// Gives the file that spile has bound the socket to other permission bits.
    ///
    /// # Errors
    /// The file is not this user's.
    #[cfg(feature = "cli")]
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let file = self.file.as_ref();
        file.map_or(Ok(()), |file| file.set_mode(mode))
    }

    /// Gives that file another user and group.
    ///
    /// # Errors
    /// This process may not give files away.
    #[cfg(feature = "cli")]
    pub(crate) fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let file = self.file.as_ref();
        file.map_or(Ok(()), |file| file.set_owner(user, group))
    }

    /// Has the kernel keep so many connections until they are accepted: see [`Binding::backlog`].
    ///
    /// # Errors
    /// The system refuses.
    #[cfg(feature = "cli")]
    pub(crate) fn set_backlog(&self, backlog: u32) -> io::Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        Ok(rustix::net::listen(&self.fd, backlog)?)
    }

    /// Where it listens: for port 0 the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> &SocketAddress {
        &self.address
    }

    /// The host name that it was bound for, if it was bound for one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where it was asked to listen: with the host name, and the port that the kernel chose.
    #[must_use]
    pub fn asked(&self) -> SocketAddress {
        match (&self.name, &self.address) {
            (Some(name), SocketAddress::Tcp(_, port)) => SocketAddress::Tcp(name.clone(), *port),
            (_, address) => address.clone(),
        }
    }

    /// Whether others than this machine and its private networks can reach it, as far as its address tells: `0.0.0.0`,
    /// `[::]`, and every address that is neither a private network's nor this machine's own.
    #[must_use]
    pub fn is_public(&self) -> bool {
        let bound = rustix::net::getsockname(&self.fd).map(SocketAddr::try_from);
        matches!(bound, Ok(Ok(bound)) if is_public(bound.ip()))
    }

    /// Has it look at who connects, if it is a TCP socket.
    pub(crate) fn guard(&mut self, guard: &Guard) {
        self.guard = (self.family() == Family::Tcp).then(|| guard.clone());
    }

    /// Has what is accepted from now on speak TLS. A unix socket stays as it is: nginx speaks TLS over TCP only.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = (self.family() == Family::Tcp).then_some(tls);
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Takes the socket's file away from it: it is removed when that is dropped.
    pub(crate) fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// A connection that waits to be accepted. [`Errno::CONNABORTED`] if that is one which is not allowed: it is
    /// closed, and others may wait behind it.
    pub(crate) fn accept_now(&self) -> rustix::io::Result<OwnedFd> {
        self.accept_allowed(SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
    }

    fn accept_allowed(&self, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
        let Some(guard) = &self.guard else {
            return rustix::net::accept_with(&self.fd, flags).and_then(off_stdio);
        };
        let (accepted, peer) = rustix::net::acceptfrom_with(&self.fd, flags)?;
        let accepted = off_stdio(accepted)?;
        match peer.map(SocketAddr::try_from) {
            Some(Ok(peer)) if guard.admits(peer.ip()) => Ok(accepted),
            _ => Err(Errno::CONNABORTED),
        }
    }

    pub(crate) fn family(&self) -> Family {
        match self.address {
            SocketAddress::Unix(_) => Family::Unix,
            SocketAddress::Tcp(..) => Family::Tcp,
        }
    }

    fn bind_unix(path: &Path, binding: &Binding) -> Result<Self, BindError> {
        let io = |source| BindError::Io {
            address: binding.address.clone(),
            source,
        };
        clear_stale(path, &binding.address)?;
        // Bound beside its place, finished, then moved there: nobody finds a half-made socket, and nobody can connect
        // to one before it listens.
        let beside = beside(path);
        let _ = fs::remove_file(&beside);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let bound = || -> rustix::io::Result<OwnedFd> {
            let fd =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            rustix::net::bind(&fd, &SocketAddrUnix::new(&beside)?)?;
            Ok(fd)
        };
        let fd = bound().map_err(|error| io(error.into()))?;
        let finish = || {
            if let Some(mode) = binding.mode {
                fs::set_permissions(&beside, fs::Permissions::from_mode(mode))?;
            }
            let (user, group) = binding.owner;
            if user.is_some() || group.is_some() {
                std::os::unix::fs::chown(&beside, user, group)?;
            }
            rustix::net::listen(&fd, i32::try_from(binding.backlog).unwrap_or(i32::MAX))?;
            fs::rename(&beside, path)
        };
        finish().map_err(|source| {
            let _ = fs::remove_file(&beside);
            io(source)
        })?;
        let file = SocketFile::of(path).map_err(io)?;
        Ok(Self {
            fd,
            address: binding.address.clone(),
            name: None,
            file: Some(file),
            passed: false,
            guard: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    fn bind_tcp(host: &str, port: u16, binding: &Binding) -> Result<Self, BindError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse {
                address: binding.address.clone(),
                owner: None,
            },
            _ => BindError::Io {
                address: binding.address.clone(),
                source,
            },
        };
        let address = (host, port)
            .to_socket_addrs()
            .map_err(io)?
            .next()
            .ok_or_else(|| {
                io(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the host name has no address",
                ))
            })?;
        let listen = || -> io::Result<(OwnedFd, u16)> {
            let family = if address.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
            rustix::net::sockopt::set_socket_reuseaddr(&fd, true)?;
            // Inherited by what is accepted: chunks of a stream are not held back for more.
            rustix::net::sockopt::set_tcp_nodelay(&fd, true)?;
            rustix::net::bind(&fd, &address)?;
            rustix::net::listen(&fd, i32::try_from(binding.backlog).unwrap_or(i32::MAX))?;
            let bound = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
            Ok((fd, bound.port()))
        };
        let (fd, port) = listen().map_err(io)?;
        Ok(Self {
            fd,
            address: SocketAddress::Tcp(host.to_owned(), port),
            name: binding.name.clone(),
            file: None,
            passed: false,
            guard: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("fd", &self.fd)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Why a socket cannot be listened on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there.
    #[error("{address} is in use{}", by_whom(*owner))]
    InUse {
        /// Where.
        address: SocketAddress,
        /// The process that has made the socket listen, where the kernel says.
        owner: Option<u32>,
    },
    /// There is a file that is no socket.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The address is not one.
    #[error(transparent)]
    Address(#[from] crate::address::AddressError),
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddress,
        /// Why.
        source: io::Error,
    },
}

fn by_whom(owner: Option<u32>) -> String {
    match owner {
        // Two options name one place in different ways.
        Some(pid) if pid == std::process::id() => {
            " by another socket of this server itself".to_owned()
        }
        Some(pid) => format!(" by {}", holder(pid)),
        None => String::new(),
    }
}

#[cfg(feature = "cli")]
impl BindError {
    /// Whether another user might be allowed to.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// The process that has made a unix socket listen, if one listens there. Its children may have outlived it.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when somebody listens whose queue is full; else why the file cannot be connected to.
pub fn unix_owner(path: &Path) -> io::Result<Option<u32>> {
    // Not blocking: a full queue of a server that hangs would hold this up for good.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let peer = rustix::net::sockopt::socket_peercred(&socket)?;
            Ok(u32::try_from(peer.pid.as_raw_nonzero().get()).ok())
        }
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who holds a socket that this process has made listen.
pub(crate) fn holder(pid: u32) -> String {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let is_gone = process.is_some_and(|it| test_kill_process(it) == Err(Errno::SRCH));
    if is_gone {
        format!("a child of process {pid}, which is gone")
    } else {
        format!("process {pid}")
    }
}

/// Makes sure that nobody listens at `path` and that only a socket would be replaced.
fn clear_stale(path: &Path, address: &SocketAddress) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match unix_owner(path) {
        Ok(None) => Ok(()),
        Ok(owner) => Err(BindError::InUse {
            address: address.clone(),
            owner,
        }),
        Err(source) if source.kind() == io::ErrorKind::WouldBlock => Err(BindError::InUse {
            address: address.clone(),
            owner: None,
        }),
        Err(source) => Err(BindError::Io {
            address: address.clone(),
            source,
        }),
    }
}

/// A name in the same directory, short enough to be bound wherever `path` is.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn binding(path: &Path) -> Binding {
        Binding::new(SocketAddress::Unix(path.to_owned()))
    }

    #[cfg(feature = "cli")]
    #[test]
    fn permissions_are_changed_of_no_file_but_the_socket_s() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = Listener::bind(&binding(&path)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        listener.set_mode(0o640).unwrap();
        assert_eq!(mode(&path), 0o640);
        let other = directory.path().join("other");
        fs::write(&other, "").unwrap();
        let before = mode(&other);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        listener.set_mode(0o666).unwrap_err();
        assert_eq!(mode(&other), before);
    }

    #[test]
    fn a_stale_file_is_replaced_and_ours_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&Binding {
            mode: Some(0o600),
            ..binding(&path)
        })
        .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_noticed_and_another_s_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let old = Listener::bind(&binding(&path)).unwrap();
        assert_eq!(old.file_state(), SocketFileState::Reachable);
        fs::remove_file(&path).unwrap();
        assert_eq!(old.file_state(), SocketFileState::Gone);
        let new = Listener::bind(&binding(&path)).unwrap();
        assert_eq!(old.file_state(), SocketFileState::Replaced);
        drop(old);
        assert_eq!(new.file_state(), SocketFileState::Reachable);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_live_socket_is_left_alone_and_its_owner_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let _live = Listener::bind(&binding(&path)).unwrap();
        let error = Listener::bind(&binding(&path)).unwrap_err();
        assert!(
            matches!(error, BindError::InUse { owner: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        assert!(
            error.to_string().ends_with("socket of this server itself"),
            "{error}"
        );
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_process_that_is_gone_is_not_said_to_hold_a_socket() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(
            holder(pid),
            format!("a child of process {pid}, which is gone")
        );
        let own = std::process::id();
        assert_eq!(holder(own), format!("process {own}"));
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::bind(&binding(&path)),
            Err(BindError::NotASocket { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_socket_that_was_handed_on_keeps_its_file_until_somebody_owns_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let old = Listener::bind(&binding(&path)).unwrap();
        let copy = || {
            let fd = old.as_fd().try_clone_to_owned().unwrap();
            Listener::handed_over(fd, old.address().clone(), None, old.file()).unwrap()
        };
        let (new, failed) = (copy(), copy());
        drop(failed);
        assert!(path.exists());
        old.forget_file();
        drop(old);
        assert!(path.exists());
        new.own_file();
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn port_0_becomes_the_port_that_was_given() {
        let listener = Listener::bind(&Binding::new("127.0.0.1:0".parse().unwrap())).unwrap();
        assert!(matches!(listener.address(), SocketAddress::Tcp(_, port) if *port != 0));
        let again = Listener::bind(&Binding::new(listener.address().clone()));
        assert!(matches!(again, Err(BindError::InUse { .. })));
    }
}
