//! An axum router below a prefix.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, Request},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{AppendHeaders, IntoResponse},
    routing::{get as on_get, post as on_post},
};
use bytes::Bytes;
use spile::{Environ, Server};
use tokio::sync::{Barrier, mpsc};
use tokio_stream::StreamExt;
use tower_service::Service;

use crate::support::{
    End, FAMILIES, Family, LARGE, Reply, Site, get, headers, panic_quietly, post, request, soon,
    until,
};

fn mounted(router: Router) -> Site {
    Site::start(Server::new().mount("/rust", spile::tower(router)).lanes(1))
}

#[tokio::test]
async fn a_router_sees_the_path_below_its_mount() {
    async fn thing(
        Path(id): Path<u32>,
        uri: Uri,
        Extension(environ): Extension<Environ>,
        headers: HeaderMap,
    ) -> Json<Vec<String>> {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        Json(vec![
            id.to_string(),
            uri.to_string(),
            environ.text("SCRIPT_NAME").unwrap().to_owned(),
            environ.text("REMOTE_ADDR").unwrap().to_owned(),
            text("host"),
            text("x-trace"),
        ])
    }
    let site = mounted(Router::new().route("/things/{id}", on_get(thing)));
    let asked = get("/rust/things/7")
        .var("QUERY_STRING", "size=%20big")
        .var("REMOTE_ADDR", "192.0.2.1")
        .var("HTTP_HOST", "example.org")
        .var("HTTP_X_TRACE", "a")
        .var("HTTP_X_TRACE", "b");
    let reply = site.ask(asked).await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(
        serde_json::from_slice::<Vec<String>>(&reply.body).unwrap(),
        [
            "7",
            "/things/7?size=%20big",
            "/rust",
            "192.0.2.1",
            "example.org",
            "a, b"
        ]
    );
    assert_eq!(site.get("/rust/nothing").await.status(), "404 Not Found");
}

#[tokio::test]
async fn the_mount_itself_is_the_routers_root() {
    let site = mounted(Router::new().route("/", on_get(async || "root")));
    for path in ["/rust", "/rust/"] {
        assert_eq!(site.get(path).await.text(), "root", "{path}");
    }
}

