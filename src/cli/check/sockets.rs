use std::fs;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;

use super::Report;
use crate::config::{Cure, Mistake, SocketAddress, is_public, plain};
use crate::server::{holder, unix_owner};
use crate::supervisor::{
    CLOSED_CURE, Identity, PUBLIC, PUBLIC_CURE, closed_to_others, doubts, read_credentials,
};

impl Report {
    /// Checks the sockets: whether they could be listened on, and given to their owner.
    pub(super) fn sockets(&mut self) {
        for (index, address) in self.config.sockets.clone().into_iter().enumerate() {
            self.fact("socket", self.description(&address));
            let place = self.origins.of("socket", index);
            let found = match &address {
                SocketAddress::Unix(path) => unix(path),
                SocketAddress::Tcp(host, port) => tcp(host, *port),
            };
            if let Err(Wrong { what, cure }) = found {
                self.mistakes.push(Mistake { place, what, cure });
            }
            if self.config.takes_anybody() && is_public_address(&address) {
                self.fact("warning", format!("{address}: {PUBLIC}; {PUBLIC_CURE}"));
            }
            if let Some(closed) = self.closed(&address) {
                self.fact("note", format!("{address}: {closed}; {CLOSED_CURE}"));
            }
        }
        let networks: Vec<_> = self
            .config
            .allow_from
            .iter()
            .map(ToString::to_string)
            .collect();
        if !networks.is_empty() {
            self.fact("allow-from", format!("{} (over TCP)", networks.join(", ")));
        }
        self.tls();
        self.metrics();
        self.owner();
        self.backlog();
    }

    /// Who alone could connect to a unix socket, if that is not chosen.
    fn closed(&self, address: &SocketAddress) -> Option<String> {
        if address.is_tcp() {
            return None;
        }
        let given = self.config.umask.map(|it| Mode::from_raw_mode(it.bits()));
        let umask = given.unwrap_or_else(|| {
            // It can only be read by setting it. This process makes no files meanwhile.
            let umask = rustix::process::umask(Mode::empty());
            rustix::process::umask(umask);
            umask
        });
        let identity = Identity::of(&self.config).ok().flatten();
        let user = identity.and_then(|identity| identity.ids().0);
        let owner = user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        closed_to_others(&self.config, 0o777 & !umask.bits(), owner)
    }

    /// Tells whether TLS can be spoken with the files that are named.
    fn tls(&mut self) {
        let Some(files) = self.config.tls.clone() else {
            return;
        };
        let clients = match &files.client_ca {
            Some(ca) => format!(", clients with a certificate of {}", ca.display()),
            None => String::new(),
        };
        let (cert, key) = (files.cert.display(), files.key.display());
        self.fact("tls", format!("{cert} with the key {key}{clients}"));
        match read_credentials(&files) {
            Ok(credentials) => {
                for (doubt, cure) in doubts(&files, &credentials) {
                    self.fact("warning", format!("{doubt}: {cure}"));
                }
            }
            Err(error) => self.mistakes.push(Mistake {
                place: self.origins.of(error.option(), 0),
                what: error.what(),
                cure: error.cure(),
            }),
        }
        if !self.config.sockets.iter().any(SocketAddress::is_tcp) {
            self.fact(
                "warning",
                "--tls-cert changes nothing unless systemd passes a TCP socket: only those speak TLS",
            );
        }
    }

    /// Where Prometheus is answered, and whether it could be.
    fn metrics(&mut self) {
        let Some(address) = self.config.metrics.clone() else {
            return;
        };
        self.fact("metrics", address.to_string());
        let place = self.origins.of("metrics", 0);
        let found = match &address {
            _ if self.config.sockets.contains(&address) => wrong(
                format!("`{address}` is a --socket as well"),
                "choose another address: Prometheus speaks HTTP, nginx's uwsgi_pass does not",
            ),
            SocketAddress::Unix(path) => unix(path),
            SocketAddress::Tcp(host, port) => tcp(host, *port),
        };
        if let Err(Wrong { what, cure }) = found {
            self.mistakes.push(Mistake { place, what, cure });
        }
    }

