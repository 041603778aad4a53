//! What the server counts, and where operators ask for it.
//!
//! # Layout
//! - [`scoreboard`]: what each worker does and has done, in memory that all processes share.
//! - `totals`: the sums over all workers, and the document of `spile stats`.
//! - `listen_queue`: how many connections wait to be accepted.
//! - `endpoints`: the sockets that operators' programs connect to.
//! - `control`: the control socket of `spile stats`, `reload` and `top`.
//! - `exporter`: answers Prometheus.

pub(super) mod control;
pub(super) mod endpoints;
pub(super) mod exporter;
pub(super) mod listen_queue;
pub mod scoreboard;
pub(super) mod totals;
