//! Applications of both kinds that behave, and that do not.

use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderValue, StatusCode, header};
use spile::app::{
    Answer, AnswerError, BlockingApplication, BoxError, Content, Failed, Handler, Router,
};
use spile::protocol::ResponseHead;
use spile::{Application, Body, Request, Response};

/// More than a socket's buffers hold.
pub const LARGE: usize = 400 * 1024;

/// Where they are mounted. Nothing is at the root.
pub const MOUNTS: [&str; 12] = [
    "/echo",
    "/early",
    "/fails",
    "/large",
    "/long",
    "/short",
    "/blocking/echo",
    "/blocking/fails",
    "/blocking/file",
    "/blocking/large",
    "/blocking/long",
    "/blocking/short",
];

/// All of them.
pub fn router() -> Router {
    let mut router = Router::new();
    let mut mount = |prefix, handler| router.mount(prefix, handler).expect("a free prefix");
    mount("/echo", native(echo));
    mount("/early", native(|_| async { Response::text("early") }));
    mount(
        "/fails",
        native(|_| async { Response::new().with_body(fails()) }),
    );
    mount(
        "/large",
        native(|_| async { Response::text(vec![b'l'; LARGE]) }),
    );
    mount("/long", native(|_| async { promising("3", "longer") }));
    mount("/short", native(|_| async { promising("30", "short") }));
    mount("/blocking/echo", blocking(blocking_echo));
    mount(
        "/blocking/fails",
        blocking(|_, answer| {
            answer.begin(head(None), b"begun")?;
            Err(AnswerError::OutOfOrder)
        }),
    );
    mount(
        "/blocking/file",
        blocking(|request, answer| {
            answer.begin(head(None), b"")?;
            match request.into_parts().1.into_content() {
                Content::File(range) => answer.send_file(range),
                _ => Ok(()),
            }
        }),
    );
    mount(
        "/blocking/large",
        blocking(|_, answer| {
            answer.begin(head(None), b"")?;
            (0..4).try_for_each(|_| answer.send(&[b'l'; LARGE / 4]))
        }),
    );
    mount(
        "/blocking/long",
        blocking(|_, answer| {
            answer.begin(head(Some(3)), b"lo")?;
            answer.send(b"nger")
        }),
    );
    mount(
        "/blocking/short",
        blocking(|_, answer| answer.begin(head(Some(30)), b"short")),
    );
    router
}

async fn echo(request: Request) -> Response {
    let body = request.into_parts().1.read_to_end(1 << 24).await;
    body.map_or_else(
        |_| Response::of_status(StatusCode::REQUEST_TIMEOUT),
        Response::text,
    )
}

fn promising(length: &'static str, body: &'static str) -> Response {
    let length = HeaderValue::from_static(length);
    Response::text(body).with_header(header::CONTENT_LENGTH, length)
}

/// A body that breaks off.
fn fails() -> Body {
    Body::stream(
        Chunks::of([Ok("begun".into()), Err("broken off".into())]),
        None,
    )
}

fn blocking_echo(request: Request, answer: &mut dyn Answer) -> Result<(), AnswerError> {
    let body = match request.into_parts().1.into_content() {
        Content::Bytes(bytes) => bytes.to_vec(),
        Content::File(range) => {
            let mut body = vec![0; usize::try_from(range.length).expect("it fits")];
            range.file.read_exact_at(&mut body, range.offset)?;
            body
        }
        _ => Vec::new(),
    };
    answer.begin(head(Some(body.len() as u64)), b"")?;
    body.chunks(1000).try_for_each(|chunk| answer.send(chunk))
}

fn head(length: Option<u64>) -> ResponseHead {
    let mut head = ResponseHead::new(200, b"OK").expect("a status");
    if let Some(length) = length {
        head.set_content_length(length);
    }
    head
}

/// The handler of a native application.
pub fn native(application: impl Application) -> Handler {
    Handler::Async(Arc::new(application))
}

/// The handler of a function that blocks. It fails if that does.
pub fn blocking<F>(function: F) -> Handler
where
    F: Fn(Request, &mut dyn Answer) -> Result<(), AnswerError> + Send + Sync + 'static,
{
    Handler::Blocking(Arc::new(Function(function)))
}

struct Function<F>(F);

impl<F> BlockingApplication for Function<F>
where
    F: Fn(Request, &mut dyn Answer) -> Result<(), AnswerError> + Send + Sync + 'static,
{
    fn call(&self, request: Request, mut answer: Box<dyn Answer>) {
        let outcome = self.0(request, &mut *answer);
        answer.finish(outcome.map_err(|_| Failed));
    }
}

/// A stream of chunks, each of which is there only when it was asked for a second time.
pub struct Chunks {
    chunks: std::vec::IntoIter<Result<Bytes, BoxError>>,
    asked: bool,
}

impl Chunks {
    /// These, in their order.
    pub fn of(chunks: impl IntoIterator<Item = Result<Bytes, BoxError>>) -> Self {
        Self {
            chunks: chunks.into_iter().collect::<Vec<_>>().into_iter(),
            asked: false,
        }
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.asked = !self.asked;
        if self.asked {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.chunks.next())
    }
}

/// A file that holds these bytes.
pub fn file(bytes: &[u8]) -> std::fs::File {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(bytes, 0).expect("room");
    file
}
