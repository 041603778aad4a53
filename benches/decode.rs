//! Nanoseconds that the parts of a request take: `cargo bench --bench decode`. `instructions.rs` counts the same.
//!
//! Each figure is the median of rounds, in each of which all take turns, on warm caches and with one thread. The input
//! of a batch is made before the clock runs, and what the clock itself costs is taken off.
#![allow(clippy::print_stdout)]

mod cases;

use std::time::Instant;

use cases::Case;

/// As many freed buffers of a size as malloc keeps at hand: a server has one at a time.
const BATCH: usize = 6;
const ROUNDS: usize = 20_001;

fn main() {
    let cases = cases::all();
    let mut figures: Vec<Vec<f64>> = cases.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    let mut clock = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        clock.push(nanoseconds(&mut || ()));
        for (case, figures) in cases.iter().zip(&mut figures) {
            figures.push(time(case));
        }
    }
    let clock = median(clock);
    for (case, figures) in cases.iter().zip(figures) {
        println!("{:20} {:7.1} ns", case.name, median(figures) - clock);
    }
}

/// One batch, after a first run that is not counted.
fn time(case: &Case) -> f64 {
    let mut run = case.runs(BATCH + 1);
    run();
    nanoseconds(&mut *run)
}

fn nanoseconds(run: &mut dyn FnMut()) -> f64 {
    let begun = Instant::now();
    for _ in 0..BATCH {
        run();
    }
    begun.elapsed().as_secs_f64() * 1e9 / BATCH as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