/// The request's body, sent back as it comes.
async fn echo(request: Request) -> axum::body::Body {
    axum::body::Body::from_stream(request.into_body().into_data_stream())
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let site = mounted(Router::new().route("/", on_post(echo)));
    for family in FAMILIES {
        let mut client = site.send(family, post("/rust", 9)).await;
        assert_eq!(headers(&client.head().await, "content-length"), [""; 0]);
        for part in ["one", "two", "end"] {
            client.send(part).await;
            assert_eq!(client.take(3).await, part.as_bytes());
        }
        assert_eq!(client.rest().await, (Vec::new(), End::Clean), "{family:?}");
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let whole = async |body: Bytes| body;
    let site = mounted(
        Router::new()
            .route("/streamed", on_post(echo))
            .route("/whole", on_post(whole))
            .layer(DefaultBodyLimit::disable()),
    );
    for family in FAMILIES {
        for path in ["/rust/streamed", "/rust/whole"] {
            let mut client = site.send(family, post(path, LARGE.len())).await;
            let reply = client.exchange(&LARGE).await;
            assert!(reply.body == *LARGE, "{path} {family:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_sends_is_an_error_of_the_body() {
    let (seen, mut errors) = mpsc::unbounded_channel();
    let site = mounted(Router::new().route(
        "/",
        on_post(async move |request: Request| {
            let mut body = request.into_body().into_data_stream();
            let mut last = None;
            while let Some(part) = body.next().await {
                last = Some(part.map_err(drop));
            }
            seen.send(last).unwrap();
        }),
    ));
    for family in FAMILIES {
        let mut client = site.send(family, post("/rust", 9)).await;
        client.send("part").await;
        drop(client);
        assert_eq!(soon(errors.recv()).await, Some(Some(Err(()))), "{family:?}");
    }
}

#[tokio::test]
async fn an_early_answer_arrives_whole_before_a_large_upload() {
    let refusal = async || (StatusCode::PAYLOAD_TOO_LARGE, "no".repeat(100_000));
    let site = mounted(Router::new().route("/", on_post(refusal)));
    for family in FAMILIES {
        let mut client = site.send(family, post("/rust", LARGE.len())).await;
        let reply: Reply = client.exchange(&LARGE).await;
        assert_eq!(reply.status(), "413 Payload Too Large");
        assert_eq!(reply.body.len(), 200_000, "{family:?}");
    }
}

#[tokio::test]
async fn responses_without_a_body_have_none() {
    let site = mounted(
        Router::new()
            .route("/text", on_get(async || "0123456789"))
            .route("/none", on_get(async || StatusCode::NO_CONTENT)),
    );
    let head = site.ask(request("HEAD", "/rust/text")).await;
    assert_eq!((head.header("content-length"), head.text()), ("10", ""));
    let none = site.get("/rust/none").await;
    assert_eq!((none.status(), none.text()), ("204 No Content", ""));
    assert!(none.headers("content-length").is_empty());
}

#[tokio::test]
async fn cookies_stay_apart_and_in_order() {
    let cookies =
        async || AppendHeaders([(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "b=2")]);
    let site = mounted(Router::new().route("/", on_get(cookies)));
    assert_eq!(
        site.get("/rust").await.headers("set-cookie"),
        ["a=1", "b=2"]
    );
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_lives() {
    let at_once = async || -> () { panic_quietly() };
    let later = async || -> () {
        tokio::task::yield_now().await;
        panic_quietly()
    };
    let site = mounted(
        Router::new()
            .route("/at-once", on_get(at_once))
            .route("/later", on_get(later))
            .route("/lives", on_get(async || "lives")),
    );
    for path in ["/rust/at-once", "/rust/later"] {
        assert_eq!(site.get(path).await.status(), "500 Internal Server Error");
        assert_eq!(site.get("/rust/lives").await.text(), "lives");
    }
}

#[tokio::test]
async fn handlers_that_wait_run_at_the_same_time() {
    let both = Arc::new(Barrier::new(2));
    let wait = async move || {
        both.wait().await;
        "met"
    };
    let site = mounted(Router::new().route("/", on_get(wait)));
    let mut first = site.send(Family::Unix, get("/rust")).await;
    let mut second = site.send(Family::Tcp, get("/rust")).await;
    assert_eq!(first.answer().await.text(), "met");
    assert_eq!(second.answer().await.text(), "met");
}

/// A service that is not ready until the test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    open: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    fn is_waited_for(&self) -> bool {
        !self.0.lock().unwrap().waiting.is_empty()
    }

    fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.open = true;
        state.waiting.drain(..).for_each(Waker::wake);
    }
}

impl<B> Service<http::Request<B>> for Gate {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let mut state = self.0.lock().unwrap();
        if state.open {
            return Poll::Ready(Ok(()));
        }
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        let open = self.0.lock().unwrap().open;
        ready(Ok(if open { "opened" } else { "forced" }.into_response()))
    }
}

#[tokio::test]
async fn a_service_is_called_when_it_is_ready() {
    let gate = Gate::default();
    let site = Site::start(Server::new().mount("/", spile::tower(gate.clone())));
    let mut client = site.send(Family::Unix, get("/")).await;
    until(|| gate.is_waited_for()).await;
    gate.open();
    assert_eq!(client.answer().await.text(), "opened");
}

/// A service that fails, before it is called or when it is.
#[derive(Clone)]
struct Failing {
    ready: bool,
}

impl<B> Service<http::Request<B>> for Failing {
    type Response = axum::response::Response;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(if self.ready {
            Ok(())
        } else {
            Err(io::Error::other("a secret"))
        })
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        ready(Err(io::Error::other("a secret")))
    }
}

#[tokio::test]
async fn a_services_error_is_a_500_that_does_not_tell_it() {
    for ready in [false, true] {
        let site = Site::start(Server::new().mount("/", spile::tower(Failing { ready })));
        let reply = site.get("/").await;
        assert_eq!(reply.status(), "500 Internal Server Error");
        assert!(!reply.text().contains("secret"));
    }
}
