//! What to do about a request without a complete answer, for a user of the command line.

use std::io;

use super::ClientError;
use crate::address::SocketAddress;
use crate::config::Cure;

impl Cure for ClientError {
    fn cure(&self) -> String {
        match self {
            Self::Packet(_) => "all variables together may have 65535 bytes: send less".to_owned(),
            Self::Resolve { .. } => "check the name, or give an IP address".to_owned(),
            Self::Connect { address, error } => connect_cure(address, error),
            Self::Content(_) => "name a file that this user may read".to_owned(),
            Self::TimedOut { .. } => {
                "look at the server's log; --timeout sets how long to wait".to_owned()
            }
            Self::NoAnswer
            | Self::HeadCutShort { .. }
            | Self::BodyCutShort { .. }
            | Self::Reset { .. }
            | Self::Connection(_) => "look at the server's log".to_owned(),
            Self::NotHttp { .. } => {
                "check that a uwsgi server, with this protocol, listens there".to_owned()
            }
            Self::HeadTooLarge { .. } | Self::ContentLength { .. } | Self::BodyTooLong { .. } => {
                "correct the application: nginx would not take this answer either".to_owned()
            }
            Self::Output(_) => "check where standard output goes".to_owned(),
        }
    }
}

fn connect_cure(address: &SocketAddress, error: &io::Error) -> String {
    match (error.kind(), address) {
        (io::ErrorKind::PermissionDenied, _) => {
            "run as a user who may write to the socket, or start spile with another --socket-mode or --socket-owner"
                .to_owned()
        }
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, _) => {
            "the server is overloaded or hangs: look at its log".to_owned()
        }
        (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, address) => {
            format!("start spile there, as in `spile serve app:app --socket {address}`, or name another --socket")
        }
        _ => "name the address the server listens on with --socket".to_owned(),
    }
}
