//! The certificate and the key: read by the master, which may be root then, and handed to the processes that serve.
//!
//! They travel in a sealed memfd that is inherited: neither arguments nor environment nor the channel have them.

use std::{
    fs::{File, Metadata},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    config::{Config, Cure, TlsFiles, plain},
    server::{Credentials, Expiry, TicketSecret, Tls, TlsError, TlsFault, TlsPart},
};

/// Nobody changes what is in it, whoever holds it.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE)
    .union(SealFlags::SEAL);

/// Files of certificates and keys are no larger than this, in bytes; a bundle of all public CAs has a quarter of it.
const LARGEST: u64 = 1 << 20;

/// Credentials in memory that other processes can inherit.
#[derive(Debug)]
pub(in crate::supervisor) struct SealedCredentials {
    files: TlsFiles,
    fd: OwnedFd,
}

#[derive(Serialize, Deserialize)]
struct Content {
    files: TlsFiles,
    credentials: Credentials,
    /// Made with each reading: what was agreed with other credentials is not taken up again.
    tickets: TicketSecret,
}

impl SealedCredentials {
    /// What the configuration asks for. Where this process has lost the right to read the files, because it has become
    /// another user since, what was read `before` stays, if the files are the same.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub(in crate::supervisor) fn of(
        config: &Config,
        before: Option<Rc<Self>>,
    ) -> Result<Option<Rc<Self>>, CredentialsError> {
        let Some(files) = &config.tls else {
            return Ok(None);
        };
        let credentials = match (read(files), before) {
            (Err(error), Some(before)) if error.is_forbidden() && before.files == *files => {
                tracing::warn!(
                    cure = "let that user's group read the files, or start spile again for a new certificate",
                    "{error}: the certificate that was read before is kept"
                );
                return Ok(Some(before));
            }
            (read, _) => read?,
        };
        for (doubt, cure) in doubts(files, &credentials) {
            tracing::warn!(cure, "{doubt}");
        }
        let content = Content {
            files: files.clone(),
            credentials,
            tickets: TicketSecret::random().map_err(CredentialsError::Memory)?,
        };
        let fd = seal(&content).map_err(CredentialsError::Memory)?;
        Ok(Some(Rc::new(Self {
            files: content.files,
            fd,
        })))
    }

    /// Takes those that another process has handed on.
    ///
    /// # Errors
    /// The descriptor is not one of these.
    pub(in crate::supervisor) fn take(fd: OwnedFd) -> io::Result<Self> {
        let Content { files, .. } = open(&fd)?;
        Ok(Self { files, fd })
    }

    /// Makes the TLS configuration of a process's listeners.
    ///
    /// # Errors
    /// The memory cannot be read.
    pub(in crate::supervisor) fn tls(&self) -> io::Result<Tls> {
        let content = open(&self.fd)?;
        Tls::with_tickets(&content.credentials, &content.tickets).map_err(io::Error::other)
    }

    /// Reads the certificate and the key out of it.
    ///
    /// # Errors
    /// The memory cannot be read.
    pub(in crate::supervisor) fn credentials(&self) -> io::Result<Credentials> {
        open(&self.fd).map(|content| content.credentials)
    }
}

impl AsFd for SealedCredentials {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn seal(content: &Content) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("spile-credentials", flags)?);
    file.write_all(&serde_json::to_vec(content)?)?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

fn open(fd: &OwnedFd) -> io::Result<Content> {
    if !rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SEALS)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the descriptor for the certificate is not sealed memory",
        ));
    }
    let file = File::from(fd.try_clone()?);
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut text = vec![0; length];
    // All holders share one offset, so none uses it.
    file.read_exact_at(&mut text, 0)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Reads the files, and sees that they go together.
///
/// # Errors
/// See [`CredentialsError`].
pub(crate) fn read(files: &TlsFiles) -> Result<Credentials, CredentialsError> {
    let credentials = Credentials {
        certificate: read_file("tls-cert", &files.cert)?,
        key: read_file("tls-key", &files.key)?,
        client_ca: match &files.client_ca {
            Some(path) => Some(read_file("tls-client-ca", path)?),
            None => None,
        },
    };
    match Tls::new(&credentials) {
        Ok(_) => Ok(credentials),
        Err(TlsError { part, fault }) => {
            let (option, path) = match part {
                TlsPart::Certificate => ("tls-cert", &files.cert),
                TlsPart::Key => ("tls-key", &files.key),
                TlsPart::ClientCa => (
                    "tls-client-ca",
                    files.client_ca.as_ref().unwrap_or(&files.cert),
                ),
            };
            Err(CredentialsError::Unfit {
                option,
                path: path.clone(),
                fault,
            })
        }
    }
}

fn read_file(option: &'static str, path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        if found.len() > LARGEST {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, LARGEST), &mut text)?;
        Ok(text)
    };
    read().map_err(|source| CredentialsError::Unreadable {
        option,
        path: path.to_owned(),
        source,
    })
}

/// What is allowed and yet not right about the files: what, and what to do.
pub(crate) fn doubts(files: &TlsFiles, credentials: &Credentials) -> Vec<(String, &'static str)> {
    let mut doubts = Vec::new();
    let cert = files.cert.display();
    match credentials.expiry() {
        Ok(Expiry::Expired(ago)) => doubts.push((
            format!("--tls-cert: the certificate in `{cert}` has expired {} ago", told(ago)),
            "renew it: clients that look at it, such as nginx with uwsgi_ssl_verify, refuse to connect",
        )),
        Ok(Expiry::NotYet) => doubts.push((
            format!("--tls-cert: the certificate in `{cert}` is not in force yet"),
            "look at the clock of this machine, or wait: clients that look at it refuse to connect",
        )),
        Ok(Expiry::InForce) | Err(_) => {}
    }
    let everybody_reads = |found: Metadata| found.permissions().mode() & 0o004 != 0;
    if files.key.metadata().is_ok_and(everybody_reads) {
        doubts.push((
            format!("--tls-key: everybody on this machine may read `{}`", files.key.display()),
            "chmod o-rwx it, and have the certificate made anew for another key if it was so for long",
        ));
    }
    doubts
}

fn told(time: Duration) -> String {
    match time.as_secs() {
        0..7200 => format!("{} minutes", time.as_secs() / 60),
        7200..172_800 => format!("{} hours", time.as_secs() / 3600),
        more => format!("{} days", more / 86400),
    }
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("--{option}: cannot read `{path}`: {what}", path = path.display(), what = plain(source))]
    Unreadable {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file has not what it should.
    #[error("--{option}: `{path}` will not do: {fault}", path = path.display())]
    Unfit {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: TlsFault,
    },
    /// The system refused the memory they are handed on in.
    #[error("the certificate and the key cannot be kept in memory: {0}")]
    Memory(#[source] io::Error),
}

impl CredentialsError {
    /// The option that is wrong.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            Self::Unreadable { option, .. } | Self::Unfit { option, .. } => option,
            Self::Memory(_) => "tls-cert",
        }
    }

    /// What is wrong, without the option.
    pub(crate) fn what(&self) -> String {
        let whole = self.to_string();
        let option = format!("--{}: ", self.option());
        whole.strip_prefix(&option).unwrap_or(&whole).to_owned()
    }

    fn is_forbidden(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl Cure for CredentialsError {
    fn cure(&self) -> String {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run spile as a user who may (it reads the files before it becomes --user), or let its group"
            }
            Self::Unreadable { .. } => "name a file in PEM that this user may read",
            Self::Unfit { fault, .. } => fault.cure(),
            Self::Memory(_) => "free memory, or raise the limit of open files",
        }
        .to_owned()
    }
}
