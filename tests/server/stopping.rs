//! Several sockets, and how a server ends.

use std::{
    sync::{Arc, Mutex, mpsc as std_mpsc},
    time::{Duration, Instant},
};

use spile::{
    Request, Server,
    app::{Answer, builtin},
    protocol::ResponseHead,
    server::ServeError,
};
use tokio::{
    net::UnixStream,
    sync::{Notify, mpsc},
};

use crate::support::{
    Blocking, Client, End, FAMILIES, Family, Site, get, limits, post, soon, until,
};

/// An application that tells that it runs, and waits until it may end.
fn held() -> (
    Arc<Notify>,
    mpsc::UnboundedReceiver<()>,
    impl spile::Application,
) {
    let (entered, entries) = mpsc::unbounded_channel();
    let end = Arc::new(Notify::new());
    let may_end = end.clone();
    let application = move |_: Request| {
        let (entered, may_end) = (entered.clone(), may_end.clone());
        async move {
            entered.send(()).unwrap();
            may_end.notified().await;
            "finished"
        }
    };
    (end, entries, application)
}

#[tokio::test]
async fn a_server_listens_on_several_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name).to_str().unwrap().to_owned();
    let site = Site::start(
        Server::new()
            .bind(&path("a.sock"))
            .unwrap()
            .bind(&format!("unix:{}", path("b.sock")))
            .unwrap()
            .mount("/", builtin::hello),
    );
    for family in FAMILIES {
        let reply = site.send(family, get("/")).await.answer().await;
        assert_eq!(reply.text(), "hello, world\n");
    }
    for name in ["a.sock", "b.sock"] {
        let mut client = Client::new(UnixStream::connect(path(name)).await.unwrap());
        client.send(get("/").finish().unwrap()).await;
        assert_eq!(client.answer().await.text(), "hello, world\n");
    }
    site.stop().ended().await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_idle_server_stops() {
    let site = Site::start(Server::new().mount("/", builtin::hello));
    assert_eq!(site.get("/").await.text(), "hello, world\n");
    site.stop().ended().await.unwrap();
}

#[tokio::test]
async fn what_runs_is_finished() {
    let (end, mut entries, application) = held();
    let site = Site::start(Server::new().mount("/", application));
    let mut clients = Vec::new();
    for family in FAMILIES {
        clients.push(site.send(family, get("/")).await);
        soon(entries.recv()).await.unwrap();
    }
    let stopping = site.stop();
    stopping.begun().await;
    for _ in &clients {
        end.notify_one();
    }
    for mut client in clients {
        assert_eq!(client.answer().await.text(), "finished");
    }
    stopping.ended().await.unwrap();
}

#[tokio::test]
async fn what_waits_in_the_listen_queue_is_served() {
    let (end, may_end) = std_mpsc::channel::<()>();
    let (entered, mut entries) = mpsc::unbounded_channel();
    let may_end = Mutex::new(may_end);
    let holding = move |_: Request, mut answer: Box<dyn Answer>| {
        entered.send(()).unwrap();
        may_end.lock().unwrap().recv().unwrap();
        let head = ResponseHead::new(200, b"OK").unwrap();
        answer.begin(head, b"finished").unwrap();
        answer.finish(Ok(()));
    };
    let site = Site::start(
        Server::new()
            .mount_blocking("/", Blocking(holding))
            .mount("/hello", builtin::hello)
            .lanes(1),
    );
    let mut running = site.send(Family::Unix, get("/")).await;
    soon(entries.recv()).await.unwrap();
    // Nobody accepts while the only lane is busy.
    let mut waiting = Vec::new();
    for family in FAMILIES {
        waiting.push((site.send(family, get("/")).await, "finished"));
        waiting.push((site.send(family, get("/hello")).await, "hello, world\n"));
    }
    let stopping = site.stop();
    stopping.begun().await;
    for _ in 0..3 {
        end.send(()).unwrap();
    }
    assert_eq!(running.answer().await.text(), "finished");
    for (mut client, said) in waiting {
        assert_eq!(client.answer().await.text(), said);
    }
    stopping.ended().await.unwrap();
}

#[tokio::test]
async fn a_full_server_serves_its_listen_queue_too() {
    let (end, mut entries, application) = held();
    let site = Site::start(
        Server::new()
            .mount("/", application)
            .mount("/hello", builtin::hello)
            .limits(limits(|it| it.in_flight = 1)),
    );
    let mut running = site.send(Family::Unix, get("/")).await;
    soon(entries.recv()).await.unwrap();
    let mut waiting = site.send(Family::Unix, get("/hello")).await;
    let stopping = site.stop();
    assert_eq!(waiting.answer().await.text(), "hello, world\n");
    end.notify_one();
    assert_eq!(running.answer().await.text(), "finished");
    stopping.ended().await.unwrap();
}

#[tokio::test]
async fn silent_connections_are_closed_soon() {
    let site = Site::start(Server::new().mount("/", builtin::hello));
    let mut silent = Vec::new();
    for family in FAMILIES {
        silent.push(site.connect(family).await);
    }
    assert_eq!(site.get("/").await.text(), "hello, world\n");
    let since = Instant::now();
    site.stop().ended().await.unwrap();
    // Far less than the read and the graceful time-outs.
    assert!(since.elapsed() < Duration::from_secs(10));
    for mut client in silent {
        assert_eq!(client.rest().await, (Vec::new(), End::Clean));
    }
}

/// nginx closes when it has the answer. Another may not, and everything there is to say to it was said.
#[tokio::test]
async fn a_peer_that_has_its_answer_holds_no_stop_up() {
    let site = Site::start(
        Server::new()
            .mount("/", builtin::hello)
            .limits(limits(|it| it.graceful_timeout = Duration::from_secs(20))),
    );
    let mut answered = Vec::new();
    for family in FAMILIES {
        let mut refused = site.connect(family).await;
        refused.send("GET / HTTP/1.1\r\n\r\n").await;
        answered.push(refused);
        let mut early = site.send(family, post("/", 1000)).await;
        early.send("part").await;
        answered.push(early);
    }
    for client in &mut answered {
        client.answer().await;
    }
    site.stop().ended().await.unwrap();
}

#[tokio::test]
async fn a_request_that_has_begun_to_arrive_is_waited_for() {
    let site = Site::start(Server::new().mount("/", builtin::hello));
    let packet = get("/").finish().unwrap();
    let (start, rest) = packet.split_at(10);
    let mut client = site.connect(Family::Unix).await;
    client.send(start).await;
    let stopping = site.stop();
    stopping.begun().await;
    client.send(rest).await;
    assert_eq!(client.answer().await.text(), "hello, world\n");
    stopping.ended().await.unwrap();
}

#[tokio::test]
async fn the_graceful_time_out_cuts_off_what_still_runs() {
    let (_end, mut entries, application) = held();
    let site = Site::start(
        Server::new()
            .mount("/", application)
            .limits(limits(|it| it.graceful_timeout = Duration::from_millis(50))),
    );
    let _client = site.send(Family::Unix, get("/")).await;
    soon(entries.recv()).await.unwrap();
    let ended = site.stop().ended().await;
    assert!(matches!(ended, Err(ServeError::CutOff)), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_is_dropped_takes_its_sockets_with_it() {
    let (_end, mut entries, application) = held();
    let mut site = Site::start(Server::new().mount("/", application));
    let _running = site.send(Family::Unix, get("/")).await;
    soon(entries.recv()).await.unwrap();
    let socket = site.socket();
    site.drop_server().await;
    assert!(!socket.exists());
    until(|| site.refuses_tcp()).await;
}
