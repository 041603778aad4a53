//! The body of a request, sent while the answer is read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread::JoinHandle;

use super::connection::Connection;

/// A request's body.
#[derive(Debug)]
#[non_exhaustive]
pub enum Content {
    /// None: CONTENT_LENGTH is empty, as nginx sends it.
    None,
    /// Bytes, perhaps none.
    Bytes(Vec<u8>),
    /// So many bytes of a file, from where it stands.
    File(File, u64),
}

impl Content {
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(_, len) => Some(*len),
        }
    }
}

/// What became of the request's body.
pub(super) type Upload = JoinHandle<Result<(), io::Error>>;

/// Sends the body; an `Err` is about reading it. That the server stops taking it is no error: it may have
/// answered already.
pub(super) fn upload(content: Content, mut connection: Connection) -> Upload {
    std::thread::spawn(move || {
        let (mut source, len): (Box<dyn Read>, u64) = match content {
            Content::None => return Ok(()),
            Content::Bytes(bytes) => {
                let len = bytes.len() as u64;
                (Box::new(io::Cursor::new(bytes)), len)
            }
            Content::File(file, len) => (Box::new(file), len),
        };
        let mut buffer = vec![0; 64 * 1024];
        let mut left = len;
        while left > 0 {
            let count = match source.read(&mut buffer) {
                Ok(0) => Err(io::Error::other("the file became shorter")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other,
            };
            let count = count.inspect_err(|_| connection.shutdown(Shutdown::Both))?;
            let count = count.min(usize::try_from(left).unwrap_or(count));
            if connection
                .write_all(buffer.get(..count).unwrap_or_default())
                .is_err()
            {
                break;
            }
            left -= count as u64;
        }
        Ok(())
    })
}
