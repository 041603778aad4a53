//! What is left of a response whose client is slow, sent in the background.
//!
//! The thread that ran the application puts chunks in and goes on to the next request; a task of the runtime
//! sends them at the client's pace. A little is kept in memory, the rest in a temporary file.

use std::{
    collections::VecDeque,
    fs::File,
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex},
};

use tokio::sync::Notify;

use super::{
    framing::WriteError,
    writer::{report, send_all, send_file},
};
use crate::{
    app::{AnswerError, FileRange},
    server::{
        connection::Connection,
        exchange::Exchange,
        handoff::Handoff,
        hooks::Pause,
        limits::{RESPONSE_IN_MEMORY, RESPONSE_ON_DISK},
        sync::lock,
    },
};

/// The queue between the application's thread and the task that sends.
pub(crate) struct Spool {
    state: Mutex<State>,
    /// More to send, or the end of it.
    filled: Notify,
    /// The file has been sent and is free again, or sending has failed.
    emptied: Condvar,
}

/// How a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of it was produced.
    Whole,
    /// The application failed on the way.
    Broken,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    in_memory: usize,
    spool_file: Option<SpoolFile>,
    /// With the bytes of the whole body.
    ending: Option<(Ending, u64)>,
    gone: bool,
}

enum Piece {
    Bytes(Vec<u8>),
    File {
        range: FileRange,
        is_spool_file: bool,
    },
}

struct SpoolFile {
    file: Arc<File>,
    written: u64,
    /// Bytes of it that are still to be sent.
    pending: u64,
}

impl Spool {
    /// Makes an empty spool, and starts the task that sends from it.
    pub(crate) fn open(
        handoff: &Arc<Handoff>,
        connection: &Arc<Connection>,
        exchange: &Arc<Exchange>,
        status: u16,
    ) -> Arc<Self> {
        let spool = Arc::new(Self {
            state: Mutex::default(),
            filled: Notify::new(),
            emptied: Condvar::new(),
        });
        let task = send(
            handoff.clone(),
            connection.clone(),
            exchange.clone(),
            spool.clone(),
            status,
        );
        handoff.shared.runtime.spawn(task);
        spool
    }

    /// Takes a chunk. Blocks only when the temporary file is full.
    pub(crate) fn push(&self, chunk: &[u8], pause: &dyn Pause) -> Result<(), AnswerError> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.wait_for_room(pause);
        let mut state = lock(&self.state);
        state.check()?;
        if state.in_memory + chunk.len() <= RESPONSE_IN_MEMORY
            && state.spool_file.as_ref().is_none_or(|it| it.pending == 0)
        {
            state.in_memory += chunk.len();
            state.pieces.push_back(Piece::Bytes(chunk.to_vec()));
        } else {
            let range = state.reserve(chunk.len())?;
            drop(state);
            // Neither the task that sends nor another thread of the interpreter waits for the disk.
            let mut written = Ok(());
            pause.pause(&mut || written = range.file.write_all_at(chunk, range.offset));
            written?;
            state = lock(&self.state);
            state.append(range);
        }
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes a part of a file, which costs nothing to keep.
    pub(crate) fn push_file(&self, range: FileRange) -> Result<(), AnswerError> {
        let mut state = lock(&self.state);
        state.check()?;
        state.pieces.push_back(Piece::File {
            range,
            is_spool_file: false,
        });
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Whether what it takes can reach the client no more.
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.state).gone
    }

    /// Nothing more will come.
    pub(crate) fn end(&self, ending: Ending, body_bytes: u64) {
        lock(&self.state).ending = Some((ending, body_bytes));
        self.filled.notify_one();
    }

    /// The task gives up on a client that takes nothing for too long, so this ends.
    fn wait_for_room(&self, pause: &dyn Pause) {
        if !lock(&self.state).is_full() {
            return;
        }
        pause.pause(&mut || {
            let waited = self
                .emptied
                .wait_while(lock(&self.state), |state| state.is_full() && !state.gone);
            drop(waited.unwrap_or_else(std::sync::PoisonError::into_inner));
        });
    }

    /// The next piece; `None` when there is none yet, or no more with an ending.
    fn take(&self) -> Result<Piece, Option<(Ending, u64)>> {
        let mut state = lock(&self.state);
        state.pieces.pop_front().ok_or(state.ending)
    }

    fn sent(&self, piece: &Sent) {
        let mut state = lock(&self.state);
        match *piece {
            Sent::Memory(length) => state.in_memory -= length,
            Sent::SpoolFile(length) => {
                if let Some(spool_file) = &mut state.spool_file {
                    spool_file.pending -= length;
                    if spool_file.pending == 0 {
                        // Never written again: what sendfile(2) put into the socket are this file's own pages.
                        state.spool_file = None;
                    }
                    self.emptied.notify_all();
                }
            }
            Sent::File => {}
        }
    }

    fn fail(&self) {
        lock(&self.state).gone = true;
        self.emptied.notify_all();
    }
}

