//! `hello://`, the smallest application there is.

use std::future::{Ready, ready};

use crate::app::{Request, Response};

/// Answers every request with 13 bytes: to see that a socket works, and what the server itself costs.
pub fn hello(_: Request) -> Ready<Response> {
    ready(Response::text("hello, world\n"))
}
