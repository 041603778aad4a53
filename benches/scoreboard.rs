//! What the scoreboard costs a request: `cargo bench --features cli --bench scoreboard`.
//!
//! Each figure is the median of batches, in nanoseconds a request, on one thread; and with a second thread of the
//! same worker that does the same, as two lanes at full load would.
#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used)]

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use metrics::{Counter, Gauge, Histogram};
use spile::{
    server::names,
    supervisor::scoreboard::{Layout, Recorder, Scoreboard, Writer},
};

const BATCH: u32 = 10_000;
const BATCHES: usize = 301;

/// The handles that a server makes once.
struct Handles {
    requests: Counter,
    duration: Histogram,
    in_flight: Gauge,
    request_bytes: Counter,
    response_bytes: Counter,
}

impl Handles {
    fn new() -> Self {
        Self {
            requests: metrics::counter!(names::REQUESTS, "mount" => "/", "status" => "2xx"),
            duration: metrics::histogram!(names::DURATION),
            in_flight: metrics::gauge!(names::IN_FLIGHT),
            request_bytes: metrics::counter!(names::REQUEST_BYTES),
            response_bytes: metrics::counter!(names::RESPONSE_BYTES),
        }
    }

    /// What the server counts of one request.
    fn count(&self) {
        self.in_flight.increment(1);
        self.request_bytes.increment(black_box(0));
        self.requests.increment(1);
        self.duration.record(black_box(0.000_4));
        self.response_bytes.increment(black_box(5_000));
        self.in_flight.decrement(1);
    }
}

fn run(writer: &Writer, lane: usize) {
    writer.began(
        lane,
        black_box(b"GET"),
        black_box(b"/shop/articles/4711/reviews"),
    );
    writer.ended(lane);
}

fn median(mut request: impl FnMut()) -> f64 {
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..BATCH {
                request();
            }
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[BATCHES / 2]
}

fn main() {
    let layout = Layout {
        slots: 4,
        lanes: 2,
        mounts: vec!["/".into(), "/shop".into()],
    };
    let board = Scoreboard::create(layout).unwrap();
    let writer = board.writer(0).unwrap();

    let unrecorded = Handles::new();
    let none = median(|| unrecorded.count());
    metrics::set_global_recorder(Recorder::new(writer.clone())).unwrap();
    let handles = Handles::new();
    let counters = median(|| handles.count());
    let lane = median(|| run(&writer, 0));
    let all = |lane| {
        run(&writer, lane);
        handles.count();
    };
    let alone = median(|| all(0));
    let stop = AtomicBool::new(false);
    let together = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                all(1);
            }
        });
        let together = median(|| all(0));
        stop.store(true, Ordering::Relaxed);
        together
    });
    assert!(board.read(0).requests() > 0);

    println!("counters without a recorder      {none:6.1} ns a request");
    println!("counters on the scoreboard       {counters:6.1}");
    println!("began and ended                  {lane:6.1}");
    println!("all of it                        {alone:6.1}");
    println!("all of it, two threads at once   {together:6.1}");
}
