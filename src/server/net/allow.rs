//! Who may connect over TCP.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::Counter;

use crate::{address::Network, server::log_limit::LogLimit};

/// The networks whose peers may connect to TCP sockets; without any, everybody may. Clones share one list, so that it
/// can be replaced while a server runs.
///
/// A unix socket is not its business: that has an owner and a mode.
///
/// ```
/// use spile::{Limits, Server, server::AllowFrom};
///
/// let allowed = AllowFrom::new(["10.0.0.0/8".parse()?, "::1".parse()?]);
/// let mut limits = Limits::default();
/// limits.allow_from = allowed.clone();
/// let server = Server::new().bind("127.0.0.1:0")?.limits(limits);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AllowFrom(Arc<RwLock<Vec<Network>>>);

impl AllowFrom {
    /// Allows these networks.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        Self(Arc::new(RwLock::new(networks.into_iter().collect())))
    }

    /// Puts another list in place, for connections that are accepted from now on. `false` when it is the same.
    pub fn replace(&self, networks: impl IntoIterator<Item = Network>) -> bool {
        let networks: Vec<_> = networks.into_iter().collect();
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *list != networks;
        *list = networks;
        changed
    }

    /// Whether a peer at this address may connect.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let networks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        networks.is_empty() || networks.iter().any(|network| network.contains(address))
    }
}

/// What a TCP listener looks at before it gives a connection away.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) allowed: AllowFrom,
    pub(crate) refused: Counter,
    pub(crate) log_limit: LogLimit,
}

impl Guard {
    /// Whether the peer is allowed; says so if not.
    pub(crate) fn admits(&self, peer: IpAddr) -> bool {
        let allowed = self.allowed.allows(peer);
        if !allowed {
            self.refused.increment(1);
            let cure = "add its network to --allow-from if it is a front server of yours";
            self.log_limit.say(CAUSE, || {
                let peer = peer.to_canonical();
                tracing::warn!(%peer, cure, "{CAUSE}: closed");
            });
        }
        allowed
    }
}

const CAUSE: &str = "a connection from outside --allow-from";
