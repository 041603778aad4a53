//! An application server for nginx's `uwsgi_pass`.
//!
//! nginx hands a request over by the uwsgi protocol, on a unix or TCP socket; spile finds the application that is
//! mounted at its path, calls it and sends the response back. An application is native Rust (an `async fn`, an
//! [`Application`], or any tower service such as an axum `Router`) or Python. Python is the business of the `spile`
//! command and its wheel, which stand on this library; this is a whole program in Rust:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use spile::Server;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let app = Router::new().route("/", get(|| async { "hello\n" }));
//!     Server::new().bind("unix:/tmp/hello.sock")?.mount("/", spile::tower(app)).serve().await?;
//!     Ok(())
//! }
//! ```
//!
//! and this is nginx's side of it:
//!
//! ```text
//! location / { include uwsgi_params; uwsgi_pass unix:/tmp/hello.sock; }
//! ```
//!
//! nginx's user has to be able to write to the socket: [`Server::listen`] shows how a socket gets other permissions.
//!
//! # Reading a request
//!
//! What nginx sends is the [`Environ`] (variables as CGI has them; an axum handler takes it from the request's
//! extensions) and a [`Body`]. An application reads the body before it answers: once nginx has seen the head of a
//! response it sends no more of the request, whether it buffers requests or not.
//!
//! # Layout
//!
//! Each module uses only those above it, so they can be read in this order.
//!
//! - [`protocol`]: bytes in, packet out. No sockets, no waiting: the decoder says how many bytes it still needs, what
//!   the packet holds, or at which byte it is wrong.
//! - [`app`]: what an application is. [`Request`] and [`Response`], the traits, the router that picks a mount by the
//!   longest prefix, the adapter for tower services, the built-in applications.
//! - [`address`]: where servers listen, and networks that clients come from.
//! - [`server`]: sockets, connections, limits, stopping. [`Server`] is the way in; a [`Lane`](server::Lane) is a
//!   thread that accepts and answers, and a runtime beside the lanes waits for whoever is slow.
//! - `client`: the other end of the protocol, as nginx has it.
//!
//! The program has more, which is not part of the public API and may change in any release: `config` (what
//! `spile serve` was asked to do), `observe` (the log, and a line a request), `supervisor` (the processes of
//! `spile serve`: a master, the mold that imports Python applications, workers) and `cli` (the command line over all
//! of it).
//!
//! Python applications are served by a crate of their own, in `python/` of the source tree: to this library WSGI is one
//! more [`app::BlockingApplication`]. `docs/architecture.md` there introduces the code, and
//! `protocol-spec/` describes the protocol.
//!
//! # Features
//!
//! None is on unless asked for.
//!
//! - `files`: `app::builtin::StaticFiles`, which serves a directory.
//! - `tls`: `Listener::with_tls`, for nginx's `uwsgi_pass suwsgi://`.
//! - `upgrade`: hyper's `OnUpgrade` for services that [`tower`](app::tower()) mounts, which axum's `WebSocketUpgrade`
//!   needs. [`Request::upgrade`] needs no feature.
//! - `client`: the module of that name, which sends what nginx would.
//! - `cli`, `top` and `config` are the program's: `cargo install spile --features cli,top` makes the `spile` command,
//!   with `spile top`.
//!
//! The library logs with [`tracing`] and counts with the [`metrics`] facade: a program sees neither until it installs
//! a subscriber or a recorder.
//!
//! It runs on Linux, and needs Rust 1.85 or newer.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod address;
pub mod app;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "config")]
#[doc(hidden)]
pub mod config;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod observe;
#[cfg(any(feature = "client", feature = "config"))]
mod plain;
pub mod protocol;
pub mod server;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod supervisor;

pub use app::{Application, Body, Environ, Request, Response, tower};
pub use server::{Limits, Server};
