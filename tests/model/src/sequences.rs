use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::seqlock;

/// A lane's words, as the scoreboard has them: a sequence number, and two that belong together.
#[derive(Default)]
struct Lane {
    sequence: AtomicU64,
    first: AtomicU64,
    second: AtomicU64,
}

impl Lane {
    fn write(&self, value: u64) {
        seqlock::write(&self.sequence, || {
            self.first.store(value, Ordering::Relaxed);
            self.second.store(value, Ordering::Relaxed);
        });
    }

    fn read(&self) -> Option<(u64, u64)> {
        seqlock::try_read(&self.sequence, || {
            let first = self.first.load(Ordering::Relaxed);
            (first, self.second.load(Ordering::Relaxed))
        })
    }
}

#[test]
fn no_mixture_of_two_writes_is_read() {
    loom::model(|| {
        let lane = Arc::new(Lane::default());
        let writers = lane.clone();
        let writer = thread::spawn(move || {
            writers.write(1);
            writers.write(2);
        });
        if let Some((first, second)) = lane.read() {
            assert_eq!(first, second);
        }
        writer.join().unwrap();
        assert_eq!(lane.read(), Some((2, 2)));
    });
}
