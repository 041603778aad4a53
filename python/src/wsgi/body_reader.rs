//! A position in the body of a request, and the pieces and lines that follow it.

use std::{io, os::unix::fs::FileExt};

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use spile::app::{Body, Content, FileRange};

/// Bytes of a file that are read at a time to find lines and for small pieces.
const WINDOW: u64 = 64 * 1024;

/// A piece of a file of at least this many bytes is read by itself, into the object that Python gets.
const LARGE_PIECE: u64 = 8 * 1024;

/// Reads a body that has arrived whole.
pub(super) struct BodyReader {
    source: Source,
    length: u64,
    /// Beyond the end after a seek there.
    position: u64,
}

enum Source {
    Memory(Bytes),
    File { range: FileRange, window: Window },
}

/// The part of a file that was read last.
#[derive(Default)]
struct Window {
    bytes: Bytes,
    start: u64,
}

/// Bytes of a body that no other reader gets. To make them Python's needs no lock.
pub(super) enum Piece {
    Memory(Bytes),
    File(FileRange),
}

impl BodyReader {
    pub(super) fn new(body: Body) -> Self {
        let source = match body.into_content() {
            Content::Bytes(bytes) => Source::Memory(bytes),
            Content::File(range) => Source::File {
                range,
                window: Window::default(),
            },
            // A stream is given to applications that do not block, and to no others.
            _ => Source::Memory(Bytes::new()),
        };
        let length = match &source {
            Source::Memory(bytes) => as_u64(bytes.len()),
            Source::File { range, .. } => range.length,
        };
        Self {
            source,
            length,
            position: 0,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Moves to a position, which may lie beyond the end.
    pub(super) fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Takes the next bytes: `most` of them, or all that are left.
    pub(super) fn take(&mut self, py: Python<'_>, most: u64) -> io::Result<Piece> {
        let piece = self.peek(py, most)?;
        self.position += piece.length();
        Ok(piece)
    }

    /// Takes the next line with its newline, or `most` bytes of it.
    pub(super) fn take_line(&mut self, py: Python<'_>, most: u64) -> io::Result<Piece> {
        let end = self.position + self.left().min(most);
        let mut searched = self.position;
        while searched < end {
            let part = self.at_hand(py, searched)?;
            let part = part.get(..as_usize(end - searched)).unwrap_or(&part);
            if let Some(newline) = memchr::memchr(b'\n', part) {
                searched += as_u64(newline) + 1;
                break;
            }
            searched += as_u64(part.len());
        }
        self.take(py, searched - self.position)
    }

    /// Returns the next bytes as [`Self::take`] does, and stays where it is.
    pub(super) fn peek(&mut self, py: Python<'_>, most: u64) -> io::Result<Piece> {
        let count = self.left().min(most);
        match &self.source {
            Source::File { range, .. } if count >= LARGE_PIECE => {
                let offset = range.offset + self.position;
                let range = FileRange::new(range.file.clone(), offset, count);
                Ok(Piece::File(range))
            }
            _ if count == 0 => Ok(Piece::Memory(Bytes::new())),
            _ => {
                let mut bytes = self.at_hand(py, self.position)?;
                bytes.truncate(as_usize(count));
                Ok(Piece::Memory(bytes))
            }
        }
    }

    /// Returns bytes from there on, at least [`LARGE_PIECE`] of them unless the end comes before.
    fn at_hand(&mut self, py: Python<'_>, from: u64) -> io::Result<Bytes> {
        match &mut self.source {
            Source::Memory(bytes) => Ok(bytes.slice(as_usize(from).min(bytes.len())..)),
            Source::File { range, window } => {
                let length = (self.length - from).min(WINDOW);
                let known = window.end().saturating_sub(from);
                if from < window.start || known < length.min(LARGE_PIECE) {
                    let mut bytes = vec![0; as_usize(length)];
                    let (file, offset) = (&range.file, range.offset + from);
                    py.detach(|| file.read_exact_at(&mut bytes, offset))?;
                    *window = Window {
                        bytes: bytes.into(),
                        start: from,
                    };
                }
                Ok(window.bytes.slice(as_usize(from - window.start)..))
            }
        }
    }

    fn left(&self) -> u64 {
        self.length.saturating_sub(self.position)
    }
}

impl Window {
    fn end(&self) -> u64 {
        self.start + as_u64(self.bytes.len())
    }
}

impl Piece {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => as_u64(bytes.len()),
            Self::File(range) => range.length,
        }
    }

    /// Makes it an object of Python's. A file is read without the interpreter's lock.
    pub(super) fn into_bytes(self, py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
        match self {
            Self::Memory(bytes) => Ok(PyBytes::new(py, &bytes)),
            Self::File(range) => PyBytes::new_with(py, as_usize(range.length), |into| {
                Ok(py.detach(|| range.file.read_exact_at(into, range.offset))?)
            }),
        }
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn as_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
