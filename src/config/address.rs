//! What to do about addresses and networks that are none.

use super::Cure;
use crate::address::{AddressError, NetworkError};

impl Cure for AddressError {
    fn cure(&self) -> String {
        match self {
            Self::Empty => "give a path such as unix:/run/app.sock, or HOST:PORT".to_owned(),
            Self::Scheme(_) => {
                "leave out the scheme: HOST:PORT, or unix:/run/app.sock; `uwsgi_pass` in nginx takes the same".to_owned()
            }
            Self::RelativeUrl(text) => {
                let path = text.trim_start_matches("unix://");
                format!("write unix:///{path} for the absolute path, or unix:{path} for the relative one")
            }
            Self::Descriptor(_) => {
                "leave it out: a socket that systemd passes is served without being named".to_owned()
            }
            Self::Directory(path) => format!("name the socket in it, as in unix:{path}app.sock"),
            Self::PathTooLong { .. } => {
                "choose a shorter path, or give one relative to the directory spile starts in".to_owned()
            }
            Self::NoHost(text) => {
                let port = text.rsplit(':').next().unwrap_or_default();
                format!("127.0.0.1:{port} is for this machine alone, 0.0.0.0:{port} or [::]:{port} for all that reach it")
            }
            Self::NoPort(text) => format!("add one, as in {text}:3031; a unix socket is unix:{text} or ./{text}"),
            Self::NoBrackets(_) => "put the address into brackets, as in [::1]:3031".to_owned(),
            Self::BadHost(_) => "write HOST:PORT, [::1]:PORT or unix:/run/app.sock".to_owned(),
            Self::BadPort { .. } => "a port is a number from 0 to 65535; 0 lets the kernel choose".to_owned(),
        }
    }
}

impl Cure for NetworkError {
    fn cure(&self) -> String {
        match self {
            Self::Address { .. } => {
                "give a network such as 10.0.0.0/8 or fd00::/8, or one address; names are not looked up".to_owned()
            }
            Self::Length { most, .. } => format!(
                "say how many bits of the address are the network's: 0 is every address, {most} this one alone"
            ),
            Self::HostBits {
                network, address, ..
            } => format!("write {network} for the network, or {address} for this address alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Network;

    #[test]
    fn what_is_no_network_says_what_was_meant() {
        let said = |text: &str| {
            let error = text.parse::<Network>().expect_err(text);
            format!("{error}: {}", error.cure())
        };
        assert_eq!(
            said("10.1.2.3/8"),
            "`10.1.2.3/8` is not the address of a network: it lies in 10.0.0.0/8: write 10.0.0.0/8 for the network, or \
             10.1.2.3 for this address alone"
        );
        assert!(said("fe80::1/64").contains("write fe80::/64"));
        for text in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "::1/a",
        ] {
            assert!(said(text).contains("after the slash"), "{text}");
        }
        for text in [
            "",
            "localhost",
            "10.0.0",
            "/8",
            "10.0.0.0/255.0.0.0/8",
            "fe80::1%eth0",
            "010.0.0.1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
