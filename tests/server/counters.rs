//! What a server counts, as a scoreboard shows it.

use spile::{
    Request, Response, Server,
    server::{REFUSAL_REASONS, STATUS_CLASSES},
    supervisor::scoreboard::{Layout, Recorder, Scoreboard, Snapshot},
};
use tokio::{io::AsyncReadExt, sync::Notify};

use crate::support::{Blocking, End, Family, Site, get, post, until};

/// A site and what it counts. The recorder is this thread's, on which the server is made.
struct Counted {
    board: Scoreboard,
    site: Site,
}

impl Counted {
    fn start(server: Server, mounts: &[&str]) -> Self {
        let board = Scoreboard::create(Layout {
            slots: 1,
            lanes: 1,
            mounts: mounts.iter().map(|&mount| mount.to_owned()).collect(),
        })
        .unwrap();
        // For the thread's life, which is the test's.
        let recorder = Box::leak(Box::new(Recorder::new(board.writer(0).unwrap())));
        std::mem::forget(metrics::set_default_local_recorder(recorder));
        let site = Site::start(server);
        Self { board, site }
    }

    /// What is counted once no request is in hand.
    async fn settled(&self, requests: u64) -> Snapshot {
        until(|| {
            let snapshot = self.board.read(0);
            snapshot.requests() == requests && snapshot.in_flight == 0
        })
        .await;
        self.board.read(0)
    }
}

fn classes(snapshot: &Snapshot, mount: usize) -> Vec<(&'static str, u64)> {
    let counts = STATUS_CLASSES.into_iter().zip(snapshot.mounts[mount]);
    counts.filter(|(_, count)| *count > 0).collect()
}

async fn echo(request: Request) -> Response {
    let length = request
        .into_parts()
        .1
        .read_to_end(1 << 20)
        .await
        .unwrap()
        .len();
    Response::text("x".repeat(length))
}

#[tokio::test]
async fn requests_are_counted_by_mount_and_status() {
    let server = Server::new()
        .mount("/echo/", echo)
        .mount_blocking("/fails", Blocking(|_, answer| drop(answer)));
    // In the order of a configuration, not of the router.
    let counted = Counted::start(server, &["/fails", "/echo"]);
    let body = [b'x'; 5000];
    for _ in 0..2 {
        let mut client = counted
            .site
            .send(Family::Unix, post("/echo", body.len()))
            .await;
        client.send(body).await;
        assert_eq!(client.answer().await.status(), "200 OK");
    }
    let failed = counted.site.get("/fails/x").await;
    assert_eq!(failed.status(), "500 Internal Server Error");
    let missing = counted.site.get("/nowhere").await;
    assert_eq!(missing.status(), "404 Not Found");

    let snapshot = counted.settled(4).await;
    assert_eq!(classes(&snapshot, 0), [("5xx", 1)]);
    assert_eq!(classes(&snapshot, 1), [("2xx", 2)]);
    assert_eq!(classes(&snapshot, 2), [("4xx", 1)]);
    assert_eq!(snapshot.request_bytes, 10_000);
    let others = failed.body.len() + missing.body.len();
    assert_eq!(snapshot.response_bytes, 10_000 + others as u64);
    assert_eq!(snapshot.latency().count(), 4);
    assert!(!snapshot.latency_sum.is_zero());
}

#[tokio::test]
async fn a_request_is_in_flight_until_it_is_answered() {
    static GO_ON: Notify = Notify::const_new();
    let wait = async |_: Request| {
        GO_ON.notified().await;
        Response::text("done")
    };
    let counted = Counted::start(Server::new().mount("/", wait), &["/"]);
    let mut client = counted.site.send(Family::Tcp, get("/")).await;
    until(|| counted.board.read(0).in_flight == 1).await;
    GO_ON.notify_one();
    client.answer().await;
    counted.settled(1).await;
}

#[tokio::test]
async fn an_upgraded_connection_is_an_answered_request() {
    let accept = async |request: Request| {
        let upgrade = request.upgrade("test").unwrap();
        upgrade.accept(async |mut upgraded| drop(upgraded.read_u8().await))
    };
    let counted = Counted::start(Server::new().mount("/", accept), &["/"]);
    let asking = get("/")
        .var("HTTP_UPGRADE", "test")
        .var("HTTP_CONNECTION", "upgrade");
    let mut client = counted.site.send(Family::Unix, asking).await;
    client.head().await;
    let snapshot = counted.settled(1).await;
    assert_eq!(classes(&snapshot, 0), [("1xx", 1)]);
    client.send("x").await;
    assert_eq!(client.rest().await.1, End::Clean);
}

#[tokio::test]
async fn what_is_refused_is_counted_by_reason() {
    let counted = Counted::start(Server::new().mount("/", echo), &["/"]);
    let mut client = counted.site.connect(Family::Unix).await;
    client.send(b"GET / HTTP/1.0\r\n\r\n").await;
    client.rest().await;
    let malformed = REFUSAL_REASONS
        .iter()
        .position(|reason| *reason == "malformed")
        .unwrap();
    until(|| counted.board.read(0).refused[malformed] == 1).await;
    assert_eq!(counted.settled(0).await.refused.iter().sum::<u64>(), 1);
}
