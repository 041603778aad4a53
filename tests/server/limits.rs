//! Clients that send nonsense, too much, too little, or take nothing.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use spile::{
    Body, Limits, Request, Response, Server,
    app::{Answer, builtin},
    protocol::{Encoder, ResponseHead},
    server::AllowFrom,
};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{
    Blocking, End, FAMILIES, Family, LARGE, Reply, Site, get, limits, not_now, observer, post, soon,
};

/// A time-out that a test can wait for.
const SHORT: Duration = Duration::from_millis(500);

fn hello(limits: Limits) -> Site {
    Site::start(
        Server::new()
            .mount("/", builtin::hello)
            .limits(limits)
            .lanes(1),
    )
}

/// What the server says to these bytes; it goes on to serve.
async fn said_to(site: &Site, family: Family, bytes: &[u8]) -> Reply {
    let mut client = site.connect(family).await;
    client.send(bytes).await;
    let reply = client.answer().await;
    assert_eq!(site.get("/").await.text(), "hello, world\n");
    reply
}

#[tokio::test]
async fn what_is_no_request_is_told_why() {
    let site = hello(Limits::default());
    let cut_short = b"\0\x03\0\0\x05\0A";
    let modifier = Encoder::new().modifier1(5).modifier2(1).finish().unwrap();
    let length = get("/").var("CONTENT_LENGTH", "-1").finish().unwrap();
    for (bytes, status, said) in [
        (
            &cut_short[..],
            "400 Bad Request",
            "at byte 4 a variable's name of 5 bytes begins, but only 1 are left",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "400 Bad Request",
            "use uwsgi_pass, not proxy_pass",
        ),
        (
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            "400 Bad Request",
            "TLS was sent to a uwsgi socket",
        ),
        (
            &modifier,
            "501 Not Implemented",
            "modifier1 5 and modifier2 1",
        ),
        (&length, "400 Bad Request", "CONTENT_LENGTH \"-1\""),
    ] {
        for family in FAMILIES {
            let reply = said_to(&site, family, bytes).await;
            assert_eq!(reply.status(), status);
            reply.says(said);
            let (number, _) = status.split_once(' ').unwrap();
            assert!(reply.text().starts_with(number), "{}", reply.text());
            assert!(reply.header("content-type").starts_with("text/plain"));
        }
    }
}

#[tokio::test]
async fn a_large_upload_to_nobody_does_not_hide_the_answer() {
    let site = hello(Limits::default());
    let packet = get("/").var("CONTENT_LENGTH", "much").finish().unwrap();
    for family in FAMILIES {
        let mut client = site.connect(family).await;
        client.send(&packet).await;
        assert_eq!(
            client.exchange(&LARGE).await.status(),
            "400 Bad Request",
            "{family:?}"
        );
    }
}

#[tokio::test]
async fn variables_beyond_the_limit_are_a_431() {
    let site = hello(limits(|it| it.vars_size = 100));
    let name_and_lengths = 2 + 3 + 2;
    let around = get("/").finish().unwrap().len() - 4 + name_and_lengths;
    let filled = |size: usize| get("/").var("BIG", vec![b'x'; size - around]);
    assert_eq!(site.ask(filled(100)).await.status(), "200 OK");
    for family in FAMILIES {
        // Known from the header alone, and none of it is kept.
        let packet = filled(60_000).finish().unwrap();
        let reply = said_to(&site, family, &packet).await;
        assert_eq!(reply.status(), "431 Request Header Fields Too Large");
        reply.says("60000 bytes, and at most 100");
    }
    assert_eq!(
        site.ask(filled(101)).await.status(),
        "431 Request Header Fields Too Large"
    );
}

