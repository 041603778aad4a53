//! Applications that answer 101 and go on in a protocol of their own.

use std::{future::Future, io, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use spile::{
    Request, Response, Server,
    app::{Upgraded, builtin},
    protocol::Encoder,
    server::ServeError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    sync::{mpsc, oneshot},
};

use crate::support::{
    Client, End, FAMILIES, Family, LARGE, Site, get, headers, limits, not_now, observer,
    panic_quietly, post, soon, status, until,
};

/// A request for an upgrade to a protocol.
fn asking(protocol: &str) -> Encoder {
    asked_of(get("/"), protocol)
}

fn asked_of(request: Encoder, protocol: &str) -> Encoder {
    request
        .var("SERVER_PROTOCOL", "HTTP/1.1")
        .var("HTTP_CONNECTION", "Upgrade")
        .var("HTTP_UPGRADE", protocol)
}

/// Takes over connections that are asked to speak `test`.
fn server<F, Fut>(tunnel: F) -> Server
where
    F: Fn(Upgraded) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Server::new().mount("/", move |request: Request| {
        let tunnel = tunnel.clone();
        async move {
            match request.upgrade("test") {
                Some(upgrade) => upgrade.accept(tunnel),
                None => Response::of_status(StatusCode::UPGRADE_REQUIRED),
            }
        }
    })
}

async fn echo(upgraded: Upgraded) {
    let (mut from, mut to) = split(upgraded);
    let _ = copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

async fn switched(site: &Site, family: Family) -> Client {
    let mut client = site.send(family, asking("test")).await;
    let head = client.head().await;
    assert_eq!(status(&head), "101 Switching Protocols", "{family:?}");
    client
}

#[tokio::test]
async fn both_sides_send_after_101() {
    let site = Site::start(server(echo));
    for family in FAMILIES {
        let mut client = site.send(family, asking("other, TEST")).await;
        assert_eq!(
            client.head().await,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n"
        );
        for message in ["first", "second"] {
            client.send(message).await;
            assert_eq!(client.take(message.len()).await, message.as_bytes());
        }
        client.end_sending().await;
        assert_eq!(client.rest().await, (Vec::new(), End::Clean), "{family:?}");
    }
}

#[tokio::test]
async fn much_passes_both_ways_at_once() {
    let site = Site::start(server(echo));
    for family in FAMILIES {
        let mut client = switched(&site, family).await;
        let reply = client.both_ways(&LARGE).await;
        assert!(reply == *LARGE, "{family:?}");
    }
}

#[tokio::test]
async fn a_response_says_more_than_the_protocol() {
    let site = Site::start(Server::new().mount("/", async |request: Request| {
        let accepted = request.upgrade("test").unwrap().accept(echo);
        [
            ("x-more", "yes"),
            ("connection", "close"),
            ("content-length", "5"),
        ]
        .into_iter()
        .fold(accepted.with_body("not sent"), |response, (name, value)| {
            let name = HeaderName::from_static(name);
            response.with_header(name, HeaderValue::from_static(value))
        })
    }));
    let mut client = site.send(Family::Unix, asking("test")).await;
    let head = client.head().await;
    assert_eq!(headers(&head, "x-more"), ["yes"]);
    assert_eq!(headers(&head, "connection"), ["upgrade"]);
    assert_eq!(headers(&head, "content-length"), [""; 0]);
    client.send("x").await;
    assert_eq!(client.take(1).await, b"x");
}

#[tokio::test]
async fn what_came_behind_the_request_comes_first() {
    let site = Site::start(server(echo));
    for family in FAMILIES {
        let request = asking("test").var("CONTENT_LENGTH", "0");
        let mut client = site.connect(family).await;
        let packet = [&request.finish().unwrap()[..], b"early"].concat();
        client.send(packet).await;
        client.head().await;
        client.send(" and late").await;
        assert_eq!(client.take(14).await, b"early and late", "{family:?}");
        client.end_sending().await;
        assert_eq!(client.rest().await, (Vec::new(), End::Clean), "{family:?}");
    }
}

#[tokio::test]
async fn the_application_may_end_its_side_first() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let site = Site::start(server(move |mut upgraded| {
        let tell = tell.clone();
        async move {
            upgraded.write_all(b"all").await.unwrap();
            upgraded.shutdown().await.unwrap();
            let mut rest = Vec::new();
            upgraded.read_to_end(&mut rest).await.unwrap();
            tell.send(rest).unwrap();
        }
    }));
    for family in FAMILIES {
        let mut client = switched(&site, family).await;
        assert_eq!(client.rest().await, (b"all".to_vec(), End::Clean));
        client.send("more").await;
        client.end_sending().await;
        assert_eq!(soon(told.recv()).await.unwrap(), b"more", "{family:?}");
    }
}

