//! The library as a Rust program uses it: a [`spile::Server`] on real sockets, and a client that sees every byte.
//!
//! # Layout
//! - `applications`: functions, mounts, and responses on the wire.
//! - `bodies`: what a response's body promises, and what a client sees when it is not kept.
//! - `tower`: an axum router below a prefix.
//! - `blocking`: applications that block, and clients that are slow to take their responses.
//! - `files`: `static://`.
//! - `limits`: clients that send nonsense, too much, too little, or take nothing.
//! - `stopping`: several sockets, and how a server ends.
//! - `counters`: what is counted.
//! - `timeouts`: applications that take longer than they may.
//! - `upgrades`: applications that answer 101 and go on in a protocol of their own.
//! - `support`: the server and the client that these share.

// The lints of tests go for what lies between the tests too.
#![cfg(test)]

mod applications;
mod blocking;
mod bodies;
#[cfg(feature = "cli")]
mod counters;
#[cfg(feature = "files")]
mod files;
mod limits;
mod stopping;
mod support;
mod timeouts;
mod tower;
mod upgrades;
