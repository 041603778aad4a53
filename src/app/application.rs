//! The trait native applications implement.

use std::future::Future;

use super::{BoxFuture, Request, Response};

/// Answers requests asynchronously.
///
/// Functions are applications:
///
/// ```
/// use spile::{Request, Response, Server};
///
/// async fn hello(request: Request) -> Response {
///     let name = request.environ().text("REMOTE_USER").unwrap_or("stranger");
///     Response::text(format!("hello, {name}\n"))
/// }
///
/// let server = Server::new().mount("/", hello);
/// ```
///
/// The server polls the future once on the thread that accepted the connection and moves it to the runtime
/// only if it has to wait, so a quick answer costs no hand-over. A panic is answered with a 500.
///
/// When the client leaves before it is answered the future is dropped: at once on a unix socket, over TCP when the
/// connection was reset. What has to go on all the same belongs into a task of its own.
///
/// Read the body before you answer: once nginx has seen the head of a response it sends no more of the request.
pub trait Application: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: Request) -> BoxFuture<Response>;
}

impl<F, Fut, R> Application for F
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: Into<Response>,
{
    fn call(&self, request: Request) -> BoxFuture<Response> {
        let answer = self(request);
        Box::pin(async move { answer.await.into() })
    }
}
