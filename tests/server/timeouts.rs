//! Applications that take longer than they may.

use std::{
    sync::{Arc, Mutex, mpsc as std_mpsc},
    time::Duration,
};

use spile::{
    Limits, Request, Server,
    app::{Answer, AnswerError, builtin},
    protocol::ResponseHead,
};
use tokio::sync::mpsc;

use crate::support::{
    Blocking, End, FAMILIES, Family, Site, Told, get, limits, observer, request, soon, status,
};

/// Short, and far longer than what is in time takes.
const LIMIT: Duration = Duration::from_millis(200);

fn timed() -> Limits {
    limits(|it| it.request_timeout = Some(LIMIT))
}

fn head(length: u64) -> ResponseHead {
    let mut head = ResponseHead::new(200, b"OK").unwrap();
    head.set_content_length(length);
    head
}

/// An application that waits until the test lets go, with what it then finds.
struct Stuck {
    release: std_mpsc::Sender<()>,
    found: mpsc::UnboundedReceiver<Found>,
}

struct Found {
    open: bool,
    begun: Result<(), AnswerError>,
}

/// Hangs before its head, or with `part` after half of its body.
fn stuck(part: bool) -> (Stuck, impl Fn(Request, Box<dyn Answer>) + Send + Sync) {
    let (release, released) = std_mpsc::channel();
    let released = Mutex::new(released);
    let (tell, found) = mpsc::unbounded_channel();
    let application = move |_: Request, mut answer: Box<dyn Answer>| {
        if part {
            answer.begin(head(10), b"12345").unwrap();
        }
        // An error means that the test has failed.
        let _ = released.lock().unwrap().recv();
        let open = answer.is_open();
        let begun = if part {
            answer.send(b"67890")
        } else {
            answer.begin(head(5), b"hello")
        };
        let _ = tell.send(Found { open, begun });
        answer.finish(Ok(()));
    };
    (Stuck { release, found }, application)
}

/// A server of one lane, where the application's time is limited.
fn one_lane(application: impl Fn(Request, Box<dyn Answer>) + Send + Sync + 'static) -> Server {
    Server::new()
        .mount_blocking("/", Blocking(application))
        .limits(timed())
        .lanes(1)
}

#[tokio::test]
async fn a_thread_that_hangs_is_given_up_and_the_others_serve() {
    let (mut hung, application) = stuck(false);
    let (observer, mut told) = observer();
    let site = Site::start(
        Server::new()
            .mount_blocking("/", Blocking(application))
            .mount("/hello", builtin::hello)
            .limits(timed())
            .observe(observer)
            .lanes(2),
    );
    let reply = site.get("/stuck").await;
    assert_eq!(reply.status(), "504 Gateway Timeout");
    assert_eq!(reply.text(), "504 Gateway Timeout\n");
    let expected = Told {
        path: "/stuck".into(),
        status: 504,
        body_bytes: 20,
        complete: true,
    };
    assert_eq!(soon(told.recv()).await.unwrap(), expected);
    assert_eq!(site.get("/hello").await.text(), "hello, world\n");
    assert_eq!(soon(told.recv()).await.unwrap().status, 200);
    // When it comes back its answer goes nowhere, and its thread serves again.
    hung.release.send(()).unwrap();
    let found = soon(hung.found.recv()).await.unwrap();
    assert!(!found.open);
    assert!(matches!(found.begun, Err(AnswerError::Gone)));
    site.stop().ended().await.unwrap();
    assert!(told.try_recv().is_err(), "it was told of twice");
}

#[tokio::test]
async fn a_head_gets_no_body() {
    let (_hung, application) = stuck(false);
    let site = Site::start(one_lane(application));
    let reply = site.ask(request("HEAD", "/")).await;
    assert_eq!(reply.status(), "504 Gateway Timeout");
    assert_eq!(reply.text(), "");
    site.stop().ended().await.unwrap();
}