impl State {
    fn check(&self) -> Result<(), AnswerError> {
        if self.gone {
            Err(AnswerError::Gone)
        } else {
            Ok(())
        }
    }

    fn is_full(&self) -> bool {
        self.spool_file
            .as_ref()
            .is_some_and(|spool_file| spool_file.written >= RESPONSE_ON_DISK)
    }

    /// A part of the temporary file to be written, which is kept until that was sent.
    fn reserve(&mut self, length: usize) -> Result<FileRange, AnswerError> {
        let spool_file = match &mut self.spool_file {
            Some(spool_file) => spool_file,
            none => none.insert(SpoolFile {
                file: Arc::new(tempfile::tempfile()?),
                written: 0,
                pending: 0,
            }),
        };
        let length = u64::try_from(length).unwrap_or(0);
        let offset = spool_file.written;
        spool_file.written += length;
        spool_file.pending += length;
        Ok(FileRange {
            file: spool_file.file.clone(),
            offset,
            length,
        })
    }

    /// Takes a part that was written; a piece that ends where it begins grows.
    fn append(&mut self, part: FileRange) {
        match self.pieces.back_mut() {
            Some(Piece::File {
                range,
                is_spool_file: true,
            }) if range.offset + range.length == part.offset => range.length += part.length,
            _ => self.pieces.push_back(Piece::File {
                range: part,
                is_spool_file: true,
            }),
        }
    }
}

/// Tells the application's thread that nothing more is sent.
struct Gone(Arc<Spool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fail();
    }
}

enum Sent {
    Memory(usize),
    SpoolFile(u64),
    File,
}

/// Sends what the spool holds until its end, then closes.
async fn send(
    handoff: Arc<Handoff>,
    connection: Arc<Connection>,
    exchange: Arc<Exchange>,
    spool: Arc<Spool>,
    status: u16,
) {
    let shared = &handoff.shared;
    // Even if the runtime ends first: nobody waits for room that will never be.
    let _gone = Gone(spool.clone());
    // Of a response that is cut off, what went through here is counted, not what went before.
    let mut body_bytes = 0;
    let outcome = loop {
        let piece = match spool.take() {
            Ok(piece) => piece,
            Err(None) => {
                spool.filled.notified().await;
                continue;
            }
            Err(Some((Ending::Whole, total))) => {
                body_bytes = total;
                break Ok(());
            }
            Err(Some((Ending::Broken, _))) => break Err(None),
        };
        let (sent, result) = match piece {
            Piece::Bytes(bytes) => (
                Sent::Memory(bytes.len()),
                send_all(shared, &connection, [&bytes, b""]).await,
            ),
            Piece::File {
                mut range,
                is_spool_file,
            } => {
                let length = range.length;
                let result = send_file(shared, &connection, &mut range).await;
                body_bytes += length - range.length;
                let sent = if is_spool_file {
                    Sent::SpoolFile(length)
                } else {
                    Sent::File
                };
                (sent, result)
            }
        };
        spool.sent(&sent);
        if let Err(error) = result {
            spool.fail();
            break Err(Some(error));
        }
    };
    // The log has told why a request was revoked.
    let outcome = outcome.map_err(|error: Option<AnswerError>| {
        let error = error.filter(|_| !exchange.claim.is_revoked());
        error.map(WriteError::Send)
    });
    report(shared, &exchange, (status, body_bytes), &outcome);
    let next = connection.end(shared, outcome.is_ok()).await;
    handoff.go_on(&connection, next);
}