#[tokio::test]
async fn more_variables_than_the_limit_are_a_431() {
    let site = hello(limits(|it| it.vars = 5));
    let with = |count: usize| (2..count).fold(get("/"), |packet, _| packet.var("HTTP_X", "1"));
    assert_eq!(site.ask(with(5)).await.status(), "200 OK");
    for family in FAMILIES {
        let reply = said_to(&site, family, &with(6).finish().unwrap()).await;
        assert_eq!(reply.status(), "431 Request Header Fields Too Large");
        reply.says("a variable more than the 5");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_a_413_for_nobody() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let application = move |_: Request| {
        called.send(()).unwrap();
        async { "called" }
    };
    let site = Site::start(
        Server::new()
            .mount("/", application)
            .limits(limits(|it| it.body_size = Some(9))),
    );
    for family in FAMILIES {
        let mut client = site.send(family, post("/", LARGE.len())).await;
        let reply = client.exchange(&LARGE).await;
        assert_eq!(reply.status(), "413 Payload Too Large");
        reply.says("larger than the 9 that are accepted");
    }
    calls.try_recv().unwrap_err();
    let mut client = site.send(Family::Unix, post("/", 9)).await;
    assert_eq!(client.exchange(b"012345678").await.text(), "called");
}

#[tokio::test]
async fn a_ping_is_answered_and_is_no_request() {
    let (observer, mut told) = observer();
    let site = Site::start(Server::new().mount("/", builtin::hello).observe(observer));
    for family in FAMILIES {
        let mut client = site.connect(family).await;
        client.send(b"\x64\0\0\0").await;
        let pong = (b"\x64\0\0\x01".to_vec(), End::Clean);
        assert_eq!(client.rest().await, pong, "{family:?}");
    }
    told.try_recv().unwrap_err();
}

#[tokio::test]
async fn only_who_is_allowed_connects_over_tcp() {
    let allowed = AllowFrom::new(["10.0.0.0/8".parse().unwrap()]);
    let site = hello(limits(|it| it.allow_from = allowed.clone()));
    let (said, _) = site.connect(Family::Tcp).await.rest().await;
    assert_eq!(said, b"");
    assert_eq!(site.get("/").await.status(), "200 OK");
    allowed.replace(["127.0.0.0/8".parse().unwrap()]);
    let mut client = site.send(Family::Tcp, get("/")).await;
    assert_eq!(client.answer().await.status(), "200 OK");
}

#[tokio::test]
async fn no_more_connections_are_held_than_may_be() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let leave = Arc::new(Semaphore::new(0));
    let may_leave = leave.clone();
    let application = move |request: Request| {
        let (entered, may_leave) = (entered.clone(), may_leave.clone());
        async move {
            let path = String::from_utf8(request.path().to_vec()).unwrap();
            entered.send(path.clone()).unwrap();
            may_leave.acquire().await.unwrap().forget();
            path
        }
    };
    let site = Site::start(
        Server::new()
            .mount("/", application)
            .limits(limits(|it| it.in_flight = 2))
            .lanes(1),
    );
    let mut first = site.send(Family::Unix, get("/1")).await;
    assert_eq!(soon(entries.recv()).await.unwrap(), "/1");
    let mut second = site.send(Family::Tcp, get("/2")).await;
    assert_eq!(soon(entries.recv()).await.unwrap(), "/2");
    let mut third = site.send(Family::Unix, get("/3")).await;
    not_now(entries.recv()).await;
    leave.add_permits(1);
    assert_eq!(soon(entries.recv()).await.unwrap(), "/3");
    leave.add_permits(2);
    for (client, path) in [(&mut first, "/1"), (&mut second, "/2"), (&mut third, "/3")] {
        assert_eq!(client.answer().await.text(), path);
    }
}

#[tokio::test]
async fn a_silent_connection_that_leaves_makes_room() {
    let site = hello(limits(|it| it.in_flight = 2));
    let silent = site.connect(Family::Unix).await;
    let _silent = site.connect(Family::Unix).await;
    let mut third = site.send(Family::Unix, get("/")).await;
    not_now(third.head()).await;
    drop(silent);
    assert_eq!(third.answer().await.text(), "hello, world\n");
}

#[tokio::test]
async fn silent_and_slow_connections_hold_nobody_up() {
    let site = hello(Limits::default());
    let packet = get("/").finish().unwrap();
    let (start, end) = packet.split_at(packet.len() / 2);
    let mut slow = Vec::new();
    for number in 0..100 {
        let mut client = site.connect(FAMILIES[number % 2]).await;
        if number % 3 == 0 {
            client.send(start).await;
        }
        slow.push(client);
    }
    assert_eq!(site.get("/").await.text(), "hello, world\n");
    for (number, mut client) in slow.into_iter().enumerate() {
        client
            .send(if number % 3 == 0 { end } else { &packet[..] })
            .await;
        assert_eq!(client.answer().await.text(), "hello, world\n");
    }
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let site = Site::start(Server::new().mount("/", |request: Request| async move {
        let (_, body) = request.into_parts();
        Response::new().with_body(body.read_to_end(100).await.unwrap())
    }));
    for family in FAMILIES {
        let mut client = site.connect(family).await;
        let bytes = [post("/", 4).finish().unwrap(), b"body".to_vec()].concat();
        for byte in bytes {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.answer().await.text(), "body");
    }
}

#[tokio::test]
async fn half_a_head_is_a_408_and_silence_is_nothing() {
    let site = hello(limits(|it| it.read_timeout = SHORT));
    for family in FAMILIES {
        let mut silent = site.connect(family).await;
        let mut partial = site.connect(family).await;
        partial.send(&get("/").finish().unwrap()[..9]).await;
        assert_eq!(silent.rest().await, (Vec::new(), End::Clean), "{family:?}");
        let reply = partial.answer().await;
        assert_eq!(reply.status(), "408 Request Timeout");
        reply.says("9 bytes had come");
    }
    assert_eq!(site.get("/").await.text(), "hello, world\n");
}

