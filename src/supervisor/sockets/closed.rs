//! Unix sockets that only their owner may connect to, though nobody has asked for that.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    config::{Config, SocketAddress, user_entry},
    server::Listener,
};

/// The permission to connect, of all but the owner: connecting takes the right to write.
const OTHERS: u32 = 0o022;

/// What to do about it.
pub(crate) const CLOSED_CURE: &str = "where the front server runs as another user it answers 502: give \
    --socket-mode 660 and --socket-owner :GROUP with that user's group, such as www-data, or --socket-mode 666 for \
    everybody; --socket-mode 600 says that it is meant so";

/// Who alone may connect to a unix socket of this mode and owner. `None` when others may, or when the configuration
/// chooses the mode or the owner.
pub(crate) fn closed_to_others(config: &Config, mode: u32, owner: u32) -> Option<String> {
    let names_user = |it: &crate::config::Owner| it.user.is_some();
    let is_chosen =
        config.socket_mode.is_some() || config.socket_owner.as_ref().is_some_and(names_user);
    if is_chosen || mode & OTHERS != 0 {
        return None;
    }
    let entry = user_entry(&owner.to_string()).ok().flatten();
    let name = entry.map_or_else(|| owner.to_string(), |user| user.name);
    let who = if owner == 0 {
        name
    } else {
        format!("{name} and root")
    };
    Some(format!(
        "its mode is {:03o}: only {who} may connect",
        mode & 0o777
    ))
}

/// Says so of a socket that listens, unless it was passed in by somebody who decides that himself.
pub(in crate::supervisor) fn tell_if_closed(config: &Config, listener: &Listener) {
    let SocketAddress::Unix(path) = listener.address() else {
        return;
    };
    if listener.is_passed() {
        return;
    }
    let found = fs::symlink_metadata(path).ok();
    let closed = found.and_then(|file| closed_to_others(config, file.mode(), file.uid()));
    if let Some(closed) = closed {
        tracing::info!("{}: {closed}; {CLOSED_CURE}", listener.address());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mode_that_nobody_chose_is_told() {
        let told = |mode, owner: Option<&str>, given: Option<&str>| {
            let config = Config {
                socket_owner: owner.map(|it| it.parse().unwrap()),
                socket_mode: given.map(|it| it.parse().unwrap()),
                ..Config::default()
            };
            closed_to_others(&config, mode, 0)
        };
        let only_root = Some("its mode is 755: only root may connect".to_owned());
        assert_eq!(told(0o140_755, None, None), only_root);
        assert_eq!(told(0o755, Some(":www-data"), None), only_root);
        assert_eq!(told(0o755, Some("www-data"), None), None);
        assert_eq!(told(0o700, None, Some("700")), None);
        assert_eq!(told(0o770, None, None), None);
        assert_eq!(told(0o777, None, None), None);
        let config = Config::default();
        let of_another = closed_to_others(&config, 0o700, 4_294_967_000);
        let expected = "its mode is 700: only 4294967000 and root may connect";
        assert_eq!(of_another.as_deref(), Some(expected));
    }
}
