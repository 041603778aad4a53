//! The `metrics` facade over a worker's part of the scoreboard.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
    SharedString, Unit,
};

use super::{
    layout::{BUCKETS, cell},
    writer::Writer,
};
use crate::server::{REFUSAL_REASONS, STATUS_CLASSES, names};

/// Counts what the server counts in one slot of the scoreboard; whatever else is counted goes nowhere.
///
/// It has to be installed (`metrics::set_global_recorder`) before the server is made.
#[derive(Clone, Debug)]
pub struct Recorder(Writer);

impl Recorder {
    /// Counts in the slot of this writer.
    #[must_use]
    pub fn new(writer: Writer) -> Self {
        Self(writer)
    }

    fn cell(&self, index: usize) -> Arc<Cell> {
        Arc::new(Cell {
            writer: self.0.clone(),
            index,
        })
    }

    fn counter_cell(&self, key: &Key) -> Option<usize> {
        let label = |name| {
            let mut labels = key.labels().filter(|label| label.key() == name);
            labels.next().map_or("", metrics::Label::value)
        };
        Some(match key.name() {
            names::REQUEST_BYTES => cell::REQUEST_BYTES,
            names::RESPONSE_BYTES => cell::RESPONSE_BYTES,
            names::REFUSED => cell::REFUSED + position(&REFUSAL_REASONS, label("reason"))?,
            names::REQUESTS => {
                let layout = &self.0.shared.layout;
                let requests = layout.requests(layout.mount(label("mount"))?);
                requests.start + position(&STATUS_CLASSES, label("status"))?
            }
            _ => return None,
        })
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.counter_cell(key)
            .map_or_else(Counter::noop, |index| Counter::from_arc(self.cell(index)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match key.name() {
            names::IN_FLIGHT => Gauge::from_arc(self.cell(cell::IN_FLIGHT)),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match key.name() {
            names::DURATION => Histogram::from_arc(Arc::new(Durations(self.0.clone()))),
            _ => Histogram::noop(),
        }
    }
}

fn position(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|other| *other == name)
}

/// One word of a slot.
struct Cell {
    writer: Writer,
    index: usize,
}

impl Cell {
    fn with(&self, change: impl FnOnce(&AtomicU64)) {
        if let Some(word) = self.writer.words().get(self.index) {
            change(word);
        }
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.with(|word| {
            word.fetch_add(value, Ordering::Relaxed);
        });
    }

    fn absolute(&self, value: u64) {
        self.with(|word| {
            word.fetch_max(value, Ordering::Relaxed);
        });
    }
}

/// A gauge of whole things.
impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.with(|word| {
            word.fetch_add(value as u64, Ordering::Relaxed);
        });
    }

    fn decrement(&self, value: f64) {
        self.with(|word| {
            word.fetch_sub(value as u64, Ordering::Relaxed);
        });
    }

    fn set(&self, value: f64) {
        self.with(|word| word.store(value as u64, Ordering::Relaxed));
    }
}

/// The histogram of a slot; durations are seconds.
struct Durations(Writer);

impl HistogramFn for Durations {
    fn record(&self, value: f64) {
        let words = self.0.words();
        let bucket = cell::LATENCY + BUCKETS.partition_point(|end| *end < value);
        if let (Some(bucket), Some(sum)) = (words.get(bucket), words.get(cell::LATENCY_SUM)) {
            bucket.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add((value * 1e9) as u64, Ordering::Relaxed);
        }
    }
}
