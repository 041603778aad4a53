//! An application server for nginx's `uwsgi_pass`.

pub mod app;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod client;
pub mod config;
#[cfg(feature = "cli")]
pub mod observe;
pub mod protocol;
pub mod server;
#[cfg(feature = "cli")]
pub mod supervisor;

pub use app::{Application, Body, Environ, Request, Response, tower};
pub use server::{Limits, Server};
