//! Functions as applications, where they are mounted, and their responses on the wire.

use std::io;

use http::{HeaderName, HeaderValue, StatusCode, header};
use spile::{
    Request, Response, Server,
    app::{MountError, builtin},
    server::{Answered, Observer, ServeError},
};

use crate::support::{Family, Site, Told, get, observer, panic_quietly, post, request, soon};

#[tokio::test]
async fn functions_are_applications() {
    async fn named(request: Request) -> String {
        format!("hello, {}", request.environ().text("REMOTE_USER").unwrap())
    }
    async fn failing(_: Request) -> Result<&'static str, io::Error> {
        Err(io::Error::other("a secret of this machine"))
    }
    let greeting = "hello, closure";
    let site = Site::start(
        Server::new()
            .mount("/named", named)
            .mount("/failing", failing)
            .mount("/closure", move |_: Request| async move { greeting })
            .mount("/status", |_: Request| async { StatusCode::IM_A_TEAPOT })
            .mount("/hello", builtin::hello),
    );

    let named = site.ask(get("/named").var("REMOTE_USER", "ada")).await;
    assert_eq!((named.status(), named.text()), ("200 OK", "hello, ada"));
    assert_eq!(site.get("/closure").await.text(), "hello, closure");
    assert_eq!(site.get("/status").await.status(), "418 I'm a teapot");
    assert_eq!(site.get("/hello").await.text(), "hello, world\n");
    let failed = site.get("/failing").await;
    assert_eq!(failed.status(), "500 Internal Server Error");
    assert!(!failed.text().contains("secret"));
}

#[tokio::test]
async fn the_longest_mount_answers_and_sees_the_path_below_it() {
    fn telling(name: &'static str) -> impl spile::Application {
        move |request: Request| async move {
            let text = |name| request.environ().get(name).unwrap_or_default().to_vec();
            let said = [text("SCRIPT_NAME"), b"|".to_vec(), text("PATH_INFO")].concat();
            format!("{name}: {}", String::from_utf8(said).unwrap())
        }
    }
    let site = Site::start(
        Server::new()
            .mount("/shop", telling("shop"))
            .mount("/shop/basket/", telling("basket"))
            .mount("/tools/", telling("tools")),
    );
    for (path, said) in [
        ("/shop", "shop: /shop|"),
        ("/shop/", "shop: /shop|/"),
        ("/shop/baskets", "shop: /shop|/baskets"),
        ("/shop/basket", "basket: /shop/basket|"),
        ("/shop/basket/1", "basket: /shop/basket|/1"),
        ("/tools/saw", "tools: /tools|/saw"),
    ] {
        assert_eq!(site.get(path).await.text(), said, "{path}");
    }
    for path in ["/", "", "/shopping", "/toolbox"] {
        assert_eq!(site.get(path).await.status(), "404 Not Found", "{path}");
    }
    let nested = get("/shop/x").var("SCRIPT_NAME", "/outer");
    assert_eq!(site.ask(nested).await.text(), "shop: /outer/shop|/x");
}

#[tokio::test]
async fn a_mount_that_cannot_be_is_an_error_before_anything_is_served() {
    let bound = |directory: &tempfile::TempDir| {
        let socket = directory.path().join("x.sock");
        Server::new().bind(socket.to_str().unwrap()).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let relative = bound(&directory).mount("shop", builtin::hello);
    let error = relative.serve_until(async {}).await.unwrap_err();
    assert!(
        matches!(error, ServeError::Mount(MountError::Relative { prefix }) if prefix == "shop")
    );
    let error = Server::new().try_mount("shop", builtin::hello).unwrap_err();
    assert!(matches!(error, MountError::Relative { .. }));
    let twice = bound(&directory)
        .mount("/shop", builtin::hello)
        .mount("/shop/", builtin::hello);
    let error = twice.serve_until(async {}).await.unwrap_err();
    assert!(matches!(error, ServeError::Mount(MountError::Taken { prefix }) if prefix == "/shop/"));
    let nowhere = Server::new().mount("/", builtin::hello);
    let error = nowhere.serve_until(async {}).await.unwrap_err();
    assert!(matches!(error, ServeError::NoSocket));
}

#[tokio::test]
async fn a_response_is_written_as_it_was_built() {
    let site = Site::start(Server::new().mount("/", |_: Request| async {
        Response::html("<p>gone")
            .with_status(StatusCode::GONE)
            .with_reason("Sold out")
            .with_header(header::SET_COOKIE, HeaderValue::from_static("a=1"))
            .with_header(
                HeaderName::from_static("x-shop"),
                HeaderValue::from_static("wood"),
            )
            .with_header(header::SET_COOKIE, HeaderValue::from_static("b=2"))
    }));
    let reply = site.get("/").await;
    assert_eq!(
        reply.head,
        "HTTP/1.1 410 Sold out\r\n\
         content-type: text/html; charset=utf-8\r\n\
         set-cookie: a=1\r\n\
         x-shop: wood\r\n\
         set-cookie: b=2\r\n\
         Content-Length: 7\r\n\r\n"
    );
    assert_eq!(reply.text(), "<p>gone");
}

#[tokio::test]
async fn headers_of_the_connection_are_the_servers() {
    let site = Site::start(Server::new().mount("/", |_: Request| async {
        let mut response = Response::text("whole");
        for name in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::TE,
            header::TRAILER,
            HeaderName::from_static("keep-alive"),
        ] {
            response = response.with_header(name, HeaderValue::from_static("chunked"));
        }
        response.with_header(header::VARY, HeaderValue::from_static("Accept"))
    }));
    let reply = site.get("/").await;
    assert_eq!(
        reply.head,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nvary: Accept\r\n\
         Content-Length: 5\r\n\r\n"
    );
    assert_eq!(reply.text(), "whole");
}

