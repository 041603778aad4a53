//! Session tickets that all processes of a server can read.
//!
//! nginx makes a connection for each request and resumes a session in it, which saves both sides the expensive part of
//! a handshake. Whichever worker accepts has to know the session, so the client keeps it, encrypted (RFC 5077;
//! RFC 8446, section 4.6.1).

use std::{
    cell::Cell,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use ring::{
    aead::{self, AES_256_GCM, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
    rand::{SecureRandom, SystemRandom},
};
use rustls::server::ProducesTickets;
#[cfg(feature = "cli")]
use serde::{Deserialize, Serialize};

/// For how long tickets are made with one key, in seconds. They are taken for as long again.
const PERIOD: u64 = 3600;

/// What the keys of tickets come from: processes that have the same one take each other's sessions.
#[derive(Clone)]
#[cfg_attr(feature = "cli", derive(Deserialize, Serialize))]
pub struct TicketSecret([u8; 32]);

impl TicketSecret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> std::io::Result<Self> {
        let mut secret = [0; 32];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
        Ok(Self(secret))
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret")
    }
}

/// Encrypts sessions with keys that follow from a secret and the time.
pub(super) struct Tickets(Prk);

impl Tickets {
    pub(super) fn new(secret: &TicketSecret) -> Self {
        Self(Salt::new(HKDF_SHA256, b"spile session tickets").extract(&secret.0))
    }

    fn key(&self, period: [u8; 8]) -> Option<LessSafeKey> {
        let key = UnboundKey::from(self.0.expand(&[&period], &AES_256_GCM).ok()?);
        Some(LessSafeKey::new(key))
    }

    fn encrypt_in(&self, period: u64, session: &[u8]) -> Option<Vec<u8>> {
        let period = period.to_be_bytes();
        let mut nonce = [0; aead::NONCE_LEN];
        // Of random ones, none comes twice in an hour's tickets.
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = session.to_vec();
        self.key(period)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(period),
                &mut sealed,
            )
            .ok()?;
        Some([&period[..], &nonce, &sealed].concat())
    }

    fn decrypt_in(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (&period, rest) = ticket.split_first_chunk::<8>()?;
        let (&nonce, sealed) = rest.split_first_chunk::<{ aead::NONCE_LEN }>()?;
        let made = u64::from_be_bytes(period);
        if made > now || now - made > 1 {
            return None;
        }
        let mut session = sealed.to_vec();
        let length = self
            .key(period)?
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(period),
                &mut session,
            )
            .ok()?
            .len();
        session.truncate(length);
        Some(session)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(PERIOD).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if TAKEN.get() {
            return None;
        }
        self.encrypt_in(period_now()?, plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let session = self.decrypt_in(period_now()?, cipher);
        TAKEN.set(session.is_some());
        session
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

thread_local! {
    /// What is read now has brought a ticket that was taken.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// Reads what a peer has sent, and does what comes of it.
///
/// In TLS 1.2 a session that is resumed gets an empty ticket, which leaves the client its old one (RFC 5077, section
/// 3.3). Given another, OpenSSL would drop the old one and not tell nginx of the new (`tls_process_new_session_ticket`,
/// `ssl_update_cache`): every other connection would cost a whole handshake. That ticket is asked for while the old one
/// is read; those of TLS 1.3, each of which is for one connection, are asked for later.
pub(super) fn reading<R>(read: impl FnOnce() -> R) -> R {
    let outcome = read();
    TAKEN.set(false);
    outcome
}

/// Without a clock there are no tickets.
fn period_now() -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs() / PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_wherever_the_secret_is_and_nowhere_else() {
        let secret = TicketSecret::random().unwrap();
        let ticket = Tickets::new(&secret).encrypt(b"a session").unwrap();
        let elsewhere = Tickets::new(&secret.clone());
        assert_eq!(elsewhere.decrypt(&ticket).unwrap(), b"a session");
        let other = Tickets::new(&TicketSecret::random().unwrap());
        assert_eq!(other.decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_lasts_for_its_period_and_the_next() {
        let tickets = Tickets::new(&TicketSecret::random().unwrap());
        let ticket = tickets.encrypt_in(10, b"a session").unwrap();
        let taken = [9, 10, 11, 12].map(|now| tickets.decrypt_in(now, &ticket).is_some());
        assert_eq!(taken, [false, true, true, false]);
    }

    #[test]
    fn what_is_no_ticket_is_none() {
        let tickets = Tickets::new(&TicketSecret::random().unwrap());
        let ticket = tickets.encrypt_in(10, b"a session").unwrap();
        for length in 0..ticket.len() {
            assert_eq!(tickets.decrypt_in(10, &ticket[..length]), None);
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt_in(10, &changed), None, "byte {at}");
        }
        assert_ne!(
            ticket,
            tickets.encrypt_in(10, b"a session").unwrap(),
            "each has a nonce of its own"
        );
    }
}
