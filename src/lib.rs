//! An application server for nginx's `uwsgi_pass`.

pub mod app;
pub mod config;
pub mod protocol;
pub mod server;

pub use app::{Application, Body, Environ, Request, Response, tower};
pub use server::{Limits, Server};
