//! Python's applications: a mold imports them once and forks the workers that serve.
//!
//! # Layout
//! - `generation`: one import of the applications, and the workers forked from it.
//! - `mold`: the Python process that imports and forks.
//! - `channel`: what master, mold and workers say to each other.
//! - `scaler`: how many workers there should be, when that depends on the load.
//! - `backoff`: how long to wait before a process is replaced.

pub(in crate::supervisor) mod backoff;
pub(in crate::supervisor) mod channel;
pub(in crate::supervisor) mod generation;
pub(in crate::supervisor) mod mold;
pub(in crate::supervisor) mod scaler;
