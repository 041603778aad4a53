//! Applications that block, and clients that are slow to take their responses.

use std::{
    io::Write,
    os::unix::fs::FileExt,
    sync::{
        Arc, Barrier, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use spile::{
    Request, Response, Server,
    app::{Answer, AnswerError, Content, Failed, FileRange},
    protocol::ResponseHead,
};
use tokio::sync::mpsc;

use crate::support::{
    Blocking, End, FAMILIES, Family, LARGE, Site, get, panic_quietly, post, request, soon, status,
};

/// A server with one lane: what holds it would stop all requests.
fn one_lane<F>(application: F) -> Site
where
    F: Fn(Request, Box<dyn Answer>) + Send + Sync + 'static,
{
    let hello = |_: Request, mut answer: Box<dyn Answer>| {
        answer.begin(head(Some(5)), b"hello").unwrap();
        answer.finish(Ok(()));
    };
    Site::start(
        Server::new()
            .mount_blocking("/", Blocking(application))
            .mount_blocking("/hello", Blocking(hello))
            .lanes(1),
    )
}

fn head(length: Option<usize>) -> ResponseHead {
    let mut head = ResponseHead::new(200, b"OK").unwrap();
    if let Some(length) = length {
        head.set_content_length(length as u64);
    }
    head
}

#[tokio::test]
async fn it_is_called_when_the_body_is_whole() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let site = one_lane(move |request, mut answer| {
        let (_, body) = request.into_parts();
        let (kind, bytes) = match body.into_content() {
            Content::Bytes(bytes) => ("memory", bytes.to_vec()),
            Content::File(range) => ("file", read(&range)),
            other => panic!("{other:?}"),
        };
        called.send(bytes).unwrap();
        answer.begin(head(None), kind.as_bytes()).unwrap();
        answer.finish(Ok(()));
    });
    // Half of what all bodies may take of memory.
    const IN_MEMORY: usize = 32 << 20;
    let larger = LARGE.repeat(IN_MEMORY / LARGE.len() + 1);
    for family in FAMILIES {
        for (length, kind) in [
            (2, "memory"),
            (LARGE.len(), "memory"),
            (IN_MEMORY, "memory"),
            (IN_MEMORY + 1, "file"),
        ] {
            let (half, rest) = larger[..length].split_at(length / 2);
            let mut client = site.send(family, post("/", length)).await;
            client.send(half).await;
            // The lane has seen what came before this.
            let mut second = site.send(family, get("/hello")).await;
            assert_eq!(second.answer().await.text(), "hello");
            assert!(
                calls.try_recv().is_err(),
                "called after {} bytes",
                half.len()
            );
            client.send(rest).await;
            assert_eq!(
                client.answer().await.text(),
                kind,
                "{length} over {family:?}"
            );
            assert!(soon(calls.recv()).await.unwrap() == larger[..length]);
        }
    }
}

#[tokio::test]
async fn it_is_not_called_for_a_client_that_leaves() {
    let site = one_lane(|_, _| panic!("called without its body"));
    for family in FAMILIES {
        for length in [9, LARGE.len()] {
            let mut client = site.send(family, post("/", length)).await;
            client.send("part").await;
            client.end_sending().await;
            // There is nobody to answer.
            assert_eq!(client.rest().await, (Vec::new(), End::Clean));
        }
    }
}

fn read(range: &FileRange) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.length).unwrap()];
    range.file.read_exact_at(&mut bytes, range.offset).unwrap();
    bytes
}