    fn description(&self, address: &SocketAddress) -> String {
        let SocketAddress::Unix(_) = address else {
            let tls = self.config.tls.as_ref().map(|_| "TLS".to_owned());
            return with_details(address, places(address).into_iter().chain(tls));
        };
        let mode = self.config.socket_mode.map(|mode| format!("mode {mode}"));
        let owner = self
            .config
            .socket_owner
            .as_ref()
            .map(|owner| format!("owner {owner}"));
        with_details(address, mode.into_iter().chain(owner))
    }

    /// Tells whether the owner exists, and whether this user may give files to it: chown(2) lets only root change the
    /// user, and others only to a group they are in.
    fn owner(&mut self) {
        let Some(owner) = &self.config.socket_owner else {
            return;
        };
        let place = self.origins.of("socket-owner", 0);
        let (user, group) = match owner.resolve() {
            Ok(ids) => ids,
            Err(error) => return self.mistakes.push(Mistake::at(place, &error)),
        };
        let own = rustix::process::geteuid().as_raw();
        if own == 0 {
            return;
        }
        let mut groups: Vec<u32> = vec![rustix::process::getegid().as_raw()];
        let more = rustix::process::getgroups().unwrap_or_default();
        groups.extend(more.iter().map(|group| group.as_raw()));
        let (what, cure) = if user.is_some_and(|user| user != own) {
            (
                "only root may give the socket to another user",
                "start spile as root or as that user, or leave the user out, as in :GROUP",
            )
        } else if group.is_some_and(|group| !groups.contains(&group)) {
            (
                "this user may give the socket only to a group it is in",
                "add the user to the group, or start spile as root",
            )
        } else {
            return;
        };
        self.mistakes.push(Mistake {
            place,
            what: what.to_owned(),
            cure: cure.to_owned(),
        });
    }

    /// Looks whether the kernel lowers the queue's length without a word (listen(2)).
    fn backlog(&mut self) {
        let text = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        let most = text.trim().parse().unwrap_or(u32::MAX);
        if self.origins.has("backlog") && self.config.backlog > most {
            self.mistakes.push(Mistake {
                place: self.origins.of("backlog", 0),
                what: format!(
                    "the kernel allows a queue of {most}, not {}",
                    self.config.backlog
                ),
                cure: format!(
                    "give {most} or less, or raise it: sysctl net.core.somaxconn={}",
                    self.config.backlog
                ),
            });
        }
    }
}

fn with_details(address: &SocketAddress, details: impl Iterator<Item = String>) -> String {
    let details: Vec<_> = details.collect();
    if details.is_empty() {
        address.to_string()
    } else {
        format!("{address} ({})", details.join(", "))
    }
}

/// Returns the addresses of a host name, in words.
fn places(address: &SocketAddress) -> Option<String> {
    address.name()?;
    let places = address.places().ok()?;
    let places: Vec<_> = places.iter().map(ToString::to_string).collect();
    Some(places.join(" and "))
}

/// Tells whether a socket there could be reached from everywhere.
fn is_public_address(address: &SocketAddress) -> bool {
    let SocketAddress::Tcp(host, port) = address else {
        return false;
    };
    let mut resolved = (host.as_str(), *port)
        .to_socket_addrs()
        .into_iter()
        .flatten();
    resolved.any(|address| is_public(address.ip()))
}

/// What is wrong, and what to do.
struct Wrong {
    what: String,
    cure: String,
}

fn wrong(what: impl Into<String>, cure: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong {
        what: what.into(),
        cure: cure.into(),
    })
}

