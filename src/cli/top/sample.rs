//! A document for tests.

use super::view::View;
use crate::observe::stats::{Bucket, Latency, Master, Running, Socket, Stats, Totals, Worker};

/// Four workers behind two sockets.
pub(super) fn stats() -> Stats {
    let socket = |address: &str, queue, limit| Socket {
        address: address.to_owned(),
        queue: Some(queue),
        queue_limit: Some(limit),
    };
    let bucket = |le, count| Bucket { le, count };
    Stats {
        version: "0.1.0".to_owned(),
        time: 1_800_000_000.0,
        master: Master {
            pid: 4711,
            state: "serving".to_owned(),
            uptime: 273_905.4,
            generation: 3,
            mold: Some(4712),
            workers_wanted: 4,
            reloads: 2,
            reloads_failed: 0,
        },
        sockets: vec![
            socket("unix:/run/app/app.sock", 3, 1024),
            socket("127.0.0.1:3031", 600, 1024),
        ],
        workers: vec![
            worker(
                1,
                0.5,
                48,
                &[("GET /report/monthly?year=2026", 1.2), ("GET /a", 0.004)],
            ),
            worker(2, 0.9, 120, &[("POST /import", 42.0)]),
            worker(3, 0.0, 1300, &[]),
            Worker {
                state: "starting".to_owned(),
                last_respawn: Some("request-timeout".to_owned()),
                respawns: 12,
                errors: 3,
                uptime: 4.0,
                ..worker(4, 0.0, 50, &[])
            },
        ],
        totals: Totals {
            requests: 1_234_567,
            errors: 12,
            in_flight: 7,
            request_bytes: 1 << 20,
            response_bytes: 1 << 34,
            refused: [("bad-packet".to_owned(), 2)].into(),
            restarts: [("killed".to_owned(), 1), ("request-timeout".to_owned(), 12)].into(),
            access_log_dropped: 0,
        },
        latency: Latency::new(
            vec![
                bucket(Some(0.01), 1_000_000),
                bucket(Some(0.1), 200_000),
                bucket(None, 34_567),
            ],
            5000.0,
        ),
        ..Stats::default()
    }
}

/// As [`stats`], with so many workers.
pub(super) fn many(workers: usize) -> Stats {
    Stats {
        workers: (1..=workers)
            .map(|number| worker(number, 0.1, 50, &[]))
            .collect(),
        ..stats()
    }
}

/// [`stats`], and what happened in the second before.
pub(super) fn view() -> View {
    let later = stats();
    let mut earlier = later.clone();
    earlier.master.uptime -= 1.0;
    earlier.totals.requests -= 412;
    earlier.totals.errors -= 1;
    earlier.totals.response_bytes -= 1_300_000;
    for (bucket, count) in earlier.latency.buckets.iter_mut().zip([400, 10, 2]) {
        bucket.count -= count;
    }
    for worker in &mut earlier.workers {
        worker.requests -= 100;
        worker.busy *= worker.uptime - 1.0;
        worker.uptime -= 1.0;
        worker.busy /= worker.uptime;
    }
    let mut view = View::new(earlier, true);
    view.take(later);
    view
}

fn worker(number: usize, busy: f64, mib: u64, running: &[(&str, f64)]) -> Worker {
    Worker {
        number,
        pid: 4712 + number as u32,
        state: if running.is_empty() { "idle" } else { "busy" }.to_owned(),
        generation: 3,
        uptime: 11_045.0,
        requests: 123_456,
        in_flight: running.len() as u64,
        rss: mib << 20,
        busy,
        running: running
            .iter()
            .map(|&(request, since)| Running {
                request: request.to_owned(),
                since,
            })
            .collect(),
        ..Worker::default()
    }
}
