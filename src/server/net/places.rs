//! A host name and a port as the addresses that they mean.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
};

use crate::address::SocketAddress;

impl SocketAddress {
    /// The addresses of a host name, each with the port, in the order the resolver prefers. Any other address is its
    /// own only one.
    ///
    /// # Errors
    /// The name has no address, or the resolver does not say.
    pub fn places(&self) -> io::Result<Vec<Self>> {
        let Some((host, port)) = self.name() else {
            return Ok(vec![self.clone()]);
        };
        let mut places: Vec<Self> = Vec::new();
        for address in (host, port).to_socket_addrs()? {
            let place = Self::Tcp(numeric(&address), port);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        if places.is_empty() {
            let error = "the host name has no address";
            return Err(io::Error::new(io::ErrorKind::NotFound, error));
        }
        Ok(places)
    }

    /// The host name, if it has one that is no IP address, and the port.
    pub(crate) fn name(&self) -> Option<(&str, u16)> {
        match self {
            // A zone stands after an IPv6 address, and a colon in no name.
            Self::Tcp(host, port) if host.parse::<IpAddr>().is_err() && !host.contains(':') => {
                Some((host, *port))
            }
            _ => None,
        }
    }

    /// The same host at another port.
    #[cfg(feature = "cli")]
    pub(crate) fn at_port(&self, port: u16) -> Self {
        match self {
            Self::Tcp(host, _) => Self::Tcp(host.clone(), port),
            Self::Unix(_) => self.clone(),
        }
    }
}

fn numeric(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => {
            format!("{}%{}", address.ip(), address.scope_id())
        }
        _ => address.ip().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let address: SocketAddress = text.parse().unwrap();
        address
            .places()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_address_is_its_own_only_one() {
        for text in [
            "127.0.0.1:3031",
            "[::1]:0",
            "[fe80::1%lo]:3031",
            "unix:/run/a.sock",
        ] {
            assert_eq!(places(text), [text]);
        }
    }

    #[test]
    fn a_name_has_each_of_its_addresses_once() {
        let found = places("localhost:3031");
        assert!(found.contains(&"127.0.0.1:3031".to_owned()), "{found:?}");
        for place in &found {
            assert!(
                ["127.0.0.1:3031", "[::1]:3031"].contains(&place.as_str()),
                "{found:?}"
            );
            assert_eq!(found.iter().filter(|it| *it == place).count(), 1);
        }
    }
}
