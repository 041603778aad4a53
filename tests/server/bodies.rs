//! What a response's body promises, and what a client sees when it is not kept.
//!
//! nginx takes a clean end without a Content-Length for the end of the body, and caches it: a body that fails has
//! to end with a reset.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, header};
use spile::{
    Body, Request, Response, Server,
    app::{Answer, BoxError, Failed, FileRange},
    protocol::ResponseHead,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use crate::support::{
    Blocking, End, FAMILIES, Family, LARGE, Site, get, headers, not_now, observer, panic_quietly,
    post, request, soon, status,
};

type Chunk = Result<Bytes, io::Error>;

/// A channel's other end as an application: what is put in is the next response's body.
fn from_channel(length: Option<u64>) -> (mpsc::Sender<Body>, impl spile::Application) {
    let (give, bodies) = mpsc::channel(1);
    let bodies = Arc::new(tokio::sync::Mutex::new(bodies));
    let application = move |_: Request| {
        let bodies = bodies.clone();
        async move {
            let body: Body = bodies.lock().await.recv().await.unwrap();
            let response = Response::new().with_body(body);
            match length {
                Some(length) => response.with_header(header::CONTENT_LENGTH, length.into()),
                None => response,
            }
        }
    };
    (give, application)
}

/// A body whose chunks come out of a channel.
fn chunks() -> (mpsc::Sender<Chunk>, Body) {
    let (give, chunks) = mpsc::channel::<Chunk>(1);
    (give, Body::stream(ReceiverStream::new(chunks), None))
}

fn failure() -> Chunk {
    Err(io::Error::other("the database went away"))
}

#[tokio::test]
async fn a_chunk_is_sent_before_the_next_is_made() {
    let (give_body, application) = from_channel(None);
    let site = Site::start(Server::new().mount("/", application));
    for family in FAMILIES {
        let mut client = site.send(family, get("/")).await;
        let (give, body) = chunks();
        give_body.send(body).await.unwrap();
        assert_eq!(headers(&client.head().await, "content-length"), [""; 0]);
        for chunk in ["one", "two", "three"] {
            give.send(Ok(chunk.into())).await.unwrap();
            assert_eq!(client.take(chunk.len()).await, chunk.as_bytes());
        }
        drop(give);
        assert_eq!(client.rest().await, (Vec::new(), End::Clean));
    }
}

#[tokio::test]
async fn a_body_that_fails_ends_with_a_reset() {
    for length in [None, Some(1000)] {
        let (give_body, application) = from_channel(length);
        let site = Site::start(Server::new().mount("/", application));
        for family in FAMILIES {
            let mut client = site.send(family, get("/")).await;
            let (give, body) = chunks();
            give_body.send(body).await.unwrap();
            give.send(Ok("begun".into())).await.unwrap();
            assert_eq!(status(&client.head().await), "200 OK");
            assert_eq!(client.take(5).await, b"begun");
            give.send(failure()).await.unwrap();
            assert_eq!(client.rest().await, (Vec::new(), End::Reset), "{family:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_after_an_upload_ends_with_a_reset() {
    let site = Site::start(Server::new().mount("/", |mut request: Request| async move {
        let mut length = 0;
        while let Some(Ok(chunk)) = request.body_mut().chunk().await {
            length += chunk.len();
        }
        let counted = Ok(Bytes::from(length.to_string()));
        Response::new().with_body(Body::stream(tokio_stream::iter([counted, failure()]), None))
    }));
    for family in FAMILIES {
        for length in [1, LARGE.len()] {
            let mut client = site.send(family, post("/", length)).await;
            client.send(&LARGE[..length]).await;
            // A reset may overtake what was sent before it on TCP.
            let (said, end) = client.rest().await;
            assert_eq!(end, End::Reset, "{family:?} after {length} bytes");
            if matches!(family, Family::Unix) {
                assert!(said.ends_with(length.to_string().as_bytes()));
            }
        }
    }
}

/// nginx may send the body on as it comes. What a client has sent so far was read, so it is no reset by itself.
#[tokio::test]
async fn a_body_that_fails_during_an_upload_ends_with_a_reset() {
    let (give_body, bodies) = mpsc::channel(1);
    let bodies = Arc::new(tokio::sync::Mutex::new(bodies));
    let site = Site::start(Server::new().mount("/", move |mut request: Request| {
        let bodies = bodies.clone();
        async move {
            let mut length = 0;
            while length < 500 {
                length += request.body_mut().chunk().await.unwrap().unwrap().len();
            }
            let body: Body = bodies.lock().await.recv().await.unwrap();
            Response::new().with_body(body)
        }
    }));
    for family in FAMILIES {
        for first in [0, 1, 499] {
            let mut client = site.connect(family).await;
            let mut begun = post("/", 1000).finish().unwrap();
            begun.extend([7; 500].get(..first).unwrap());
            client.send(begun).await;
            client.send(&[7; 500][first..]).await;
            let (give, body) = chunks();
            give_body.send(body).await.unwrap();
            client.head().await;
            give.send(failure()).await.unwrap();
            if matches!(family, Family::Unix) {
                // Nothing is unread there: no end at all, rather than one that looks clean.
                not_now(client.rest()).await;
                client.send("more").await;
            }
            let (_, end) = client.rest().await;
            assert_eq!(end, End::Reset, "{family:?} after {first} bytes");
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_at_once_is_a_500() {
    let site = Site::start(
        Server::new()
            .mount("/fails", |_: Request| async {
                Response::new().with_body(Body::stream(tokio_stream::iter([failure()]), None))
            })
            .mount("/panics", |_: Request| async {
                let body = tokio_stream::iter([()]).map(|()| -> Chunk { panic_quietly() });
                Response::new().with_body(Body::stream(body, None))
            }),
    );
    for family in FAMILIES {
        for path in ["/fails", "/panics"] {
            let answer = site.send(family, get(path)).await.answer().await;
            assert_eq!(answer.status(), "500 Internal Server Error", "{family:?}");
        }
    }
}

/// Streams need not bear that, and `futures::stream::unfold` does not.
#[tokio::test]
async fn a_body_is_not_asked_again_after_its_end() {
    fn once(chunks: &'static [&'static str]) -> impl spile::Application {
        move |_: Request| async move {
            let mut chunks = chunks.iter();
            let mut ended = false;
            let body = std::iter::from_fn(move || {
                if ended {
                    panic_quietly();
                }
                let chunk = chunks.next().map(|chunk| Chunk::Ok(Bytes::from(*chunk)));
                ended = chunk.is_none();
                Some(chunk)
            });
            Response::new().with_body(Body::stream(Unfused(body), None))
        }
    }
    let site = Site::start(
        Server::new()
            .mount("/empty", once(&[]))
            .mount("/one", once(&["one"]))
            .mount("/two", once(&["one, ", "two"])),
    );
    for family in FAMILIES {
        for (path, body) in [("/empty", ""), ("/one", "one"), ("/two", "one, two")] {
            let answer = site.send(family, get(path)).await.answer().await;
            assert_eq!(answer.text(), body, "{family:?}");
        }
    }
}

/// A stream of what an iterator says it gives: `None` within is the end.
struct Unfused<I>(I);

impl<I: Iterator<Item = Option<Chunk>> + Unpin> tokio_stream::Stream for Unfused<I> {
    type Item = Chunk;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Chunk>> {
        std::task::Poll::Ready(self.0.next().flatten())
    }
}

#[tokio::test]
async fn a_body_that_panics_when_it_is_dropped_was_sent_all_the_same() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_quietly();
        }
    }
    fn with_bomb(count: usize) -> impl spile::Application {
        move |_: Request| async move {
            let bomb = Bomb;
            let body = tokio_stream::iter(vec!["x"; count]).map(move |chunk| {
                let _ = &bomb;
                Chunk::Ok(chunk.into())
            });
            Response::new().with_body(Body::stream(body, None))
        }
    }
    let site = Site::start(
        Server::new()
            .mount("/0", with_bomb(0))
            .mount("/2", with_bomb(2)),
    );
    for family in FAMILIES {
        for (path, body) in [("/0", ""), ("/2", "xx")] {
            let answer = site.send(family, get(path)).await.answer().await;
            assert_eq!(answer.text(), body, "{family:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_panics_ends_with_a_reset_and_the_server_lives() {
    let panics = |_: Request| async {
        let body = tokio_stream::iter([0, 1]).map(|number| match number {
            0 => Ok::<_, io::Error>(Bytes::from("begun")),
            _ => panic_quietly(),
        });
        Response::new().with_body(Body::stream(body, None))
    };
    let site = Site::start(
        Server::new()
            .mount("/panics", panics)
            .mount("/lives", |_: Request| async { "lives" })
            .lanes(1),
    );
    for family in FAMILIES {
        let mut client = site.send(family, get("/panics")).await;
        let (_, end) = client.rest().await;
        assert_eq!(end, End::Reset, "{family:?}");
        assert_eq!(site.get("/lives").await.text(), "lives");
    }
}

/// Answers with bodies to which `Content-Length: 5` is added.
fn said_to_have_five_bytes(make: fn() -> Body) -> Site {
    Site::start(Server::new().mount("/", move |_: Request| async move {
        Response::new()
            .with_body(make())
            .with_header(header::CONTENT_LENGTH, HeaderValue::from_static("5"))
    }))
}

#[tokio::test]
async fn a_body_shorter_than_its_length_ends_with_a_reset() {
    let stream = || Body::stream(tokio_stream::iter([Chunk::Ok("1234".into())]), None);
    let kinds: [fn() -> Body; 4] = [
        Body::empty,
        || Body::from("1234"),
        || Body::file(file("1234", 0, 4)),
        stream,
    ];
    for make in kinds {
        let site = said_to_have_five_bytes(make);
        for family in FAMILIES {
            let mut client = site.send(family, get("/")).await;
            let (_, end) = client.rest().await;
            assert_eq!(end, End::Reset, "{family:?} {:?}", make());
        }
    }
}

#[tokio::test]
async fn a_body_longer_than_its_length_is_clipped() {
    let stream = || {
        let endless = tokio_stream::iter(std::iter::repeat_with(|| Chunk::Ok("1234".into())));
        Body::stream(endless, None)
    };
    let kinds: [fn() -> Body; 3] = [
        || Body::from("123412341234"),
        || Body::file(file("xx123412341234", 2, 12)),
        stream,
    ];
    for make in kinds {
        let site = said_to_have_five_bytes(make);
        for family in FAMILIES {
            let mut client = site.send(family, get("/")).await;
            assert_eq!(
                client.answer().await.text(),
                "12341",
                "{family:?} {:?}",
                make()
            );
        }
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_sent_exactly() {
    let whole: Arc<File> = {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&LARGE).unwrap();
        Arc::new(file)
    };
    let length = LARGE.len() as u64;
    let site =
        Site::start(Server::new().mount("/", move |_: Request| {
            let file = whole.clone();
            async move {
                Response::new().with_body(Body::file(FileRange::new(file, 1001, length - 2002)))
            }
        }));
    for family in FAMILIES {
        let reply = site.send(family, get("/")).await.answer().await;
        assert_eq!(reply.header("content-length"), (length - 2002).to_string());
        assert!(reply.body == LARGE[1001..LARGE.len() - 1001], "{family:?}");
    }
    let head = site.ask(request("HEAD", "/")).await;
    assert_eq!(head.header("content-length"), (length - 2002).to_string());
    assert_eq!(head.text(), "");
}

/// The log and the counters tell what was sent.
#[tokio::test]
async fn of_a_file_only_what_was_sent_is_counted() {
    fn large() -> FileRange {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        FileRange::new(file, 0, 1 << 40)
    }
    let (observer, mut told) = observer();
    let site = Site::start(
        Server::new()
            .mount("/native", |_: Request| async {
                Response::new().with_body(Body::file(large()))
            })
            .mount_blocking(
                "/blocking",
                Blocking(|_: Request, mut answer: Box<dyn Answer>| {
                    let head = ResponseHead::new(200, b"OK").unwrap();
                    answer.begin(head, b"").unwrap();
                    let sent = answer.send_file(large()).map_err(|_| Failed);
                    answer.finish(sent);
                }),
            )
            .observe(observer),
    );
    for path in ["/native", "/blocking"] {
        let mut client = site.send(Family::Unix, get(path)).await;
        client.head().await;
        client.take(100_000).await;
        drop(client);
        let told = soon(told.recv()).await.unwrap();
        assert!(!told.complete, "{path}");
        assert!(told.body_bytes < 1 << 30, "{path}: {}", told.body_bytes);
    }
}

/// With no runtime of its own, or with one that ends before the answer is sent.
#[tokio::test]
async fn a_request_body_may_be_read_elsewhere() {
    let (tell, mut waits) = mpsc::unbounded_channel();
    let site = Site::start(Server::new().mount("/", move |mut request: Request| {
        let tell = tell.clone();
        async move {
            let other = tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let mut length = 0;
                    tell.send(()).unwrap();
                    while let Some(chunk) = request.body_mut().chunk().await {
                        length += chunk.unwrap().len();
                    }
                    length
                })
            });
            let length = other.await.unwrap();
            Response::new().with_body(Bytes::from_static(&LARGE).slice(..length))
        }
    }));
    for family in FAMILIES {
        let mut client = site.send(family, post("/", LARGE.len())).await;
        soon(waits.recv()).await.unwrap();
        client.send(&LARGE[..]).await;
        assert!(client.answer().await.body == *LARGE, "{family:?}");
    }
}

#[tokio::test]
async fn a_file_that_becomes_shorter_ends_with_a_reset() {
    let site = Site::start(Server::new().mount("/", |_: Request| async {
        Response::new().with_body(Body::file(file("1234", 0, 9)))
    }));
    for family in FAMILIES {
        let mut client = site.send(family, get("/")).await;
        let (_, end) = client.rest().await;
        assert_eq!(end, End::Reset, "{family:?}");
    }
}

#[tokio::test]
async fn a_client_may_end_its_own_side_and_wait() {
    let (give_body, application) = from_channel(None);
    let site = Site::start(Server::new().mount("/", application));
    for family in FAMILIES {
        let mut client = site.send(family, get("/")).await;
        client.end_sending().await;
        let (give, body) = chunks();
        give_body.send(body).await.unwrap();
        client.head().await;
        for chunk in ["one", "two"] {
            give.send(Ok(chunk.into())).await.unwrap();
            assert_eq!(client.take(3).await, chunk.as_bytes());
        }
        drop(give);
        assert_eq!(client.rest().await, (Vec::new(), End::Clean), "{family:?}");
    }
}

/// A body that tells when it is dropped.
struct Watched<S> {
    stream: S,
    _dropped: oneshot::Sender<()>,
}

impl<S: tokio_stream::Stream + Unpin> tokio_stream::Stream for Watched<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        std::pin::Pin::new(&mut self.stream).poll_next(context)
    }
}

#[tokio::test]
async fn a_body_is_dropped_when_its_client_leaves() {
    let (give_body, application) = from_channel(None);
    let site = Site::start(Server::new().mount("/", application));
    for family in FAMILIES {
        let mut client = site.send(family, get("/")).await;
        let (_dropped, dropped) = oneshot::channel();
        let stream = tokio_stream::iter(std::iter::repeat_with(|| {
            Ok::<_, BoxError>(Bytes::from_static(&[7; 10_000]))
        }));
        let body = Body::stream(Watched { stream, _dropped }, None);
        give_body.send(body).await.unwrap();
        client.head().await;
        client.take(100_000).await;
        drop(client);
        soon(dropped).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_body_that_waits_is_dropped_when_its_client_leaves() {
    let (give_body, application) = from_channel(None);
    let site = Site::start(Server::new().mount("/", application));
    let mut client = site.send(Family::Unix, get("/")).await;
    let (_dropped, dropped) = oneshot::channel();
    let stream = tokio_stream::pending::<Chunk>();
    let body = Body::stream(Watched { stream, _dropped }, None);
    give_body.send(body).await.unwrap();
    client.head().await;
    drop(client);
    soon(dropped).await.unwrap_err();
}

fn file(text: &str, offset: u64, length: u64) -> FileRange {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    FileRange::new(file, offset, length)
}
