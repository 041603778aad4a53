//! Nanoseconds that the parts of a request take: `cargo bench --bench decode`. `instructions.rs` counts the same.
//!
//! Each figure is the median of rounds, in each of which all take turns, on warm caches. The input of a batch is made
//! before the clock runs.
#![allow(clippy::print_stdout)]

mod cases;

use std::time::Instant;

/// Few enough that the inputs of a batch stay in the first-level cache.
const BATCH: usize = 24;
const ROUNDS: usize = 5_001;

fn main() {
    let cases = cases::all();
    let mut figures: Vec<Vec<f64>> = cases.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    for _ in 0..ROUNDS {
        for (case, figures) in cases.iter().zip(&mut figures) {
            let mut run = case.runs(BATCH + 1);
            run();
            let begun = Instant::now();
            for _ in 0..BATCH {
                run();
            }
            figures.push(begun.elapsed().as_secs_f64() * 1e9 / BATCH as f64);
        }
    }
    for (case, mut figures) in cases.iter().zip(figures) {
        figures.sort_by(f64::total_cmp);
        let median = figures.get(ROUNDS / 2).copied().unwrap_or_default();
        println!("{:20} {median:7.1} ns", case.name);
    }
}
