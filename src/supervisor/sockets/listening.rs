//! The sockets of one address that the configuration names. A host name has several: one for each of its addresses, so
//! that a client reaches it whichever the client's resolver prefers.

use std::{io, sync::Arc};

use rustix::io::Errno;

use super::inherited::is_same;
use crate::{
    address::SocketAddress,
    server::{BindError, Binding, Listener},
};

/// How often to look for a port that is free at all addresses, where the kernel chooses it.
const ATTEMPTS: usize = 16;

/// Takes those that listen there already out of `known`, and makes the others. With `any_port` one that was asked for
/// at port 0 is known at whichever it got.
///
/// # Errors
/// Nothing can be listened on, or the port is in use at one of the addresses. That this machine lacks some of the
/// addresses, as one without IPv6 does, is none.
pub(in crate::supervisor) fn listen(
    binding: &Binding,
    known: &mut Vec<Arc<Listener>>,
    any_port: bool,
) -> Result<Vec<Arc<Listener>>, BindError> {
    let asked = &binding.address;
    let places = match asked.places() {
        Ok(places) => places,
        Err(source) => {
            let named = take(
                known,
                |it| is_same(asked, &it.asked(), any_port),
                usize::MAX,
            );
            if named.is_empty() {
                let address = asked.clone();
                return Err(BindError::Io { address, source });
            }
            tracing::debug!("cannot resolve {asked}, whose sockets stay: {source}");
            return Ok(named);
        }
    };
    let mut attempts = 0..ATTEMPTS;
    loop {
        let tried = listen_at(&places, binding, known, any_port);
        match tried {
            // Another has the port at the next address.
            Err(BindError::InUse { .. }) if is_chosen(asked) && attempts.next().is_some() => {}
            tried => return tried,
        }
    }
}

fn listen_at(
    places: &[SocketAddress],
    binding: &Binding,
    known: &mut Vec<Arc<Listener>>,
    any_port: bool,
) -> Result<Vec<Arc<Listener>>, BindError> {
    let asked = &binding.address;
    let mut listeners: Vec<Arc<Listener>> = Vec::new();
    let mut lacking = Vec::new();
    for place in places {
        // The kernel chooses one port, for all of them.
        let place = match listeners.first().map(|it| it.address()) {
            Some(SocketAddress::Tcp(_, port)) => place.at_port(*port),
            _ => place.clone(),
        };
        let found = take(known, |it| is_same(&place, it.address(), any_port), 1);
        if !found.is_empty() {
            listeners.extend(found);
            continue;
        }
        let mut here = binding.clone();
        here.address = place;
        here.name = asked.name().map(|(name, _)| name.to_owned());
        match Listener::bind(&here) {
            Ok(listener) => listeners.push(Arc::new(listener)),
            Err(BindError::Io { address, source }) if places.len() > 1 && is_lacking(&source) => {
                lacking.push((address, source));
            }
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() {
        if let Some((address, source)) = lacking.pop() {
            return Err(BindError::Io { address, source });
        }
    }
    for (address, source) in lacking {
        tracing::info!("{asked}: not at {address}, which is none of this machine's: {source}");
    }
    Ok(listeners)
}

/// Takes out the first of those that are wanted, `most` at most.
fn take(
    known: &mut Vec<Arc<Listener>>,
    is_wanted: impl Fn(&Listener) -> bool,
    most: usize,
) -> Vec<Arc<Listener>> {
    let mut taken = Vec::new();
    known.retain(|listener| {
        let is_taken = taken.len() < most && is_wanted(listener);
        if is_taken {
            taken.push(listener.clone());
        }
        !is_taken
    });
    taken
}

/// Whether the kernel chooses the port of several addresses.
fn is_chosen(asked: &SocketAddress) -> bool {
    asked.name().is_some_and(|(_, port)| port == 0)
}

/// Whether the machine has no such address, or nothing of its family.
fn is_lacking(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SocketAddress {
        text.parse().unwrap()
    }

    fn addresses(listeners: &[Arc<Listener>]) -> Vec<String> {
        listeners
            .iter()
            .map(|it| it.address().to_string())
            .collect()
    }

    /// TEST-NET-2 (RFC 5737) belongs to nobody.
    const NOBODYS: &str = "198.51.100.1:0";

    #[test]
    fn several_addresses_get_one_port_and_those_of_others_are_left_out() {
        let binding = Binding::new(parse("name.example:0"));
        let places = [NOBODYS, "127.0.0.1:0", "127.0.0.2:0"].map(parse);
        let listeners = listen_at(&places, &binding, &mut Vec::new(), false).unwrap();
        let [first, second] = [0, 1].map(|index| listeners[index].address().clone());
        let SocketAddress::Tcp(_, port) = first else {
            panic!("{first}");
        };
        assert_eq!(
            [first, second],
            [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")].map(|it| parse(&it))
        );
        assert_eq!(listeners[0].asked(), parse(&format!("name.example:{port}")));

        let nowhere = listen_at(
            &[NOBODYS, "203.0.113.1:0"].map(parse),
            &binding,
            &mut Vec::new(),
            false,
        );
        assert!(matches!(nowhere, Err(BindError::Io { .. })));
    }

    #[test]
    fn what_listens_already_is_taken_and_the_rest_made() {
        let binding = Binding::new(parse("name.example:0"));
        let places = ["127.0.0.1:0", "127.0.0.2:0"].map(parse);
        let before = listen_at(&places[..1], &binding, &mut Vec::new(), false).unwrap();
        let mut known = before.clone();
        let now = listen_at(&places, &binding, &mut known, true).unwrap();
        assert!(known.is_empty());
        assert!(Arc::ptr_eq(&now[0], &before[0]));
        assert_eq!(now.len(), 2);
        let mut known = now.clone();
        let again = listen_at(&places, &binding, &mut known, true).unwrap();
        assert_eq!(addresses(&again), addresses(&now));
    }

    #[test]
    fn a_name_that_is_not_resolved_any_more_keeps_its_sockets() {
        let mut binding = Binding::new(parse("127.0.0.1:0"));
        binding.name = Some("gone.invalid".to_owned());
        let mut known = vec![Arc::new(Listener::bind(&binding).unwrap())];
        let asked = Binding::new(known[0].asked());
        let kept = listen(&asked, &mut known, false).unwrap();
        assert_eq!(kept.len(), 1);
        assert!(known.is_empty());
        assert!(listen(&asked, &mut known, false).is_err());
    }
}