fn unix(path: &Path) -> Result<(), Wrong> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let shown = directory.display();
    if !directory.is_dir() {
        return wrong(
            format!("`{shown}` is not a directory"),
            format!(
                "make it: mkdir -p {shown}; below /run a systemd unit does that with RuntimeDirectory="
            ),
        );
    }
    if !super::files::is_writable_directory(directory) {
        return wrong(
            format!("this user may not make files in `{shown}`"),
            "choose a directory that the user spile runs as may write to",
        );
    }
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return wrong(
                format!("`{shown}` exists and is not a socket"),
                "choose another path, or remove it: spile replaces nothing but sockets",
            );
        }
        Ok(_) => {}
    }
    match unix_owner(path) {
        Ok(None) => Ok(()),
        Ok(Some(pid)) => wrong(
            format!("{}{} listens on `{shown}`", holder(pid), name_of(pid)),
            "stop that process (ss -xlp names all that hold it), or choose another path",
        ),
        Err(error) => wrong(
            format!("`{shown}` is in use: {}", plain(&error)),
            "stop what uses it, or choose another path",
        ),
    }
}

/// A process's name in brackets, if the system tells.
fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.is_empty() {
        name
    } else {
        format!(" ({})", name.trim_end())
    }
}

fn tcp(host: &str, port: u16) -> Result<(), Wrong> {
    let addresses: Vec<_> = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let cure = "give an IP address of this machine, or a name it can resolve";
            return wrong(format!("cannot resolve `{host}`: {}", plain(&error)), cure);
        }
    };
    // One of a name's addresses will do: a machine without IPv6 has a name with one all the same.
    let mut elsewhere = Ok(());
    let mut here = Vec::new();
    for address in addresses {
        match is_here(address) {
            Ok(()) => here.push(address),
            Err(error) => elsewhere = Err(error),
        }
    }
    if here.is_empty() {
        return elsewhere.and(wrong(
            format!("`{host}` has no address"),
            "give an IP address of this machine",
        ));
    }
    here.into_iter()
        .try_for_each(|address| is_free(host, address))
}

fn is_here(address: SocketAddr) -> Result<(), Wrong> {
    // Tells whether the address is this machine's, without touching the port that is asked for.
    if let Err(error) = UdpSocket::bind(SocketAddr::new(address.ip(), 0)) {
        return wrong(
            format!(
                "`{}` is not an address of this machine: {}",
                address.ip(),
                plain(&error)
            ),
            "give one of its own, or 0.0.0.0 or [::] for all of them",
        );
    }
    Ok(())
}

fn is_free(host: &str, address: SocketAddr) -> Result<(), Wrong> {
    let port = address.port();
    // 0.0.0.0 reaches this machine as well, but then only what listens on it too would be found.
    if port != 0 && TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok() {
        return wrong(
            format!("something listens on `{host}` port {port} already"),
            format!("find it with `ss -ltnp sport = :{port}` and stop it, or choose another port"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn said(found: Result<(), Wrong>) -> String {
        found.err().map(|wrong| wrong.what).unwrap_or_default()
    }

    #[test]
    fn a_live_unix_socket_names_its_owner_and_a_stale_one_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        assert_eq!(said(unix(&path)), "");
        let listener = UnixListener::bind(&path).unwrap();
        let live = said(unix(&path));
        let process = format!("process {} (", std::process::id());
        assert!(live.starts_with(&process), "{live}");
        drop(listener);
        assert!(path.exists());
        assert_eq!(said(unix(&path)), "");
    }

    #[test]
    fn a_unix_socket_needs_its_directory_and_replaces_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none");
        let found = said(unix(&missing.join("s")));
        assert_eq!(found, format!("`{}` is not a directory", missing.display()));
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(
            said(unix(&file)),
            format!("`{}` exists and is not a socket", file.display())
        );
    }

    #[test]
    fn a_port_may_be_taken_and_an_address_elsewhere() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(
            said(tcp("127.0.0.1", port)),
            format!("something listens on `127.0.0.1` port {port} already")
        );
        drop(listener);
        assert_eq!(said(tcp("127.0.0.1", port)), "");
        assert_eq!(said(tcp("127.0.0.1", 0)), "");
        // TEST-NET-1 (RFC 5737) belongs to nobody.
        assert!(
            said(tcp("192.0.2.1", 0)).starts_with("`192.0.2.1` is not an address of this machine")
        );
    }
}
