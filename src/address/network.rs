//! Networks of IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
#[cfg(feature = "config")]
use serde::{Deserialize, Serialize};

/// A network of IP addresses in CIDR notation, `10.0.0.0/8` or `fd00::/8`. A bare address is that one alone.
///
/// IPv4 and IPv6 are the same to it where an IPv4 address is written as an IPv6 one (`::ffff:10.0.0.1`), which is how
/// the peers of a socket at `[::]` come.
///
/// ```
/// use spile::address::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("::ffff:10.1.2.3".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "config", serde(try_from = "String", into = "String"))]
pub struct Network(IpNet);

impl Network {
    /// Tells whether an address is in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(NetworkError::Address {
                text: text.to_owned(),
            });
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let number = match length {
            None => Some(most),
            Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
        };
        let network = number.and_then(|number: u8| IpNet::new(address, number).ok());
        let Some(network) = network else {
            return Err(NetworkError::Length {
                text: text.to_owned(),
                most,
            });
        };
        if network.trunc() != network {
            return Err(NetworkError::HostBits {
                text: text.to_owned(),
                network: network.trunc().to_string(),
                address,
            });
        }
        Ok(Self(unmapped(network)))
    }
}

/// A network of IPv4 addresses written as IPv6 ones (RFC 4291, section 2.5.5.2) as what it is.
fn unmapped(network: IpNet) -> IpNet {
    let mapped = |address: Ipv6Addr| address.to_ipv4_mapped();
    match network {
        IpNet::V6(it) => mapped(it.addr())
            .zip(it.prefix_len().checked_sub(96))
            .and_then(|(address, length)| Ipv4Net::new(address, length).ok())
            .map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// The reason why a text is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No IP address before the slash.
    #[error("`{text}` is not an IP address or a network of them")]
    Address {
        /// The text.
        text: String,
    },
    /// What follows the slash is not a length.
    #[error("`{text}` has no number from 0 to {most} after the slash")]
    Length {
        /// The text.
        text: String,
        /// The longest prefix of this kind of address, in bits.
        most: u8,
    },
    /// Bits behind the prefix are set: the address of a machine stands where a network's is due.
    #[error("`{text}` is not the address of a network: it lies in {network}")]
    HostBits {
        /// The text.
        text: String,
        /// The network that it may be meant to be.
        network: String,
        /// The machine that it may be meant to be.
        address: IpAddr,
    },
}

/// Tells whether a socket at this address can be reached from everywhere, as far as the address tells. Those of this
/// machine, of private networks (RFC 1918, RFC 4193, also RFC 6598, which providers use) and of a link are not public;
/// `0.0.0.0` and `[::]`, which are all that the machine has, are.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            !(it.is_loopback() || it.is_private() || it.is_link_local() || is_shared(it))
        }
        IpAddr::V6(it) => !(it.is_loopback() || it.is_unique_local() || it.is_unicast_link_local()),
    }
}

/// 100.64.0.0/10.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0b1100_0000 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn networks_are_read_and_written_back() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::1", "::1"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(network(text).to_string(), written);
            assert_eq!(network(written), network(text));
        }
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        let within = |text: &str, address: &str| network(text).contains(address.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.255.0.1"));
        assert!(!within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(within("::ffff:10.0.0.0/104", "10.0.0.1"));
        assert!(within("192.0.2.1", "192.0.2.1"));
        assert!(!within("192.0.2.1", "192.0.2.2"));
        assert!(within("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!within("2001:db8::/33", "2001:db8:8000::1"));
        assert!(!within("::/0", "10.0.0.1"), "IPv6 alone");
        assert!(!within("0.0.0.0/0", "::1"), "IPv4 alone");
    }

    #[test]
    fn public_is_what_others_may_reach() {
        let public = |address: &str| is_public(address.parse().unwrap());
        for address in [
            "0.0.0.0",
            "::",
            "8.8.8.8",
            "2001:4860::1",
            "::ffff:8.8.8.8",
            "100.128.0.1",
        ] {
            assert!(public(address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.0.1",
            "100.64.0.1",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!public(address), "{address}");
        }
    }
}
