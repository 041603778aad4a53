//! The Rust side of a worker, between its fork and its end.
//!
//! # Layout
//! - `runtime`: serves, and waits for signals and for the master's end.
//! - `reporter`: tells the master what each lane runs.
//! - `signals`: the signals that ask a worker to leave.

mod reporter;
pub(super) mod runtime;
pub(super) mod signals;