#[tokio::test]
async fn half_a_body_is_a_408_for_an_application_that_blocks() {
    let never = |_: Request, _: Box<dyn Answer>| panic!("called without its body");
    let site = Site::start(
        Server::new()
            .mount_blocking("/", Blocking(never))
            .limits(limits(|it| it.read_timeout = SHORT)),
    );
    for family in FAMILIES {
        let mut client = site.connect(family).await;
        client.send(half_of_nine_bytes()).await;
        let reply = client.answer().await;
        assert_eq!(reply.status(), "408 Request Timeout");
        reply.says("after 4 of 9 bytes");
    }
}

#[tokio::test]
async fn half_a_body_is_an_error_for_one_that_reads_it() {
    const SAID: &str = "half, the client sent nothing of its body for 500ms";
    let site = Site::start(
        Server::new()
            .mount("/", |mut request: Request| async move {
                let mut said = Vec::new();
                while let Some(chunk) = request.body_mut().chunk().await {
                    said.push(match chunk {
                        Ok(chunk) => String::from_utf8(chunk.to_vec()).unwrap(),
                        Err(error) => error.to_string(),
                    });
                }
                said.join(", ")
            })
            .limits(limits(|it| it.read_timeout = SHORT)),
    );
    for family in FAMILIES {
        let mut client = site.connect(family).await;
        client.send(half_of_nine_bytes()).await;
        let said = client.answer().await;
        assert_eq!(said.text(), SAID, "{family:?}");
    }
}

#[tokio::test]
async fn half_a_body_that_the_application_cannot_do_without_is_no_fault_of_its() {
    let site = Site::start(
        Server::new()
            .mount("/", |request: Request| async move {
                let (_, body) = request.into_parts();
                body.read_to_end(100).await.map(|_| "all of it")
            })
            .limits(limits(|it| it.read_timeout = SHORT)),
    );
    for family in FAMILIES {
        let mut client = site.connect(family).await;
        client.send(half_of_nine_bytes()).await;
        assert_eq!(client.answer().await.status(), "408 Request Timeout");
        let mut client = site.connect(family).await;
        client.send(half_of_nine_bytes()).await;
        client.end_sending().await;
        assert_eq!(client.answer().await.status(), "400 Bad Request");
    }
}

/// In one piece: nothing has to come in time.
fn half_of_nine_bytes() -> Vec<u8> {
    [post("/", 9).finish().unwrap(), b"half".to_vec()].concat()
}

#[tokio::test]
async fn a_client_that_ends_within_its_head_is_told() {
    let site = hello(Limits::default());
    for family in FAMILIES {
        let mut client = site.connect(family).await;
        client.send(&get("/").finish().unwrap()[..9]).await;
        client.end_sending().await;
        let reply = client.answer().await;
        assert_eq!(reply.status(), "400 Bad Request");
        reply.says("closed after 9 bytes");
    }
}

#[tokio::test]
async fn a_probe_is_no_request() {
    let (observer, mut told) = observer();
    let site = Site::start(Server::new().mount("/", builtin::hello).observe(observer));
    for family in FAMILIES {
        drop(site.connect(family).await);
        let mut probe = site.connect(family).await;
        probe.end_sending().await;
        assert_eq!(probe.rest().await, (Vec::new(), End::Clean), "{family:?}");
    }
    assert_eq!(site.get("/").await.text(), "hello, world\n");
    assert_eq!(told.recv().await.unwrap().status, 200);
    told.try_recv().unwrap_err();
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_left() {
    let stream = |_: Request| async {
        let endless =
            std::iter::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[7; 10_000])));
        Response::new().with_body(Body::stream(tokio_stream::iter(endless), None))
    };
    let blocking = |_: Request, mut answer: Box<dyn Answer>| {
        let head = ResponseHead::new(200, b"OK").unwrap();
        let sent = answer.begin(head, &LARGE);
        answer.finish(sent.map_err(|_| spile::app::Failed));
    };
    let (observer, mut told) = observer();
    let site = Site::start(
        Server::new()
            .mount("/stream", stream)
            .mount_blocking("/blocking", Blocking(blocking))
            .observe(observer)
            .limits(limits(|it| it.write_timeout = SHORT)),
    );
    for family in FAMILIES {
        for path in ["/stream", "/blocking"] {
            let mut client = site.send(family, get(path)).await;
            let told = soon(told.recv()).await.unwrap();
            assert!(!told.complete, "{path} {family:?}");
            let (_, end) = client.rest().await;
            assert_eq!(end, End::Reset, "{path} {family:?}");
        }
    }
}
