//! Model checks of spile's hand-written synchronisation.
//!
//! The sources are included as they are, with loom's atomics in place of the standard library's. Each test runs once
//! for every order of its threads' steps.
#![cfg(test)]

#[path = "../../../src/server/claim.rs"]
mod claim;
#[path = "../../../src/server/lane/leader.rs"]
mod leader;
#[path = "../../../src/supervisor/stats/scoreboard/seqlock.rs"]
mod seqlock;

mod claims;
mod lanes;
mod sequences;
