//! Where a server listens.

use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

#[cfg(feature = "config")]
use serde::{Deserialize, Serialize};

/// An address to listen on, or to send a request to.
///
/// Written `unix:/run/app.sock` or `unix:///run/app.sock`, or a path alone when it has a slash or ends in `.sock`;
/// else `HOST:PORT` or `[::1]:PORT`. Port 0 leaves the choice to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "config", serde(try_from = "String", into = "String"))]
#[non_exhaustive]
pub enum SocketAddress {
    /// A unix socket's path, 107 bytes at most.
    Unix(PathBuf),
    /// A host name or address (IPv6 without its brackets) and a port.
    Tcp(String, u16),
}

impl SocketAddress {
    /// The longest path of a unix socket, in bytes: `sun_path` holds 108 with its final NUL (unix(7)).
    pub const MAX_PATH: usize = 107;

    /// Tells whether the address is reached over TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(..))
    }
}

impl FromStr for SocketAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |why: fn(String) -> AddressError| Err(why(text.to_owned()));
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix://") {
            // As a URL it has an empty host between the second slash and the third.
            return if path.contains("://") {
                wrong(AddressError::Scheme)
            } else if path.is_empty() || path.starts_with('/') {
                unix(path)
            } else {
                wrong(AddressError::RelativeUrl)
            };
        }
        if text.starts_with("fd://") {
            return wrong(AddressError::Descriptor);
        }
        if text.contains("://") {
            return wrong(AddressError::Scheme);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if text.contains('/') || text.ends_with(".sock") {
            return unix(text);
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return wrong(if text.parse::<u16>().is_ok() {
                AddressError::NoHost
            } else {
                AddressError::NoPort
            });
        };
        if host.is_empty() || host == "*" {
            return wrong(AddressError::NoHost);
        }
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(inner) if is_ipv6(inner) => inner,
            Some(_) => return wrong(AddressError::BadHost),
            None if is_ipv6(text) || is_ipv6(host) => return wrong(AddressError::NoBrackets),
            None if text.starts_with('[') && text.ends_with(']') => {
                return wrong(AddressError::NoPort);
            }
            None if host.contains([':', '[', ']']) || host.contains(char::is_whitespace) => {
                return wrong(AddressError::BadHost);
            }
            None => host,
        };
        if port.is_empty() {
            return wrong(AddressError::NoPort);
        }
        match port.parse() {
            // `parse` takes a sign; a port has none.
            Ok(number) if !port.starts_with('+') => Ok(Self::Tcp(host.to_owned(), number)),
            _ => Err(AddressError::BadPort {
                address: text.to_owned(),
                port: port.to_owned(),
            }),
        }
    }
}

fn unix(path: &str) -> Result<SocketAddress, AddressError> {
    match path.len() {
        0 => Err(AddressError::Empty),
        _ if path.ends_with('/') => Err(AddressError::Directory(path.to_owned())),
        len if len > SocketAddress::MAX_PATH => Err(AddressError::PathTooLong {
            path: path.to_owned(),
            len,
        }),
        _ => Ok(SocketAddress::Unix(path.into())),
    }
}

