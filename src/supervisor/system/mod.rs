//! The operating system's side: users, permissions, processes, and systemd.
//!
//! # Layout
//! - `privileges`: the user and the group that the processes run as.
//! - `sandbox`: what applications may do to the rest of the system.
//! - `credentials`: the certificate and the key of TLS, and how the processes that serve come by them.
//! - `open_files`: how many files applications may open.
//! - `process`: signals, ends and memory of processes.
//! - `systemd`: what systemd is told.

pub(super) mod credentials;
pub(super) mod open_files;
pub(super) mod privileges;
pub(super) mod process;
pub(super) mod sandbox;
pub(super) mod systemd;