/// What an application writes last arrives, though the client's last bytes were not read.
#[tokio::test]
async fn dropping_the_connection_ends_it_cleanly() {
    let site = Site::start(server(async |mut upgraded: Upgraded| {
        upgraded.write_all(b"bye").await.unwrap();
        // Whatever it came with is left unread.
        upgraded.read_exact(&mut [0]).await.unwrap();
    }));
    for family in FAMILIES {
        let mut client = switched(&site, family).await;
        client.send("unread").await;
        assert_eq!(client.rest().await, (b"bye".to_vec(), End::Clean));
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_the_end() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let site = Site::start(server(move |mut upgraded| {
        let tell = tell.clone();
        async move { tell.send(upgraded.read(&mut [0]).await.unwrap()).unwrap() }
    }));
    for family in FAMILIES {
        drop(switched(&site, family).await);
        assert_eq!(soon(told.recv()).await, Some(0), "{family:?}");
    }
}

#[tokio::test]
async fn a_panic_ends_only_its_connection() {
    let site = Site::start(
        server(async |mut upgraded: Upgraded| {
            upgraded.read_exact(&mut [0]).await.unwrap();
            panic_quietly()
        })
        .mount("/hello", builtin::hello),
    );
    for (family, end) in [(Family::Tcp, End::Reset), (Family::Unix, End::Clean)] {
        let mut client = switched(&site, family).await;
        client.send("!").await;
        assert_eq!(client.rest().await, (Vec::new(), end), "{family:?}");
        assert_eq!(site.get("/hello").await.text(), "hello, world\n");
    }
    site.stop().ended().await.unwrap();
}

#[tokio::test]
async fn only_a_client_that_asks_gets_101() {
    let site = Site::start(server(echo).mount("/always", async |_: Request| {
        Response::of_status(StatusCode::SWITCHING_PROTOCOLS)
    }));
    for request in [get("/"), asking("other")] {
        assert_eq!(site.ask(request).await.status(), "426 Upgrade Required");
    }
    for request in [get("/always"), asked_of(get("/always"), "test")] {
        let reply = site.ask(request).await;
        assert_eq!(reply.status(), "500 Internal Server Error");
    }
}

#[tokio::test]
async fn a_body_has_to_be_read_before() {
    let site = Site::start(server(echo));
    for family in FAMILIES {
        let mut client = site.send(family, asked_of(post("/", 5), "test")).await;
        assert_eq!(status(&client.head().await), "500 Internal Server Error");
        let mut client = site.connect(family).await;
        let request = asked_of(post("/", 5), "test").finish().unwrap();
        client.send([&request[..], b"12345"].concat()).await;
        assert_eq!(status(&client.head().await), "101 Switching Protocols");
    }
}

#[tokio::test]
async fn the_request_is_answered_when_the_connection_is_not() {
    let (observer, mut told) = observer();
    let site = Site::start(
        server(echo)
            .observe(observer)
            .limits(limits(|it| {
                it.in_flight = 1;
                it.request_timeout = Some(Duration::from_millis(10));
            }))
            .mount("/hello", builtin::hello),
    );
    let mut client = switched(&site, Family::Unix).await;
    let answered = soon(told.recv()).await.unwrap();
    assert_eq!((answered.status, answered.complete), (101, true));
    let mut waiting = site.send(Family::Unix, get("/hello")).await;
    not_now(waiting.head()).await;
    client.send("no time-out").await;
    assert_eq!(client.take(11).await, b"no time-out");
    drop(client);
    assert_eq!(waiting.answer().await.text(), "hello, world\n");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let site = Site::start(
        server(move |mut upgraded| {
            let tell = tell.clone();
            async move { tell.send(upgraded.write_all(&LARGE).await).unwrap() }
        })
        .limits(limits(|it| it.write_timeout = Duration::from_millis(50))),
    );
    for family in FAMILIES {
        let _client = switched(&site, family).await;
        let error = soon(told.recv()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }
}

#[tokio::test]
async fn an_application_is_told_that_the_server_stops() {
    let site = Site::start(server(async |mut upgraded: Upgraded| {
        let stopping = upgraded.stopping();
        tokio::select! {
            read = upgraded.read_u8() => panic!("{read:?}"),
            () = stopping => upgraded.write_all(b"going away").await.unwrap(),
        }
    }));
    let mut clients = Vec::new();
    for family in FAMILIES {
        clients.push(switched(&site, family).await);
    }
    let stopping = site.stop();
    for mut client in clients {
        assert_eq!(client.rest().await, (b"going away".to_vec(), End::Clean));
    }
    stopping.ended().await.unwrap();
}

#[tokio::test]
async fn what_is_open_when_a_stop_is_over_is_closed() {
    let (take_elsewhere, mut taken) = mpsc::unbounded_channel();
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let site = Site::start(
        server(move |upgraded| {
            let (take_elsewhere, dropped) = (take_elsewhere.clone(), dropped.clone());
            async move {
                let (until_dropped, is_dropped) = oneshot::channel::<()>();
                tokio::spawn(async move {
                    let _ = is_dropped.await;
                    dropped.send(()).unwrap();
                });
                take_elsewhere.send(upgraded).unwrap();
                std::future::pending::<()>().await;
                drop(until_dropped);
            }
        })
        .limits(limits(|it| it.graceful_timeout = Duration::from_millis(50))),
    );
    let mut clients = Vec::new();
    let mut ours = Vec::new();
    for family in FAMILIES {
        clients.push(switched(&site, family).await);
        ours.push(soon(taken.recv()).await.unwrap());
    }
    let ended = site.stop().ended().await;
    assert!(matches!(ended, Err(ServeError::CutOff)), "{ended:?}");
    for (mut client, mut upgraded) in clients.into_iter().zip(ours) {
        assert_eq!(client.rest().await, (Vec::new(), End::Clean));
        assert_eq!(upgraded.read(&mut [0]).await.unwrap(), 0);
        assert!(upgraded.write_all(b"x").await.is_err());
        soon(drops.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_future_that_goes_on_holds_no_connection() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let site = Site::start(server(move |upgraded| {
        let tell = tell.clone();
        async move {
            drop(upgraded);
            let (on, goes_on) = oneshot::channel::<()>();
            tell.send(on).unwrap();
            let _ = goes_on.await;
        }
    }));
    let mut client = switched(&site, Family::Unix).await;
    assert_eq!(client.rest().await, (Vec::new(), End::Clean));
    let on = soon(told.recv()).await.unwrap();
    assert!(!on.is_closed());
    let stopping = site.stop();
    stopping.ended().await.unwrap();
    until(|| on.is_closed()).await;
}

#[cfg(feature = "upgrade")]
mod services {
    //! Those of tower, with hyper's upgrades.

    use axum::{
        Router,
        body::Body,
        extract::Request,
        response::IntoResponse,
        routing::{any, get as on_get},
    };
    use hyper::upgrade::OnUpgrade;
    use hyper_util::rt::TokioIo;
    use tokio::task::yield_now;

    use super::*;

    /// A response of 101 for a protocol.
    fn switching(protocol: &'static str) -> axum::response::Response {
        axum::http::Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", protocol)
            .header("x-more", "yes")
            .body(Body::empty())
            .unwrap()
    }

    fn mounted(router: Router) -> Site {
        Site::start(Server::new().mount("/", spile::tower(router)))
    }

    #[tokio::test]
    async fn a_service_gets_the_connection() {
        let site = mounted(Router::new().route(
            "/",
            any(async |mut request: Request| {
                assert_eq!(request.headers()["connection"], "upgrade");
                assert_eq!(request.headers()["upgrade"], "test");
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let (mut from, mut to) = split(TokioIo::new(upgrade.await.unwrap()));
                    copy(&mut from, &mut to).await.unwrap();
                    to.shutdown().await.unwrap();
                });
                switching("test")
            }),
        ));
        for family in FAMILIES {
            let mut client = site.send(family, asking("test")).await;
            assert_eq!(
                client.head().await,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\
                 x-more: yes\r\n\r\n"
            );
            assert!(client.both_ways(&LARGE).await == *LARGE, "{family:?}");
            client.end_sending().await;
            assert_eq!(client.rest().await, (Vec::new(), End::Clean), "{family:?}");
        }
    }

    /// hyper's upgrade is there before the client's connection is: two tasks may wait for that.
    #[tokio::test]
    async fn tasks_that_read_and_write_are_both_woken() {
        let site = mounted(Router::new().route(
            "/",
            any(async |mut request: Request| {
                let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                let (mut from, mut to) = split(TokioIo::new(upgraded));
                let (pass, mut passed) = mpsc::unbounded_channel();
                tokio::spawn(async move { pass.send(from.read_u8().await.unwrap()).unwrap() });
                tokio::spawn(async move {
                    to.write_all(b"hello ").await.unwrap();
                    to.write_u8(passed.recv().await.unwrap()).await.unwrap();
                });
                for _ in 0..10 {
                    yield_now().await;
                }
                switching("test")
            }),
        ));
        let mut client = switched(&site, Family::Unix).await;
        assert_eq!(client.take(6).await, b"hello ");
        client.send("x").await;
        assert_eq!(client.rest().await, (b"x".to_vec(), End::Clean));
    }

    #[tokio::test]
    async fn a_service_that_answers_otherwise_gets_no_connection() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let site = mounted(Router::new().route(
            "/",
            any(async move |mut request: Request| {
                let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                let tell = tell.clone();
                tokio::spawn(async move {
                    let read = TokioIo::new(upgraded).read_u8().await;
                    tell.send(read.unwrap_err()).unwrap();
                });
                (StatusCode::FORBIDDEN, "no").into_response()
            }),
        ));
        let reply = site.ask(asking("test")).await;
        assert_eq!((reply.status(), reply.text()), ("403 Forbidden", "no"));
        let error = soon(told.recv()).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}");
    }

    #[tokio::test]
    async fn a_service_that_drops_the_upgrade_ends_the_connection() {
        let site = mounted(Router::new().route("/", any(async || switching("test"))));
        let mut client = switched(&site, Family::Tcp).await;
        assert_eq!(client.rest().await, (Vec::new(), End::Clean));
    }

    #[tokio::test]
    async fn a_101_that_the_client_has_not_asked_for_is_a_500() {
        let is_offered = async |request: Request| {
            let offered = request.extensions().get::<OnUpgrade>().is_some();
            offered.to_string()
        };
        let site = mounted(
            Router::new()
                .route("/", any(async || switching("test")))
                .route("/offered", on_get(is_offered)),
        );
        for request in [get("/"), asking("other")] {
            let reply = site.ask(request).await;
            assert_eq!(reply.status(), "500 Internal Server Error");
        }
        assert_eq!(site.get("/offered").await.text(), "false");
        let asking = asked_of(get("/offered"), "other");
        assert_eq!(site.ask(asking).await.text(), "true");
    }
}