#[tokio::test]
async fn a_response_that_has_begun_is_reset() {
    for family in FAMILIES {
        let (mut hung, application) = stuck(true);
        let (observer, mut told) = observer();
        let site = Site::start(one_lane(application).observe(observer));
        let mut client = site.send(family, get("/")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
        let (body, end) = client.rest().await;
        assert_eq!((body.as_slice(), end), (&b"12345"[..], End::Reset));
        let told = soon(told.recv()).await.unwrap();
        assert_eq!(
            (told.status, told.body_bytes, told.complete),
            (200, 5, false)
        );
        hung.release.send(()).unwrap();
        let found = soon(hung.found.recv()).await.unwrap();
        assert!(!found.open);
        assert!(matches!(found.begun, Err(AnswerError::Gone)));
        site.stop().ended().await.unwrap();
    }
}

#[tokio::test]
async fn nobody_waits_for_a_thread_when_all_are_stuck() {
    let (_hung, application) = stuck(false);
    let site = Site::start(one_lane(application));
    // The first is accepted and comes to the one thread later: it is not whole yet.
    let mut waiting = site.connect(Family::Unix).await;
    let whole = get("/waiting").finish().unwrap();
    waiting.send(&whole[..10]).await;
    assert_eq!(site.get("/stuck").await.status(), "504 Gateway Timeout");
    waiting.send(&whole[10..]).await;
    assert_eq!(waiting.answer().await.status(), "504 Gateway Timeout");
    site.stop().ended().await.unwrap();
}

#[tokio::test]
async fn a_native_application_that_hangs_is_answered_for() {
    let (observer, mut told) = observer();
    let site = Site::start(
        Server::new()
            .mount("/", |_: Request| std::future::pending::<&str>())
            .limits(timed())
            .observe(observer),
    );
    for family in FAMILIES {
        let reply = site.send(family, get("/")).await.answer().await;
        assert_eq!(reply.status(), "504 Gateway Timeout");
        assert_eq!(soon(told.recv()).await.unwrap().status, 504);
    }
    site.stop().ended().await.unwrap();
}

#[tokio::test]
async fn what_is_in_time_is_left_alone() {
    let quick = |_: Request, mut answer: Box<dyn Answer>| {
        answer.begin(head(5), b"hello").unwrap();
        answer.finish(Ok(()));
    };
    let site = Site::start(
        Server::new()
            .mount_blocking("/", Blocking(quick))
            .mount("/native", builtin::hello)
            .limits(timed())
            .lanes(2),
    );
    let until = tokio::time::Instant::now() + 3 * LIMIT;
    while tokio::time::Instant::now() < until {
        assert_eq!(site.get("/").await.text(), "hello");
        assert_eq!(site.get("/native").await.text(), "hello, world\n");
    }
    site.stop().ended().await.unwrap();
}

#[tokio::test]
async fn at_the_limit_there_is_exactly_one_answer() {
    let (observer, mut told) = observer();
    let limit = Duration::from_millis(20);
    let slow = move |request: Request, mut answer: Box<dyn Answer>| {
        let late: u64 = std::str::from_utf8(&request.path()[1..])
            .unwrap()
            .parse()
            .unwrap();
        std::thread::sleep(Duration::from_millis(10) + Duration::from_micros(late * 250));
        let sent = answer.begin(head(5), b"hello");
        assert!(matches!(sent, Ok(()) | Err(AnswerError::Gone)));
        answer.finish(Ok(()));
    };
    let site = Arc::new(Site::start(
        Server::new()
            .mount_blocking("/", Blocking(slow))
            .limits(limits(|it| it.request_timeout = Some(limit)))
            .observe(observer)
            .lanes(4),
    ));
    let (mut answered, mut timed_out) = (0, 0);
    for late in 0..80 {
        let path = format!("/{late}");
        let mut client = site.send(Family::Unix, get(&path)).await;
        let (received, end) = client.rest().await;
        let told = soon(told.recv()).await.unwrap();
        assert_eq!(told.path, path);
        let status = match end {
            End::Clean => {
                let text = String::from_utf8(received).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                match status(head) {
                    "200 OK" => assert_eq!(body, "hello"),
                    "504 Gateway Timeout" => assert_eq!(body, "504 Gateway Timeout\n"),
                    other => panic!("{other}"),
                }
                status(head)[..3].parse().unwrap()
            }
            // Its time was up while it sent its answer.
            End::Reset => {
                assert!(!told.complete);
                200
            }
        };
        assert_eq!(told.status, status);
        match status {
            200 => answered += 1,
            _ => timed_out += 1,
        }
    }
    assert!(answered > 0 && timed_out > 0, "{answered} and {timed_out}");
    Arc::into_inner(site).unwrap().stop().ended().await.unwrap();
    assert!(told.try_recv().is_err(), "one was told of twice");
}
