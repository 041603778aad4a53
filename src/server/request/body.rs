//! The body of a request: gathered for applications that block, a stream for the others.

use std::{
    fs::File,
    future::poll_fn,
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::{
    memory::{BodyBuffer, BodyMemory},
    refusal::Refusal,
};
use crate::{
    app::{Body, BoxError, FileRange, UnfinishedBody},
    server::{
        connection::Connection,
        limits::BODY_PACE,
        net::scratch::{CHUNKS_A_TURN, with_large_scratch},
        pace::Pace,
        shared::Shared,
        sync::timeout_from_first_wait,
    },
};

/// A body on its way to an application that blocks, which gets it whole: in memory, or in a temporary file when there
/// is not memory enough for it.
pub(crate) struct Gathering {
    bytes: Gathered,
    length: u64,
}

enum Gathered {
    Memory(BodyBuffer),
    File(File),
}

/// How much of a body has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Whole,
    /// So many bytes, and perhaps more at once.
    More(usize),
    /// Nothing for the moment.
    Nothing,
}

impl Gathering {
    /// Begins with the bytes that came behind the packet.
    pub(crate) fn new(
        memory: &Arc<BodyMemory>,
        start: &[u8],
        length: u64,
    ) -> Result<Self, Refusal> {
        let bytes = match memory.buffer(length) {
            Some(buffer) => Gathered::Memory(buffer),
            None => Gathered::File(tempfile::tempfile().map_err(Refusal::Spool)?),
        };
        let mut gathering = Self { bytes, length };
        gathering.put(start)?;
        Ok(gathering)
    }

    /// Receives on this thread for as long as the client keeps pace. `false` if it does not: then the rest is for
    /// [`Self::receive`], and so is all of a body that goes into a file.
    pub(crate) fn receive_at_pace(
        &mut self,
        shared: &Shared,
        connection: &Connection,
        grace: Duration,
    ) -> Result<bool, Refusal> {
        let mut pace = Pace::new(grace, BODY_PACE);
        while self.is_in_memory() {
            match self.receive_now(shared, connection)? {
                Progress::Whole => return Ok(true),
                Progress::More(count) => pace.moved(count),
                Progress::Nothing => {
                    let patience = pace.patience();
                    if patience.is_zero() {
                        return Ok(false);
                    }
                    let waited = pace.waiting(|| connection.wait_readable(patience));
                    waited.map_err(Refusal::Io)?;
                }
            }
        }
        Ok(false)
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.bytes, Gathered::Memory(_))
    }

    /// Receives the rest without a thread of its own.
    pub(crate) async fn receive(
        &mut self,
        shared: &Shared,
        connection: &Connection,
    ) -> Result<(), Refusal> {
        let mut turns = 0;
        loop {
            let received = poll_fn(|context| self.poll_receive(context, shared, connection));
            match timeout_from_first_wait(shared.limits.read_timeout, received).await {
                Some(Ok(Progress::Whole)) => return Ok(()),
                Some(Ok(_)) => {
                    turns += 1;
                    if turns % CHUNKS_A_TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Some(Err(refusal)) => return Err(refusal),
                None => return Err(timed_out(shared, connection, self.length)),
            }
        }
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        shared: &Shared,
        connection: &Connection,
    ) -> Poll<Result<Progress, Refusal>> {
        loop {
            match self.receive_now(shared, connection) {
                Ok(Progress::Nothing) => {
                    ready!(connection.stream.poll_readable(context)).map_err(Refusal::Io)?;
                }
                received => return Poll::Ready(received),
            }
        }
    }

    /// Receives once, straight into the buffer that the application reads.
    fn receive_now(
        &mut self,
        shared: &Shared,
        connection: &Connection,
    ) -> Result<Progress, Refusal> {
        let left = usize::try_from(connection.body_left()).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Progress::Whole);
        }
        connection.let_go();
        let received = match &mut self.bytes {
            Gathered::Memory(buffer) => match buffer.room(left) {
                Some(room) => connection
                    .receive_body(shared, room)
                    .inspect(|count| buffer.advance(*count)),
                None => {
                    self.move_into_file()?;
                    return self.receive_now(shared, connection);
                }
            },
            Gathered::File(file) => {
                return receive_into(file, shared, connection);
            }
        };
        progress(received)
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            match &mut self.bytes {
                Gathered::Memory(buffer) => match buffer.room(bytes.len()) {
                    Some(room) => {
                        let (now, later) = bytes.split_at(room.len().min(bytes.len()));
                        room.copy_from_slice(now);
                        buffer.advance(now.len());
                        bytes = later;
                    }
                    None => self.move_into_file()?,
                },
                Gathered::File(file) => {
                    return file.write_all(bytes).map_err(Refusal::Spool);
                }
            }
        }
        Ok(())
    }

    fn move_into_file(&mut self) -> Result<(), Refusal> {
        if let Gathered::Memory(buffer) = &self.bytes {
            let mut file = tempfile::tempfile().map_err(Refusal::Spool)?;
            file.write_all(buffer.as_ref()).map_err(Refusal::Spool)?;
            self.bytes = Gathered::File(file);
        }
        Ok(())
    }

    pub(crate) fn into_body(self) -> Body {
        match self.bytes {
            Gathered::Memory(buffer) => Bytes::from_owner(buffer).into(),
            Gathered::File(file) => Body::file(FileRange {
                file: Arc::new(file),
                offset: 0,
                length: self.length,
            }),
        }
    }
}

