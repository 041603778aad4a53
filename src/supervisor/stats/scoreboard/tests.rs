use std::{
    fs::OpenOptions,
    os::fd::AsRawFd,
    process::{Command, Stdio},
    sync::atomic::AtomicBool,
    time::Instant,
};

use super::*;
use crate::{
    protocol::ResponseHead,
    server::{REFUSAL_REASONS, names},
};

fn layout() -> Layout {
    Layout {
        slots: 3,
        lanes: 2,
        mounts: vec!["/".into(), "/shop".into()],
    }
}

fn board() -> Scoreboard {
    Scoreboard::create(layout()).unwrap()
}

fn requests(lane: &LaneSnapshot) -> Option<&str> {
    lane.running
        .as_ref()
        .map(|running| running.request.as_str())
}

#[test]
fn a_lane_shows_what_it_runs_and_how_long_it_has_worked() {
    let board = board();
    let writer = board.writer(1).unwrap();
    writer.began(1, b"GET", b"/report");
    std::thread::sleep(Duration::from_millis(2));
    let snapshot = board.read(1);
    assert_eq!(requests(&snapshot.lanes[0]), None);
    assert_eq!(requests(&snapshot.lanes[1]), Some("GET /report"));
    let elapsed = snapshot.running().next().unwrap().elapsed;
    assert!((Duration::from_millis(2)..Duration::from_secs(60)).contains(&elapsed));
    assert_eq!(snapshot.busy, elapsed);

    writer.ended(1);
    let snapshot = board.read(1);
    assert_eq!(snapshot.running().next(), None);
    assert!(snapshot.busy >= elapsed);
    assert_eq!(snapshot.lanes[1].requests, 1);
    assert_eq!(board.read(0), board.read(2), "the others saw nothing of it");
}

#[test]
fn what_one_slot_has_noted_is_new_to_no_other() {
    let mut head = ResponseHead::from_status_line(b"200").unwrap();
    let reason = head.corrections();
    head.push(b"Connection", b"close").unwrap();
    let both = head.corrections();
    let board = board();
    let [first, second] = [0, 1].map(|slot| board.writer(slot).unwrap());
    assert_eq!(first.note_corrections("/", reason), reason);
    assert!(second.note_corrections("/", reason).is_empty());
    assert_eq!(second.note_corrections("/", both), both.without(reason));
    assert_eq!(first.note_corrections("/shop", both), both);
    assert_eq!(board.read(0), board.read(2), "no slot was written");
}

#[test]
fn a_shorter_request_leaves_nothing_of_a_longer_one() {
    let board = board();
    let writer = board.writer(0).unwrap();
    writer.began(0, b"DELETE", b"/something/rather/long");
    writer.ended(0);
    writer.began(0, b"GET", b"/");
    assert_eq!(requests(&board.read(0).lanes[0]), Some("GET /"));
}

#[test]
fn a_long_path_is_cut_and_says_so() {
    let board = board();
    let writer = board.writer(0).unwrap();
    let exactly = lane::TEXT_SIZE - "GET ".len();
    writer.began(0, b"GET", &vec![b'x'; exactly]);
    let text = format!("GET {}", "x".repeat(exactly));
    assert_eq!(requests(&board.read(0).lanes[0]), Some(&*text));
    writer.began(0, b"GET", &vec![b'x'; exactly + 1]);
    assert_eq!(
        requests(&board.read(0).lanes[0]),
        Some(&*format!("{text}…"))
    );
}

#[test]
fn a_path_can_do_nothing_to_a_terminal() {
    let board = board();
    let writer = board.writer(0).unwrap();
    writer.began(0, b"GET", b"/\x1b[2J\n\xff\xe2\x80\xae\xc3\xbc'");
    assert_eq!(
        requests(&board.read(0).lanes[0]),
        Some("GET /\\u{1b}[2J\\n\\xff\\u{202e}ü'")
    );
}

