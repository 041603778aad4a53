use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The files that TLS takes: all of them PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// The certificate, then those that lead from it to its CA.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// CAs one of which has to have signed a client's certificate; without, clients need none.
    pub client_ca: Option<PathBuf>,
}
