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

use super::output::{Output, Refused};

/// How long the end of a process waits for lines to be written.
pub(super) const AT_THE_END: Duration = Duration::from_secs(1);

/// Bytes that may wait for a slow disk; beyond them lines are dropped, never a request delayed.
const ROOM: usize = 2 * 1024 * 1024;
/// What is kept of that memory when it is not needed.
const KEPT: usize = 64 * 1024;
/// How long a line waits for others: so the thread is woken once for many.
const GATHER: Duration = Duration::from_millis(50);
/// How often a thread that waits for a slow reader looks whether it is wanted for something else.
const LOOK: Duration = Duration::from_millis(100);
/// The time between two warnings of the same kind; twice as long after each, up to [`LONGEST_QUIET`].
const QUIET: Duration = Duration::from_secs(10);
/// A disk may stay full for days.
const LONGEST_QUIET: Duration = Duration::from_secs(640);

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
            shared.warn_of_dropped(false);
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
        self.0.warn_of_dropped(true);
        !waited.timed_out()
    }

    pub(super) fn lost(&self) -> u64 {
        self.0.dropped.count() + self.0.refused.count()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush(AT_THE_END);
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
            self.warn_of_dropped(false);
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
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    if !rest.is_empty() {
                        continue;
                    }
                    if let Some(lost) = self.refused.end() {
                        tracing::info!(
                            "the access log {} is written again; {lost} of its lines were lost",
                            self.name
                        );
                    }
                }
                Err(Refused::NotYet) => {
                    self.warn_of_dropped(false);
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
                    self.refused.tell(false, |lost| {
                        tracing::error!(
                            "cannot write to the access log {}: {error}; {lost} of its lines are lost, and so are more \
                             until it can",
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

    fn warn_of_dropped(&self, now: bool) {
        self.dropped.tell(now, |lost| {
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

/// Lines that are lost, and what the log has told of them.
#[derive(Default)]
struct Losses {
    count: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// Lines that it has told of.
    lines: u64,
    at: Option<Instant>,
    /// How long it says nothing after that.
    quiet: Duration,
    /// Lines that were lost before those that are being lost; `None` when none are, or that was not told.
    before: Option<u64>,
}

impl Losses {
    fn add(&self, lines: u64) {
        self.count.fetch_add(lines, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells of those that are new, unless it has done so not long ago, or `now` is when it has to.
    fn tell(&self, now: bool, say: impl FnOnce(u64)) {
        // Who finds it locked knows that it is being told.
        let Ok(mut told) = self.told.try_lock() else {
            return;
        };
        let (before, count) = (told.lines, self.count());
        let since = told.at.map(|at| at.elapsed());
        let is_quiet = since.is_some_and(|since| since < told.quiet);
        if count == before || is_quiet && !now {
            return;
        }
        let goes_on = since.is_some_and(|since| since < told.quiet * 2);
        told.quiet = if goes_on {
            (told.quiet * 2).min(LONGEST_QUIET)
        } else {
            QUIET
        };
        told.lines = count;
        told.at = Some(Instant::now());
        told.before.get_or_insert(before);
        say(count - before);
    }

    /// No more are lost: how many were since that was told for the first time.
    fn end(&self) -> Option<u64> {
        let mut told = self.told.try_lock().ok()?;
        let before = told.before.take()?;
        told.lines = self.count();
        Some(told.lines - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(losses: &Losses) -> Option<u64> {
        let mut said = None;
        losses.tell(false, |lines| said = Some(lines));
        said
    }

    /// As if it had been so long since the log told of them.
    fn passes(losses: &Losses, time: Duration) {
        let mut told = losses.told.lock().unwrap();
        told.at = told.at.and_then(|at| at.checked_sub(time));
    }

    #[test]
    fn what_goes_on_is_told_ever_more_rarely_and_its_end_once() {
        let losses = Losses::default();
        assert_eq!((told(&losses), losses.end()), (None, None));
        losses.add(1);
        assert_eq!(told(&losses), Some(1));
        losses.add(2);
        assert_eq!(told(&losses), None);
        passes(&losses, QUIET);
        assert_eq!(told(&losses), Some(2));
        losses.add(3);
        passes(&losses, QUIET);
        assert_eq!(told(&losses), None, "twice the time before the third");
        passes(&losses, QUIET);
        assert_eq!(told(&losses), Some(3));
        losses.add(4);
        assert_eq!((losses.end(), losses.end()), (Some(10), None));
        passes(&losses, LONGEST_QUIET);
        losses.add(1);
        assert_eq!(told(&losses), Some(1));
        assert_eq!(losses.told.lock().unwrap().quiet, QUIET);
    }
}
