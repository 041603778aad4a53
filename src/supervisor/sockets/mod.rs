//! The server's sockets and its pid file: made, taken over, handed to the next master.
//!
//! # Layout
//! - `prepare`: binds the sockets, writes the pid file, and takes on the user.
//! - `listening`: the sockets of one address, of which a host name has several.
//! - `activation`: sockets that systemd has made.
//! - `inherited`: what this process was given when it was started.
//! - `handover`: what one master gives to the next.
//! - `upgrade`: starts the next master.
//! - `first_process`: the first process of a container, which stays after an upgrade.
//! - `pidfile`: the master's process id, for others to find.
//! - `restore`: makes files anew that somebody has removed.
//! - `closed`: warns of unix sockets that only their owner may connect to.

pub(super) mod activation;
pub(super) mod closed;
pub(super) mod first_process;
pub(super) mod handover;
pub(super) mod inherited;
pub(super) mod listening;
pub(super) mod pidfile;
pub(super) mod prepare;
pub(super) mod restore;
pub(super) mod upgrade;
