//! The thread that writes the access log, the queue before it, and the count of what is lost.

use std::{
    io, mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    AccessLog,
    output::{Output, Refused},
};

/// Bytes that may wait for a slow disk; beyond them lines are dropped, never a request delayed.
const ROOM: usize = 2 * 1024 * 1024;
/// What is kept of that memory when it is not needed.
const KEPT: usize = 64 * 1024;
/// How long a line waits for others: so the thread is woken once for many.
const GATHER: Duration = Duration::from_millis(50);
/// How often a thread that waits for a slow reader looks whether it is wanted for something else.
const LOOK: Duration = Duration::from_millis(100);
/// The time between two warnings of the same kind.
const QUIET: Duration = Duration::from_secs(10);

/// The end of the queue that lines are put into. Dropping it writes what is queued.
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do.
    wake: Condvar,
    /// Everything is written.
    idle: Condvar,
    name: String,
    dropped: Losses,
    refused: Losses,
}

/// Held for as long as copying a line takes, never while something is written.
#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    writing: bool,
    hurry: bool,
    reopen: bool,
    closed: bool,
}

impl Writer {
    pub(super) fn start(output: Output) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            idle: Condvar::new(),
            name: output.name(),
            dropped: Losses::default(),
            refused: Losses::default(),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("spile-access-log".into())
            .spawn(move || of_thread.run(output))?;
        Ok(Self(shared))
    }

    /// Queues a line, or drops it.
    pub(super) fn push(&self, line: &[u8]) {
        let shared = &self.0;
        let mut queue = shared.queue();
        let before = queue.lines.len();
        let after = before + line.len();
        if after > ROOM {
            drop(queue);
            shared.dropped.add(1);
            shared.warn_of_dropped(QUIET);
            return;
        }
        queue.lines.extend_from_slice(line);
        drop(queue);
        // Waking costs a system call: for the first line of a batch, and when it is large.
        if before == 0 || (before < ROOM / 2 && after >= ROOM / 2) {
            shared.wake.notify_one();
        }
    }

    pub(super) fn reopen(&self) {
        self.0.queue().reopen = true;
        self.0.wake.notify_one();
    }

    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut queue = self.0.queue();
        queue.hurry = true;
        self.0.wake.notify_one();
        let (queue, waited) = self
            .0
            .idle
            .wait_timeout_while(queue, patience, |queue| {
                !queue.lines.is_empty() || queue.writing || queue.reopen
            })
            .unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        self.0.warn_of_dropped(Duration::ZERO);
        !waited.timed_out()
    }

    pub(super) fn lost(&self) -> u64 {
        self.0.dropped.count() + self.0.refused.count()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush(AccessLog::AT_THE_END);
        self.0.queue().closed = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: Output) {
        let mut batch = Vec::new();
        while let Some(reopen) = self.next(&mut batch) {
            self.write(&mut output, &batch);
            if reopen {
                self.open_anew(&mut output);
            }
            batch.clear();
            batch.shrink_to(KEPT);
            self.warn_of_dropped(QUIET);
        }
    }

    /// Waits for lines, which replace those of `batch`, and whether the file is to be opened anew after them;
    /// `None` at the end.
    fn next(&self, batch: &mut Vec<u8>) -> Option<bool> {
        let mut queue = self.queue();
        queue.writing = false;
        if queue.lines.is_empty() && !queue.reopen {
            queue.hurry = false;
            self.idle.notify_all();
        }
        let mut queue = self
            .wake
            .wait_while(queue, |queue| {
                queue.lines.is_empty() && !queue.reopen && !queue.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        if !queue.hurry {
            (queue, _) = self
                .wake
                .wait_timeout_while(queue, GATHER, |queue| {
                    let urgent = queue.hurry || queue.reopen || queue.closed;
                    !urgent && queue.lines.len() < ROOM / 2
                })
                .unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed {
            return None;
        }
        queue.writing = true;
        mem::swap(&mut queue.lines, batch);
        Some(mem::take(&mut queue.reopen))
    }

    /// Writes whole lines, as they can be taken.
    fn write(&self, output: &mut Output, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            match output.write(rest, LOOK) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Refused::NotYet) => {
                    self.warn_of_dropped(QUIET);
                    let mut queue = self.queue();
                    if queue.closed {
                        self.dropped.add(count(rest));
                        return;
                    }
                    // Perhaps it is just what makes writing possible again.
                    if mem::take(&mut queue.reopen) {
                        drop(queue);
                        self.open_anew(output);
                    }
                }
                Err(Refused::Failed(error)) => {
                    self.refused.add(count(rest));
                    self.refused.tell(QUIET, |lost| {
                        tracing::error!(
                            "cannot write to the access log {}: {error}; {lost} of its lines are lost",
                            self.name
                        );
                    });
                    return;
                }
            }
        }
    }

    fn open_anew(&self, output: &mut Output) {
        match output.reopen() {
            Ok(()) => tracing::debug!("the access log {} is opened anew", self.name),
            Err(error) => tracing::error!(
                "cannot open the access log {} anew: {error}; the lines go on into the file that was open",
                self.name
            ),
        }
    }

    fn warn_of_dropped(&self, quiet: Duration) {
        self.dropped.tell(quiet, |lost| {
            tracing::warn!(
                "{lost} lines of the access log were dropped: the disk is slow ({})",
                self.name
            );
        });
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Lines that are lost, and how many of them the log has told of, and when.
#[derive(Default)]
struct Losses {
    count: AtomicU64,
    told: Mutex<(u64, Option<Instant>)>,
}

impl Losses {
    fn add(&self, lines: u64) {
        self.count.fetch_add(lines, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells of those that are new, unless that was done less than `quiet` ago.
    fn tell(&self, quiet: Duration, say: impl FnOnce(u64)) {
        // Who finds it locked knows that it is being told.
        let Ok(mut told) = self.told.try_lock() else {
            return;
        };
        let (before, at) = *told;
        let now = self.count();
        if now > before && at.is_none_or(|at| at.elapsed() >= quiet) {
            *told = (now, Some(Instant::now()));
            say(now - before);
        }
    }
}