/// Writes all that has arrived to a file, in one piece if it fits one.
fn receive_into(
    file: &mut File,
    shared: &Shared,
    connection: &Connection,
) -> Result<Progress, Refusal> {
    with_large_scratch(|scratch| {
        let mut count = 0;
        let mut received = Ok(0);
        while count < scratch.len() && !connection.is_read_whole() {
            let room = scratch.get_mut(count..).unwrap_or_default();
            received = connection.receive_body(shared, room);
            match received {
                Ok(more) => count += more,
                Err(_) => break,
            }
        }
        if count == 0 {
            return progress(received);
        }
        // What else is wrong with the connection shows at the next try.
        let piece = scratch.get(..count).unwrap_or_default();
        file.write_all(piece).map_err(Refusal::Spool)?;
        Ok(Progress::More(count))
    })
}

fn progress(received: io::Result<usize>) -> Result<Progress, Refusal> {
    match received {
        Ok(count) => Ok(Progress::More(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Progress::Nothing),
        Err(error) => Err(Refusal::Io(error)),
    }
}

fn timed_out(shared: &Shared, connection: &Connection, length: u64) -> Refusal {
    Refusal::BodyTimedOut {
        received: length - connection.body_left(),
        length,
        after: shared.limits.read_timeout,
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
    use std::os::unix::{fs::FileExt, net::UnixStream};

    use super::*;
    use crate::{
        app::Content,
        server::{
            limits::BODIES_IN_MEMORY,
            net::{listener::Family, stream::Stream},
            wire::Wire,
        },
    };

    #[tokio::test]
    async fn a_body_that_finds_no_memory_goes_into_a_file() {
        let memory = BodyMemory::new(tokio::runtime::Handle::current());
        let half = BODIES_IN_MEMORY / 2;
        let mut gatherings: Vec<_> = (0..2)
            .map(|_| Gathering::new(&memory, b"", u64::try_from(half).unwrap()).unwrap())
            .collect();
        let mut last = Gathering::new(&memory, b"ab", 5).unwrap();
        for gathering in &mut gatherings {
            for part in vec![1; half].chunks(100_000) {
                gathering.put(part).unwrap();
            }
        }
        assert!(matches!(gatherings[0].bytes, Gathered::Memory(_)));
        // Something has been taken by the last one.
        assert!(matches!(gatherings[1].bytes, Gathered::File(_)));
        last.put(b"cde").unwrap();
        let Content::Bytes(bytes) = last.into_body().into_content() else {
            panic!("not in memory");
        };
        assert_eq!(bytes, "abcde");
        let moved = gatherings.pop().unwrap();
        let Content::File(range) = moved.into_body().into_content() else {
            panic!("not a file");
        };
        let mut read = vec![0; half];
        range.file.read_exact_at(&mut read, range.offset).unwrap();
        assert!(read.iter().all(|byte| *byte == 1));
    }

    /// A connection whose request has a body of that length, none of which has come, and the client's end.
    fn upload(shared: &Shared, length: usize) -> (Arc<Connection>, UnixStream) {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = Stream::new(ours.into(), Family::Unix);
        let connection = Connection::new(stream, Wire::uwsgi(), shared.slots.enter());
        connection.begin_body(shared, Bytes::new(), u64::try_from(length).unwrap());
        (connection, peer)
    }

    #[tokio::test]
    async fn a_body_is_received_on_the_thread_while_its_client_keeps_pace() {
        let shared = Shared::for_tests(Vec::new());
        let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let length = u64::try_from(sent.len()).unwrap();
        let patient = Duration::from_secs(60);

        let (connection, mut peer) = upload(&shared, sent.len());
        let mut body = Gathering::new(&shared.body_memory, b"", length).unwrap();
        let whole = std::thread::scope(|scope| {
            scope.spawn(|| peer.write_all(&sent).unwrap());
            body.receive_at_pace(&shared, &connection, patient).unwrap()
        });
        assert!(whole);
        let received = body.into_body().read_to_end(sent.len()).await.unwrap();
        assert!(*received == *sent);

        let (connection, mut peer) = upload(&shared, sent.len());
        let mut body = Gathering::new(&shared.body_memory, b"", length).unwrap();
        let (now, later) = sent.split_at(100_000);
        peer.write_all(now).unwrap();
        let moment = Duration::from_millis(1);
        assert!(!body.receive_at_pace(&shared, &connection, moment).unwrap());
        assert_eq!(connection.body_left(), length - 100_000);
        let later = later.to_vec();
        let sending = tokio::task::spawn_blocking(move || peer.write_all(&later).unwrap());
        body.receive(&shared, &connection).await.unwrap();
        sending.await.unwrap();
        let received = body.into_body().read_to_end(sent.len()).await.unwrap();
        assert!(*received == *sent);
    }
}
