//! Addresses that servers listen on, and networks that clients come from.

mod network;
mod socket;

pub(crate) use network::is_public;
pub use network::{Network, NetworkError};
pub use socket::{AddressError, SocketAddress};