/// How a large response is produced.
#[derive(Clone, Copy, Debug)]
enum Way {
    AtOnce,
    Chunks,
    File,
    FileAmongChunks,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::AtOnce,
        Self::Chunks,
        Self::File,
        Self::FileAmongChunks,
    ];

    fn send(self, answer: &mut dyn Answer) -> Result<(), AnswerError> {
        match self {
            Self::AtOnce => answer.begin(head(None), &LARGE),
            Self::Chunks => {
                answer.begin(head(Some(LARGE.len())), b"")?;
                send_chunks(answer, &LARGE)
            }
            Self::File => {
                answer.begin(head(Some(LARGE.len())), b"")?;
                answer.send_file(part(0, LARGE.len()))
            }
            Self::FileAmongChunks => {
                let third = LARGE.len() / 3;
                answer.begin(head(None), &LARGE[..third])?;
                answer.send_file(part(third, third))?;
                send_chunks(answer, &LARGE[2 * third..])
            }
        }
    }
}

fn send_chunks(answer: &mut dyn Answer, bytes: &[u8]) -> Result<(), AnswerError> {
    bytes
        .chunks(10_000)
        .try_for_each(|chunk| answer.send(chunk))
}

fn part(offset: usize, length: usize) -> FileRange {
    static FILE: LazyLock<Arc<std::fs::File>> = LazyLock::new(|| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&LARGE).unwrap();
        Arc::new(file)
    });
    FileRange::new(FILE.clone(), offset as u64, length as u64)
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_the_lane() {
    for way in Way::ALL {
        let site = one_lane(move |_, mut answer| {
            way.send(&mut *answer).unwrap();
            answer.finish(Ok(()));
        });
        for family in FAMILIES {
            let mut slow = site.send(family, get("/")).await;
            slow.head().await;
            assert_eq!(
                site.get("/hello").await.text(),
                "hello",
                "{way:?} {family:?}"
            );
            let (body, end) = slow.rest().await;
            assert!((body == *LARGE) && end == End::Clean, "{way:?} {family:?}");
        }
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_of_a_failure() {
    for way in Way::ALL {
        let site = one_lane(move |_, mut answer| {
            way.send(&mut *answer).unwrap();
            answer.finish(Err(Failed));
        });
        for family in FAMILIES {
            let mut slow = site.send(family, get("/")).await;
            slow.head().await;
            assert_eq!(
                site.get("/hello").await.text(),
                "hello",
                "{way:?} {family:?}"
            );
            let (body, end) = slow.rest().await;
            assert_eq!(end, End::Reset, "{way:?} {family:?}");
            // On TCP a reset overtakes what is still in the sender's buffer.
            assert!(LARGE.starts_with(&body), "{way:?} {family:?}");
            if matches!(family, Family::Unix) {
                assert_eq!(body.len(), LARGE.len(), "{way:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_chunk_is_sent_before_the_next_is_made() {
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let site = one_lane(move |_, mut answer| {
        answer.begin(head(None), b"one").unwrap();
        for chunk in ["two", "three"] {
            may_go_on.lock().unwrap().recv().unwrap();
            answer.send(chunk.as_bytes()).unwrap();
        }
        answer.finish(Ok(()));
    });
    for family in FAMILIES {
        let mut client = site.send(family, get("/")).await;
        client.head().await;
        assert_eq!(client.take(3).await, b"one");
        go_on.send(()).unwrap();
        assert_eq!(client.take(3).await, b"two");
        go_on.send(()).unwrap();
        assert_eq!(client.rest().await, (b"three".to_vec(), End::Clean));
    }
}

#[tokio::test]
async fn lanes_block_at_the_same_time() {
    let both = Barrier::new(2);
    let application = move |_: Request, mut answer: Box<dyn Answer>| {
        both.wait();
        answer.begin(head(None), b"met").unwrap();
        answer.finish(Ok(()));
    };
    let site = Site::start(
        Server::new()
            .mount_blocking("/", Blocking(application))
            .lanes(2),
    );
    // Often: a connection that wakes a lane just when other work comes must not be forgotten.
    for _ in 0..100 {
        let mut first = site.send(Family::Unix, get("/")).await;
        let mut second = site.send(Family::Tcp, get("/")).await;
        assert_eq!(first.answer().await.text(), "met");
        assert_eq!(second.answer().await.text(), "met");
    }
}

#[tokio::test]
async fn lanes_compute_at_the_same_time() {
    let inside = AtomicUsize::new(0);
    let application = move |_: Request, mut answer: Box<dyn Answer>| {
        // It never sleeps, so nothing but its taking long says that another lane is needed.
        let before = inside.fetch_add(1, Ordering::SeqCst);
        while inside.load(Ordering::SeqCst) / 3 == before / 3 {
            std::hint::spin_loop();
        }
        answer.begin(head(None), b"met").unwrap();
        answer.finish(Ok(()));
    };
    let site = Site::start(
        Server::new()
            .mount_blocking("/", Blocking(application))
            .lanes(3),
    );
    for _ in 0..20 {
        let mut clients = Vec::new();
        for family in [Family::Unix, Family::Tcp, Family::Unix] {
            clients.push(site.send(family, get("/")).await);
        }
        for mut client in clients {
            assert_eq!(client.answer().await.text(), "met");
        }
    }
}

#[tokio::test]
async fn quick_requests_pass_one_that_computes() {
    let (stopped, computing) = (Arc::new(AtomicBool::new(false)), Barrier::new(2));
    let (stop, computing) = (stopped.clone(), Arc::new(computing));
    let began = computing.clone();
    let application = move |_: Request, mut answer: Box<dyn Answer>| {
        began.wait();
        while !stop.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        answer.begin(head(None), b"done").unwrap();
        answer.finish(Ok(()));
    };
    let site = Site::start(
        Server::new()
            .mount_blocking("/", Blocking(application))
            .mount("/quick", |_: Request| async { Response::text("quick") })
            .lanes(2),
    );
    let mut long = site.send(Family::Unix, get("/")).await;
    tokio::task::spawn_blocking(move || computing.wait())
        .await
        .unwrap();
    for _ in 0..100 {
        assert_eq!(site.get("/quick").await.text(), "quick");
    }
    stopped.store(true, Ordering::SeqCst);
    assert_eq!(long.answer().await.text(), "done");
}

#[tokio::test]
async fn a_head_request_gets_no_body() {
    let site = one_lane(|_, mut answer| {
        answer.begin(head(Some(15)), b"first").unwrap();
        answer.send(b"again").unwrap();
        answer.send_file(part(0, 5)).unwrap();
        answer.finish(Ok(()));
    });
    let reply = site.ask(request("HEAD", "/")).await;
    assert_eq!((reply.header("content-length"), reply.text()), ("15", ""));
}

#[tokio::test]
async fn failing_before_the_head_is_a_500() {
    let ways: [fn(Box<dyn Answer>); 4] = [
        drop,
        |_| panic_quietly(),
        |answer| answer.finish(Err(Failed)),
        // It says that it is done and has sent nothing.
        |answer| answer.finish(Ok(())),
    ];
    for way in ways {
        let site = one_lane(move |_, answer| way(answer));
        for family in FAMILIES {
            let reply = site.send(family, get("/")).await.answer().await;
            assert_eq!(reply.status(), "500 Internal Server Error");
            assert_eq!(site.get("/hello").await.text(), "hello");
        }
    }
}

#[tokio::test]
async fn failing_after_the_head_is_a_reset() {
    let ways: [fn(Box<dyn Answer>); 3] = [
        drop,
        |_answer| panic_quietly(),
        |answer| answer.finish(Err(Failed)),
    ];
    for (way, length) in ways
        .into_iter()
        .flat_map(|way| [(way, None), (way, Some(9))])
    {
        let site = one_lane(move |_, mut answer| {
            answer.begin(head(length), b"begun").unwrap();
            way(answer);
        });
        for family in FAMILIES {
            let mut client = site.send(family, get("/")).await;
            let (_, end) = client.rest().await;
            assert_eq!(end, End::Reset, "{length:?} {family:?}");
            assert_eq!(site.get("/hello").await.text(), "hello");
        }
    }
}

#[tokio::test]
async fn a_body_is_held_to_its_length() {
    let site = one_lane(|request, mut answer| {
        let long = request.path() == b"/long";
        answer.begin(head(Some(7)), b"first").unwrap();
        if long {
            answer.send(b"again").unwrap();
            answer.send_file(part(0, 5)).unwrap();
        }
        answer.finish(Ok(()));
    });
    for family in FAMILIES {
        let long = site.send(family, get("/long")).await.answer().await;
        assert_eq!(long.text(), "firstag", "{family:?}");
        let (_, end) = site.send(family, get("/short")).await.rest().await;
        assert_eq!(end, End::Reset, "{family:?}");
    }
}

#[tokio::test]
async fn what_is_out_of_order_is_refused_and_harms_nothing() {
    let site = one_lane(|_, mut answer| {
        assert!(!answer.has_begun());
        let early = [answer.send(b"early"), answer.send_file(part(0, 5))];
        assert!(early.iter().all(is_out_of_order));
        answer.begin(head(None), b"once").unwrap();
        assert!(answer.has_begun());
        assert!(is_out_of_order(&answer.begin(head(None), b"twice")));
        assert!(answer.is_open());
        answer.finish(Ok(()));
    });
    let reply = site.get("/").await;
    assert_eq!((reply.status(), reply.text()), ("200 OK", "once"));
}

fn is_out_of_order(result: &Result<(), AnswerError>) -> bool {
    matches!(result, Err(AnswerError::OutOfOrder))
}

#[tokio::test]
async fn it_learns_that_its_client_left() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let site = one_lane(move |_, mut answer| {
        answer.begin(head(None), b"begun").unwrap();
        let end = loop {
            if let Err(end) = answer.send(&LARGE[..10_000]) {
                break end;
            }
        };
        told.send((matches!(end, AnswerError::Gone), answer.is_open()))
            .unwrap();
        answer.finish(Ok(()));
    });
    for family in FAMILIES {
        let mut client = site.send(family, get("/")).await;
        assert_eq!(status(&client.head().await), "200 OK");
        drop(client);
        assert_eq!(soon(ends.recv()).await, Some((true, false)), "{family:?}");
    }
}

/// What waits in the socket may be the very pages of the file that keeps the rest of a slow response.
#[tokio::test]
async fn what_is_on_its_way_is_not_written_over() {
    const CHUNK: usize = 60_000;
    const CHUNKS: usize = 160;
    const SLOW: usize = 100;
    /// Less than a socket holds, so that all that was produced is on its way.
    const BEHIND: usize = 120_000;
    let permits = Arc::new(tokio::sync::Semaphore::new(0));
    let granted = permits.clone();
    let (sent, mut taken) = mpsc::unbounded_channel();
    let site = one_lane(move |_, mut answer| {
        answer.begin(head(None), b"").unwrap();
        for number in 0..CHUNKS {
            while granted.try_acquire().map(|permit| permit.forget()).is_err() {
                std::thread::yield_now();
            }
            answer.send(&[number as u8; CHUNK]).unwrap();
            sent.send(()).unwrap();
        }
        answer.finish(Ok(()));
    });
    for family in FAMILIES {
        let mut client = site.send(family, get("/")).await;
        // More than any socket holds, so that the client is known to be slow.
        permits.add_permits(SLOW);
        for _ in 0..SLOW {
            soon(taken.recv()).await.unwrap();
        }
        client.head().await;
        let mut body = Vec::new();
        for produced in SLOW..CHUNKS {
            let due = produced * CHUNK - BEHIND;
            body.extend(client.take(due - body.len()).await);
            permits.add_permits(1);
            soon(taken.recv()).await.unwrap();
        }
        let (rest, _) = client.rest().await;
        body.extend(rest);
        assert_eq!(body.len(), CHUNK * CHUNKS);
        let wrong = body
            .chunks(CHUNK)
            .enumerate()
            .find(|(number, chunk)| *chunk != [*number as u8; CHUNK])
            .map(|(number, _)| number);
        assert_eq!(wrong, None, "over {family:?}");
    }
}