/// Tells whether `host` is an IPv6 address, perhaps with a zone (`fe80::1%eth0`).
fn is_ipv6(host: &str) -> bool {
    host.split('%')
        .next()
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // After `unix:` it would read as the scheme of a URL.
            Self::Unix(path) if path.as_os_str().as_bytes().starts_with(b"//") => {
                write!(f, "{}", path.display())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl TryFrom<String> for SocketAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<SocketAddress> for String {
    fn from(address: SocketAddress) -> Self {
        address.to_string()
    }
}

/// The reason why a text is no [`SocketAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing, or nothing after `unix:`.
    #[error("the address is empty")]
    Empty,
    /// A URL.
    #[error("`{0}` is a URL, not an address")]
    Scheme(String),
    /// `unix://` and a relative path.
    #[error("`{0}` has no absolute path after `unix://`")]
    RelativeUrl(String),
    /// The number of a descriptor.
    #[error("`{0}` is a descriptor, not an address")]
    Descriptor(String),
    /// The path ends in a slash.
    #[error("`{0}` names a directory, not a socket")]
    Directory(String),
    /// The path does not fit into a unix socket's address.
    #[error("the socket's path is {len} bytes long, the kernel takes {max}: {path}", max = SocketAddress::MAX_PATH)]
    PathTooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A port alone, or with `*` for the host.
    #[error("`{0}` has no host")]
    NoHost(String),
    /// A host alone.
    #[error("`{0}` has no port")]
    NoPort(String),
    /// An IPv6 address outside brackets: where it ends and the port begins is a guess.
    #[error("`{0}` has an IPv6 address without brackets")]
    NoBrackets(String),
    /// Not a host name or address.
    #[error("`{0}` has no host name or IP address before the port")]
    BadHost(String),
    /// Not a port.
    #[error("`{port}` is not a port, in `{address}`")]
    BadPort {
        /// The whole address.
        address: String,
        /// What stands for the port.
        port: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for (text, written) in [
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
            ("unix:////run/app.sock", "//run/app.sock"),
            ("/run/app.sock", "unix:/run/app.sock"),
            ("./app", "unix:./app"),
            ("app.sock", "unix:app.sock"),
            ("//run/app.sock", "//run/app.sock"),
            ("unix:app", "unix:app"),
            ("127.0.0.1:3031", "127.0.0.1:3031"),
            ("localhost:0", "localhost:0"),
            ("[::1]:3031", "[::1]:3031"),
            ("[fe80::1%eth0]:3031", "[fe80::1%eth0]:3031"),
        ] {
            let address: SocketAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), written);
            assert_eq!(written.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let own = str::to_owned;
        let bad_port = |address: &str, port: &str| AddressError::BadPort {
            address: own(address),
            port: own(port),
        };
        for (text, error) in [
            ("", AddressError::Empty),
            ("unix:", AddressError::Empty),
            (
                "uwsgi://127.0.0.1:3031",
                AddressError::Scheme(own("uwsgi://127.0.0.1:3031")),
            ),
            (
                "unix://run/app.sock",
                AddressError::RelativeUrl(own("unix://run/app.sock")),
            ),
            ("unix://", AddressError::Empty),
            ("unix:///a://b", AddressError::Scheme(own("unix:///a://b"))),
            ("unix:///", AddressError::Directory(own("/"))),
            ("fd://3", AddressError::Descriptor(own("fd://3"))),
            ("/run/", AddressError::Directory(own("/run/"))),
            (":3031", AddressError::NoHost(own(":3031"))),
            ("*:3031", AddressError::NoHost(own("*:3031"))),
            ("3031", AddressError::NoHost(own("3031"))),
            ("localhost", AddressError::NoPort(own("localhost"))),
            ("localhost:", AddressError::NoPort(own("localhost:"))),
            ("[::1]", AddressError::NoPort(own("[::1]"))),
            ("::1:3031", AddressError::NoBrackets(own("::1:3031"))),
            (
                "[nonsense]:3031",
                AddressError::BadHost(own("[nonsense]:3031")),
            ),
            ("a b:3031", AddressError::BadHost(own("a b:3031"))),
            ("localhost:65536", bad_port("localhost:65536", "65536")),
            ("localhost:+80", bad_port("localhost:+80", "+80")),
            ("localhost:http", bad_port("localhost:http", "http")),
        ] {
            assert_eq!(text.parse::<SocketAddress>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_unix_path_may_have_107_bytes() {
        let longest = format!("/{}", "a".repeat(106));
        assert_eq!(
            longest.parse(),
            Ok(SocketAddress::Unix(longest.clone().into()))
        );
        let path = format!("{longest}a");
        assert_eq!(
            path.parse::<SocketAddress>(),
            Err(AddressError::PathTooLong { path, len: 108 })
        );
    }
}
