//! Certificates and keys, from PEM to what rustls takes.

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject},
    },
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};
#[cfg(feature = "cli")]
use serde::{Deserialize, Serialize};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

use super::tickets::{TicketSecret, Tickets};

/// A certificate, its key, and who may connect. All of it is PEM, as in the files that operators have.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Deserialize, Serialize))]
#[non_exhaustive]
pub struct Credentials {
    /// The certificate, then those that lead from it to its CA.
    pub certificate: Vec<u8>,
    /// The certificate's private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Vec<u8>,
    /// CAs one of which has to have signed a client's certificate. Without, clients need none.
    pub client_ca: Option<Vec<u8>>,
}

/// Whether a certificate is good at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// It is in force.
    InForce,
    /// It is not in force yet.
    NotYet,
    /// It has expired so long ago.
    Expired(Duration),
}

impl Credentials {
    /// A certificate, with those that lead from it to its CA, and its private key, all PEM. Clients need none.
    #[must_use]
    pub fn new(certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
        }
    }

    /// Whether the certificate is in force now.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn expiry(&self) -> Result<Expiry, TlsError> {
        let chain = self.chain()?;
        let own = chain
            .first()
            .and_then(|own| EndEntityCert::try_from(own).ok());
        let own = own.ok_or(TlsError::of(
            TlsPart::Certificate,
            TlsFault::NotACertificate,
        ))?;
        // The dates are looked at first. That nobody is trusted here comes after that, and does not matter.
        let usage = KeyUsage::server_auth();
        let verified = own.verify_for_usage(&[], &[], &[], UnixTime::now(), usage, None, None);
        Ok(match verified.err() {
            Some(webpki::Error::CertExpired { time, not_after }) => Expiry::Expired(
                Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs())),
            ),
            Some(webpki::Error::CertNotValidYet { .. }) => Expiry::NotYet,
            _ => Expiry::InForce,
        })
    }

    pub(super) fn to_config(&self, secret: &TicketSecret) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = self.chain()?;
        let certified = certified(chain, self.private_key()?, &provider)?;
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|error| TlsError::of(TlsPart::Certificate, TlsFault::Refused(error)))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(roots(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| {
                        let error = rustls::Error::General(error.to_string());
                        TlsError::of(TlsPart::ClientCa, TlsFault::Refused(error))
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.ticketer = Arc::new(Tickets::new(secret));
        // nginx takes up the last session it was given, as often as it likes.
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(TlsPart::Certificate, &self.certificate)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let fault = |fault| TlsError::of(TlsPart::Key, fault);
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound if contains(&self.key, b"ENCRYPTED PRIVATE KEY-----") => {
                fault(TlsFault::Encrypted)
            }
            pem::Error::NoItemsFound => fault(TlsFault::NoKey),
            other => fault(TlsFault::NotPem(other.to_string())),
        })
    }
}

/// Neither certificates nor the key: a configuration is logged now and then.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsError::of(TlsPart::Key, TlsFault::Refused(error)))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Keys whose public half cannot be told are taken at their word.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::of(TlsPart::Key, TlsFault::Mismatch))
        }
        Err(error) => Err(TlsError::of(TlsPart::Certificate, TlsFault::Refused(error))),
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsPart::ClientCa, pem)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::of(TlsPart::ClientCa, TlsFault::Refused(error)))?;
    }
    Ok(roots)
}

/// All certificates of a PEM text: at least one.
fn certificates(part: TlsPart, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::of(part, TlsFault::NotPem(error.to_string())))?;
    if certificates.is_empty() {
        return Err(TlsError::of(part, TlsFault::NotACertificate));
    }
    Ok(certificates)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Credentials that will not do: which part of them, and why.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{fault}")]
pub struct TlsError {
    /// What the fault is in.
    pub part: TlsPart,
    /// What is wrong with it.
    pub fault: TlsFault,
}

impl From<io::Error> for TlsError {
    /// Without random numbers there is no TLS.
    fn from(error: io::Error) -> Self {
        let error = rustls::Error::General(error.to_string());
        Self::of(TlsPart::Key, TlsFault::Refused(error))
    }
}

impl TlsError {
    fn of(part: TlsPart, fault: TlsFault) -> Self {
        Self { part, fault }
    }
}

/// A part of [`Credentials`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsPart {
    /// [`Credentials::certificate`].
    Certificate,
    /// [`Credentials::key`].
    Key,
    /// [`Credentials::client_ca`].
    ClientCa,
}

/// What can be wrong with [`Credentials`].
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// It begins as PEM, and does not go on so.
    #[error("it is not PEM: {0}")]
    NotPem(String),
    /// There is no certificate in it.
    #[error("there is no certificate in PEM in it")]
    NotACertificate,
    /// There is no private key in it.
    #[error("there is no private key in PEM in it")]
    NoKey,
    /// The key is encrypted: nobody is there to be asked for its password.
    #[error("the key is encrypted")]
    Encrypted,
    /// The key is another certificate's.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// A kind of key or certificate that is not known.
    #[error("it cannot be used: {0}")]
    Refused(rustls::Error),
}

impl TlsFault {
    /// What to do: a sentence without a capital or a full stop.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::NotPem(_) => {
                "copy the file again, or make PEM of it: openssl x509 -in FILE -inform DER -out FILE.pem"
            }
            Self::NotACertificate => "name the file that begins with -----BEGIN CERTIFICATE-----",
            Self::NoKey => {
                "name the file with -----BEGIN PRIVATE KEY-----, which is not the certificate's"
            }
            Self::Encrypted => {
                "take its password away (openssl pkey -in FILE -out FILE.plain) and guard it by its permissions"
            }
            Self::Mismatch => {
                "name the key that the certificate was made for; the server's certificate comes first in its file"
            }
            Self::Refused(_) => {
                "use an RSA key of 2048 to 8192 bits, ECDSA with P-256 or P-384, or Ed25519, and an X.509 v3 certificate"
            }
        }
    }
}
