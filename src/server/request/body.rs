//! The body of a request: gathered for applications that block, a stream for the others.

use std::{
    fs::File,
    future::poll_fn,
    io::Write,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::{
    budget::{BodyMemory, Share},
    refusal::Refusal,
};
use crate::{
    app::{Body, BoxError, FileRange, UnfinishedBody},
    server::{
        connection::Connection, limits::BODY_IN_MEMORY, net::scratch::CHUNKS_A_TURN,
        shared::Shared, sync::timeout_from_first_wait,
    },
};

/// The whole body: in memory, or in a temporary file when it is large or bodies have taken much memory already.
pub(crate) async fn gather(
    shared: &Shared,
    connection: &Connection,
    start: Bytes,
    length: u64,
) -> Result<Body, Refusal> {
    if connection.is_read_whole() {
        return Ok(start.into());
    }
    let mut gathered = Gathered::new(length, &shared.body_memory)?;
    gathered.write(&start)?;
    let mut turns = 0;
    loop {
        let read =
            poll_fn(|context| connection.poll_body(context, shared, |part| gathered.write(part)));
        match timeout_from_first_wait(shared.limits.read_timeout, read).await {
            Some(Ok(Some(written))) => {
                written?;
                turns += 1;
                if turns % CHUNKS_A_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Some(Ok(None)) => return Ok(gathered.into_body(length)),
            Some(Err(error)) => return Err(Refusal::Io(error)),
            None => return Err(timed_out(shared, connection, length)),
        }
    }
}

fn timed_out(shared: &Shared, connection: &Connection, length: u64) -> Refusal {
    Refusal::BodyTimedOut {
        received: length - connection.body_left(),
        length,
        after: shared.limits.read_timeout,
    }
}

enum Gathered {
    Memory(InMemory),
    File(File),
}

struct InMemory {
    bytes: Vec<u8>,
    share: Share,
    /// What the body will have in all.
    length: usize,
}

impl Gathered {
    fn new(length: u64, memory: &Arc<BodyMemory>) -> Result<Self, Refusal> {
        match usize::try_from(length) {
            Ok(length) if length <= BODY_IN_MEMORY => Ok(Self::Memory(InMemory {
                bytes: Vec::new(),
                share: memory.share(),
                length,
            })),
            _ => tempfile::tempfile().map(Self::File).map_err(Refusal::Spool),
        }
    }

    fn write(&mut self, part: &[u8]) -> Result<(), Refusal> {
        if let Self::Memory(memory) = self {
            if memory.write(part) {
                return Ok(());
            }
            let mut file = tempfile::tempfile().map_err(Refusal::Spool)?;
            file.write_all(&memory.bytes).map_err(Refusal::Spool)?;
            *self = Self::File(file);
        }
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.write_all(part).map_err(Refusal::Spool),
        }
    }

    fn into_body(self, length: u64) -> Body {
        match self {
            Self::Memory(memory) => Bytes::from_owner(memory).into(),
            Self::File(file) => Body::file(FileRange {
                file: Arc::new(file),
                offset: 0,
                length,
            }),
        }
    }
}

impl InMemory {
    /// Appends, unless the memory for bodies, or all of it, is used up. It grows with what has come: a length that a
    /// client only announces takes nothing.
    fn write(&mut self, part: &[u8]) -> bool {
        let needed = self.bytes.len() + part.len();
        if needed > self.bytes.capacity() {
            let wanted = needed
                .max(4 * self.bytes.capacity())
                .min(self.length.max(needed));
            if !self.share.grow_to(wanted) {
                return false;
            }
            // Where the system has none the body goes into a file, too.
            let more = wanted - self.bytes.len();
            if self.bytes.try_reserve_exact(more).is_err() {
                return false;
            }
        }
        self.bytes.extend_from_slice(part);
        true
    }
}

impl AsRef<[u8]> for InMemory {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body as a stream: what has come already, then the rest as it comes.
pub(crate) fn incoming(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    start: Bytes,
    length: u64,
) -> Body {
    if connection.is_read_whole() {
        return start.into();
    }
    Body::stream(
        Incoming {
            shared: shared.clone(),
            connection: connection.clone(),
            start,
            length,
            in_a_row: 0,
            wait: None,
            failed: false,
        },
        Some(length),
    )
}

struct Incoming {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    start: Bytes,
    /// Of the whole body.
    length: u64,
    /// Chunks that came without a wait.
    in_a_row: usize,
    wait: Option<Pin<Box<Sleep>>>,
    /// It has given an error: a reader that goes on gets the end, not the error again and again.
    failed: bool,
}

impl futures_core::Stream for Incoming {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.poll_chunk(context));
        self.failed = matches!(chunk, Some(Err(_)));
        Poll::Ready(chunk)
    }
}

impl Incoming {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if !self.start.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.start))));
        }
        if self.in_a_row >= CHUNKS_A_TURN {
            // A client that sends as fast as this reads would keep the thread to itself.
            self.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Whoever polls may have another runtime, or none.
        let shared = self.shared.clone();
        let _runtime = shared.runtime.enter();
        let read = self
            .connection
            .poll_body(context, &self.shared, Bytes::copy_from_slice);
        match read {
            Poll::Ready(read) => {
                self.wait = None;
                self.in_a_row += 1;
                let read = read.map_err(|error| UnfinishedBody::Left(error).into());
                Poll::Ready(read.transpose())
            }
            Poll::Pending => {
                self.in_a_row = 0;
                let limit = self.shared.limits.read_timeout;
                let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(limit)));
                ready!(wait.as_mut().poll(context));
                timed_out(&self.shared, &self.connection, self.length)
                    .log(&self.shared.log_limit, || self.connection.stream.peer());
                Poll::Ready(Some(Err(UnfinishedBody::TimedOut { after: limit }.into())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::app::Content;

    #[test]
    fn a_body_that_finds_no_memory_goes_into_a_file() {
        let memory = BodyMemory::new(6);
        let mut small = Gathered::new(4, &memory).unwrap();
        let mut other = Gathered::new(5, &memory).unwrap();
        for part in [&b"ab"[..], b"c"] {
            small.write(part).unwrap();
            other.write(part).unwrap();
        }
        small.write(b"d").unwrap();
        other.write(b"de").unwrap();
        let small = small.into_body(4).into_content();
        assert!(matches!(&small, Content::Bytes(bytes) if bytes == "abcd"));
        let Content::File(range) = other.into_body(5).into_content() else {
            panic!("not a file");
        };
        let mut read = [0; 8];
        assert_eq!(range.file.read_at(&mut read, range.offset).unwrap(), 5);
        assert_eq!(&read[..5], b"abcde");
        drop(small);
        assert!(memory.share().grow_to(6));
    }
}
