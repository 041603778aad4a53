//! TLS for connections that come over TCP, for nginx's `uwsgi_pass suwsgi://`.
//!
//! # Layout
//! - [`Tls`]: what a [`Listener`](crate::server::Listener) is given to speak TLS; [`Credentials`]: the certificate and the key.
//! - `handshake`: from the first byte to a session; what is said about peers that do not get that far.
//! - `relay`: between a session and an ordinary connection.
//! - `tickets`: sessions that clients keep, so that the next handshake is short.
//! - `session`: a TLS connection over a socket.

mod credentials;
mod handshake;
mod intake;
mod relay;
mod session;
mod tickets;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::ServerConfig;

pub use credentials::{Credentials, Expiry, TlsError, TlsFault, TlsPart};
pub(crate) use handshake::serve;
pub(crate) use intake::Intake;
pub use tickets::TicketSecret;

/// What a TCP listener speaks TLS with: TLS 1.2 and 1.3. Copies of it are one and the same.
///
/// ```no_run
/// use spile::server::{Binding, Credentials, Listener, Tls};
/// use spile::{Request, Response, Server};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let certificate = std::fs::read("/etc/ssl/app.pem")?;
/// let key = std::fs::read("/etc/ssl/private/app.key")?;
/// let tls = Tls::new(&Credentials::new(certificate, key))?;
/// let listener = Listener::bind(&Binding::new("10.0.0.5:3031".parse()?))?.with_tls(tls.clone());
/// Server::new()
///     .listen(listener)
///     .mount("/", |_: Request| async { Response::text("hello\n") })
///     .serve()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// TLS with these credentials.
    ///
    /// # Errors
    /// See [`TlsFault`].
    pub fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        Self::with_tickets(credentials, &TicketSecret::random()?)
    }

    /// As [`Self::new`], for one of several processes that serve the same sockets: all that have the secret take up
    /// sessions that clients have begun with another.
    ///
    /// # Errors
    /// See [`TlsFault`].
    pub fn with_tickets(
        credentials: &Credentials,
        secret: &TicketSecret,
    ) -> Result<Self, TlsError> {
        let config = credentials.to_config(secret)?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(config)))))
    }

    /// Other credentials from now on, for every listener that was given this. Connections that were accepted before
    /// keep theirs; no session from before is taken up again.
    ///
    /// # Errors
    /// See [`TlsFault`]; nothing has changed then.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), TlsError> {
        let config = credentials.to_config(&TicketSecret::random()?)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
