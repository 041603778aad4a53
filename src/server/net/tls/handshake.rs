//! From a connection's first byte to a session, or to what keeps it from becoming one.

use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use rustls::{AlertDescription, CertificateError, Error, OtherError, ServerConfig};
use tokio::time::timeout;

use super::{
    intake::Intake,
    relay::relay,
    session::{Broken, Session},
};
use crate::server::{
    connection::Connection,
    net::stream::Stream,
    request::{refusal::Refusal, reject::reject},
    shared::Shared,
    slots::Slot,
};

/// Serves a connection that was accepted where TLS is spoken, to its end. It counts as one from the beginning, and
/// holds no lane before its request is there.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: Stream,
    config: Arc<ServerConfig>,
    slot: Slot,
    intake: Intake<impl FnOnce(Arc<Connection>)>,
) {
    let limit = shared.limits.read_timeout;
    let first = tokio::select! {
        first = timeout(limit, first_byte(&stream)) => first,
        () = shared.stop.silent_for_too_long() => return,
    };
    let first = match first {
        Ok(Ok(Some(first))) => first,
        // A probe, or a client that has changed its mind.
        Ok(_) => return,
        Err(_) => {
            tracing::debug!("a connection was closed: it sent nothing in {limit:?}");
            return;
        }
    };
    if first != HANDSHAKE {
        let connection = (intake.connect)(stream, slot);
        let refusal = Refusal::NotTls {
            what: what_begins_with(first),
        };
        return reject(&shared, &connection, refusal).await;
    }
    // A silent connection has no need of what follows, which is larger.
    Box::pin(begin(shared, stream, config, slot, limit, intake)).await;
}

/// The content type of a handshake's records (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

fn what_begins_with(first: u8) -> &'static str {
    match first {
        0 => "a plain uwsgi request",
        b'A'..=b'Z' => "plain HTTP",
        _ => "something that is not TLS",
    }
}

async fn begin(
    shared: Arc<Shared>,
    stream: Stream,
    config: Arc<ServerConfig>,
    slot: Slot,
    limit: Duration,
    intake: Intake<impl FnOnce(Arc<Connection>)>,
) {
    let mut session = match Session::new(config, stream) {
        Ok(session) => session,
        Err(error) => return tracing::error!(%error, "no TLS session can be made"),
    };
    let shaken = tokio::select! {
        shaken = timeout(limit, session.shake_hands()) => shaken,
        () = shared.stop.silent_for_too_long() => return,
    };
    match shaken {
        Ok(Ok(true)) => {
            let how = if session.is_resumed() {
                "resumed"
            } else {
                "begun"
            };
            tracing::debug!(peer = %session.stream().peer(), "a TLS session was {how}");
            relay(&shared, session, slot, intake).await;
        }
        Ok(Ok(false)) => tracing::debug!("a client left in the middle of the TLS handshake"),
        Ok(Err(Broken::Io(error))) => {
            tracing::debug!(%error, "a client left in the middle of the TLS handshake");
        }
        Ok(Err(Broken::Tls(error))) => {
            let Explained { cause, what, cure } = explained(&error);
            shared.log_limit.say(cause, || {
                let peer = session.stream().peer();
                tracing::warn!(%peer, cure, "the TLS handshake has failed: {what}{error}");
            });
            // The peer is to read the alert.
            let connection = (intake.connect)(session.into_stream(), slot);
            connection.linger(&shared).await;
        }
        Err(_) => shared
            .log_limit
            .say("a TLS handshake that did not end in time", || {
                let peer = session.stream().peer();
                tracing::warn!(
                    %peer,
                    cure = "a slower client needs a longer --read-timeout",
                    "the TLS handshake was not through after {limit:?}"
                );
            }),
    }
}

/// Looks at the first byte and leaves it; `None` when the peer left without one.
async fn first_byte(stream: &Stream) -> io::Result<Option<u8>> {
    poll_fn(|context| {
        loop {
            let mut first = [0];
            match stream.peek_now(&mut first) {
                Ok(read) => return Poll::Ready(Ok((read > 0).then_some(first[0]))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::task::ready!(stream.poll_readable(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    })
    .await
}

/// What an error of a handshake means to an operator.
struct Explained {
    /// What others like it have in common.
    cause: &'static str,
    /// Before the error's own words, where these are not plain.
    what: &'static str,
    /// What can be done.
    cure: &'static str,
}

fn explained(error: &Error) -> Explained {
    match error {
        Error::NoCertificatesPresented => Explained {
            cause: "a TLS client without a certificate",
            what: "--tls-client-ca asks for a client certificate: ",
            cure: "in nginx give uwsgi_ssl_certificate and uwsgi_ssl_certificate_key",
        },
        Error::InvalidCertificate(CertificateError::Other(other)) if is_version_1(other) => {
            Explained {
                cause: "a TLS client whose certificate is of X.509 version 1",
                what: "the client's certificate is of X.509 version 1: ",
                cure: "make one of version 3: with openssl x509 -req, give it extensions (-extfile)",
            }
        }
        Error::InvalidCertificate(_) => Explained {
            cause: "a TLS client whose certificate is not accepted",
            what: "the client's certificate is not accepted: ",
            cure: "have it signed by a CA of --tls-client-ca, for client authentication, and see that it has not \
                   expired",
        },
        Error::PeerIncompatible(_) => Explained {
            cause: "a TLS client with which nothing can be agreed",
            what: "",
            cure: "TLS 1.2 and 1.3 are spoken, with ECDHE and AEAD ciphers: in nginx see uwsgi_ssl_protocols and \
                   uwsgi_ssl_ciphers",
        },
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        ) => Explained {
            cause: "a TLS client that does not accept the certificate of --tls-cert",
            what: "the client does not accept the certificate of --tls-cert: ",
            cure: "have the client trust the CA that has signed it (nginx: uwsgi_ssl_trusted_certificate), and renew \
                   it if it has expired",
        },
        _ => Explained {
            cause: "a TLS handshake that has failed",
            what: "",
            cure: "if it is nginx, write uwsgi_pass suwsgi://… and leave uwsgi_ssl_protocols as it is by default",
        },
    }
}

fn is_version_1(error: &OtherError) -> bool {
    error.0.downcast_ref() == Some(&webpki::Error::UnsupportedCertVersion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_version_1_is_not_the_cas_fault() {
        let version = OtherError(Arc::new(webpki::Error::UnsupportedCertVersion));
        let said = explained(&Error::InvalidCertificate(CertificateError::Other(version)));
        assert!(said.cure.contains("-extfile"), "{}", said.cure);
        let other = explained(&Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(other.cure.contains("--tls-client-ca"), "{}", other.cure);
    }
}