#[tokio::test]
async fn a_head_that_would_split_the_response_is_a_500() {
    let site = Site::start(
        Server::new()
            .mount("/reason", |_: Request| async {
                Response::text("x").with_reason("OK\r\nSet-Cookie: a=1")
            })
            .mount("/lengths", |_: Request| async {
                Response::text("x")
                    .with_header(header::CONTENT_LENGTH, HeaderValue::from_static("1"))
                    .with_header(header::CONTENT_LENGTH, HeaderValue::from_static("2"))
            })
            .mount("/equal", |_: Request| async {
                Response::text("x")
                    .with_header(header::CONTENT_LENGTH, HeaderValue::from_static("1"))
                    .with_header(header::CONTENT_LENGTH, HeaderValue::from_static("1"))
            }),
    );
    for path in ["/reason", "/lengths"] {
        let reply = site.get(path).await;
        assert_eq!(reply.status(), "500 Internal Server Error", "{path}");
        assert!(reply.headers("set-cookie").is_empty());
    }
    let reply = site.get("/equal").await;
    assert_eq!(reply.headers("content-length"), ["1"]);
    assert_eq!(reply.text(), "x");
}

#[tokio::test]
async fn responses_without_a_body_have_none() {
    let site = Site::start(
        Server::new()
            .mount("/text", |_: Request| async { "0123456789" })
            .mount("/none", |_: Request| async {
                Response::text("ignored").with_status(StatusCode::NO_CONTENT)
            })
            .mount("/unchanged", |_: Request| async {
                Response::text("ignored").with_status(StatusCode::NOT_MODIFIED)
            }),
    );
    let head = site.ask(request("HEAD", "/text")).await;
    assert_eq!((head.header("content-length"), head.text()), ("10", ""));
    for (path, status) in [
        ("/none", "204 No Content"),
        ("/unchanged", "304 Not Modified"),
    ] {
        let reply = site.get(path).await;
        assert_eq!((reply.status(), reply.text()), (status, ""));
        assert!(reply.headers("content-length").is_empty());
    }
}

#[tokio::test]
async fn echo_shows_what_arrived() {
    let site = Site::start(Server::new().mount("/debug", builtin::echo));
    let asked = post("/debug/x", 3)
        .var("HTTP_X_ONE", "1")
        .var("HTTP_X_ONE", "2");
    let mut client = site.send(Family::Unix, asked).await;
    let reply = client.exchange(b"abc").await;
    for line in [
        "SCRIPT_NAME: /debug",
        "PATH_INFO: /x",
        "HTTP_X_ONE: 1, 2",
        "3 bytes of body",
    ] {
        assert!(
            reply.text().lines().any(|it| it == line),
            "{line} in {}",
            reply.text()
        );
    }
    assert!(reply.text().ends_with("\nabc"));
}

#[tokio::test]
async fn an_observer_is_told_of_each_request() {
    let (observer, mut told) = observer();
    let site = Site::start(
        Server::new()
            .mount("/shop", |_: Request| async { "sold" })
            .mount("/short", |_: Request| async {
                Response::new()
                    .with_body("1234")
                    .with_header(header::CONTENT_LENGTH, HeaderValue::from_static("9"))
            })
            .observe(observer),
    );
    for (asked, path, status, body_bytes, complete) in [
        ("/shop/saw", "/saw", 200, 4, true),
        ("/nowhere", "/nowhere", 404, 14, true),
        ("/short/of", "/of", 200, 4, false),
    ] {
        site.send(Family::Unix, get(asked)).await.rest().await;
        let expected = Told {
            path: path.to_owned(),
            status,
            body_bytes,
            complete,
        };
        assert_eq!(told.try_recv(), Ok(expected));
    }
}

#[tokio::test]
async fn an_observer_that_panics_harms_no_answer() {
    struct Panics;
    impl Observer for Panics {
        fn answered(&self, _: &Answered<'_>) {
            panic_quietly();
        }
    }
    let site = Site::start(
        Server::new()
            .mount("/", |_: Request| async { "whole" })
            .observe(Panics),
    );
    for _ in 0..2 {
        assert_eq!(site.get("/").await.text(), "whole");
    }
}

/// Sends when it is dropped.
struct Dropped(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Over TCP nobody can tell that from a client that has sent all it had to, until it resets.
#[tokio::test]
async fn an_application_is_dropped_when_its_client_leaves() {
    let (gone, mut dropped) = tokio::sync::mpsc::unbounded_channel();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (observer, mut told) = observer();
    let site = Site::start(
        Server::new()
            .mount("/", move |_: Request| {
                let (dropped, begun) = (Dropped(gone.clone()), begun.clone());
                async move {
                    begun.send(()).unwrap();
                    std::future::pending::<()>().await;
                    drop(dropped);
                    "never"
                }
            })
            .observe(observer),
    );
    for length in [0, 9] {
        let client = site.send(Family::Unix, post("/", length)).await;
        soon(begins.recv()).await.unwrap();
        drop(client);
        soon(dropped.recv()).await.unwrap();
        let told = soon(told.recv()).await.unwrap();
        assert_eq!((told.status, told.complete), (499, false));
    }
}