#[test]
fn a_reader_never_sees_half_a_text() {
    let board = board();
    let texts = [b"a".repeat(100), b"b".repeat(30)];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let writer = board.writer(0).unwrap();
            for text in texts.iter().cycle() {
                writer.began(0, b"GET", text);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let whole = texts
            .clone()
            .map(|text| format!("GET {}", String::from_utf8(text).unwrap()));
        let mut seen = 0;
        let begun = Instant::now();
        while seen < 10_000 && begun.elapsed() < Duration::from_secs(20) {
            let snapshot = board.read(0);
            if let Some(text) = requests(&snapshot.lanes[0]) {
                assert!(whole.iter().any(|whole| whole == text), "{text:?}");
                seen += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(seen, 10_000);
    });
}

#[test]
fn a_writer_that_died_in_the_middle_holds_no_reader() {
    let board = board();
    let writer = board.writer(0).unwrap();
    writer.began(0, b"GET", b"/");
    writer.ended(0);
    // As far as it gets before it dies.
    let words = board.0.slot(0);
    let lane = &words[board.layout().lane(0).unwrap()];
    lane[0].fetch_add(1, Ordering::Relaxed);
    let snapshot = board.read(0);
    assert_eq!(snapshot.lanes[0].running, None);
    assert_eq!(snapshot.lanes[0].requests, 1);

    board.clear(0);
    writer.began(0, b"GET", b"/next");
    assert_eq!(requests(&board.read(0).lanes[0]), Some("GET /next"));
}

#[test]
fn what_the_server_counts_is_found_again() {
    let board = board();
    let recorder = Recorder::new(board.writer(2).unwrap());
    metrics::with_local_recorder(&recorder, || {
        metrics::counter!(names::REQUESTS, "mount" => "/shop", "status" => "2xx").increment(2);
        metrics::counter!(names::REQUESTS, "mount" => "", "status" => "4xx").increment(1);
        metrics::counter!(names::REQUESTS, "mount" => "/", "status" => "none").increment(1);
        metrics::counter!(names::REQUESTS, "mount" => "/other", "status" => "2xx").increment(9);
        metrics::counter!(names::REFUSED, "reason" => "client_gone").increment(3);
        metrics::counter!(names::REQUEST_BYTES).increment(10);
        metrics::counter!(names::RESPONSE_BYTES).increment(20);
        metrics::counter!("another_total").increment(1);
        let in_flight = metrics::gauge!(names::IN_FLIGHT);
        in_flight.increment(2);
        in_flight.decrement(1);
        let duration = metrics::histogram!(names::DURATION);
        for milliseconds in [1, 2, 70_000] {
            duration.record(Duration::from_millis(milliseconds));
        }
    });
    board.writer(2).unwrap().set_access_log_dropped(7);
    let snapshot = board.read(2);
    assert_eq!(
        snapshot.mounts,
        [[0, 0, 0, 0, 0, 1], [0, 2, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]
    );
    assert_eq!((snapshot.requests(), snapshot.errors()), (4, 1));
    let client_gone = REFUSAL_REASONS.iter().position(|it| *it == "client_gone");
    assert_eq!(snapshot.refused[client_gone.unwrap()], 3);
    assert_eq!(snapshot.refused.iter().sum::<u64>(), 3);
    assert_eq!((snapshot.request_bytes, snapshot.response_bytes), (10, 20));
    assert_eq!((snapshot.in_flight, snapshot.access_log_dropped), (1, 7));
    assert_eq!(snapshot.latency_sum, Duration::from_millis(70_003));
    let filled = snapshot
        .latency()
        .buckets
        .into_iter()
        .filter(|bucket| bucket.count > 0);
    let filled: Vec<_> = filled.map(|bucket| (bucket.le, bucket.count)).collect();
    assert_eq!(filled, [(Some(0.001), 1), (Some(0.0025), 1), (None, 1)]);
    assert_eq!(board.read(1), board.read(0), "other slots are untouched");
}

#[test]
fn a_cleared_slot_is_as_new() {
    let board = board();
    let writer = board.writer(0).unwrap();
    let new = board.read(0);
    writer.began(0, b"GET", b"/");
    writer.set_access_log_dropped(1);
    assert_ne!(board.read(0), new);
    board.clear(0);
    assert_eq!(board.read(0), new);
}

#[test]
fn a_scoreboard_of_another_layout_is_refused() {
    let board = board();
    let fd = || board.as_fd().try_clone_to_owned().unwrap();
    assert!(Scoreboard::open(fd(), layout()).is_ok());
    // As large, but divided otherwise.
    let other = Layout {
        mounts: vec!["/".into(), "/shop".into(), "/more".into()],
        ..layout()
    };
    assert_eq!(other.words(), layout().words());
    let error = Scoreboard::open(fd(), other).unwrap_err();
    assert!(error.to_string().contains("another layout"), "{error}");
    assert!(board.writer(3).is_err());
}

#[test]
fn what_a_killed_worker_wrote_stays() {
    let board = board();
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        board.as_fd().as_raw_fd()
    );
    // This very test program, as a worker.
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored"])
        .arg("supervisor::stats::scoreboard::tests::worker_that_hangs")
        .env("SPILE_TEST_SCOREBOARD", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while board.read(1).running().next().is_none() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(1));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    let snapshot = board.read(1);
    assert_eq!(requests(&snapshot.lanes[0]), Some("POST /hang"));
    assert_eq!(snapshot.in_flight, 1);
    assert_eq!(snapshot.retire().in_flight, 0);
}

#[test]
#[ignore = "is killed by another test"]
fn worker_that_hangs() {
    let Ok(path) = std::env::var("SPILE_TEST_SCOREBOARD") else {
        return;
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let board = Scoreboard::open(file.into(), layout()).unwrap();
    let writer = board.writer(1).unwrap();
    metrics::with_local_recorder(&Recorder::new(writer.clone()), || {
        metrics::gauge!(names::IN_FLIGHT).increment(1);
    });
    writer.began(0, b"POST", b"/hang");
    std::thread::sleep(Duration::from_secs(60));
}
