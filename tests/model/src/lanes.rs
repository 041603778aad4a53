use std::collections::VecDeque;

use loom::{
    model::Builder,
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
};

use super::leader::{Leadership, Timer};

/// One that may expire as soon as it was started: how late the thread that waits for it runs is loom's to choose.
#[derive(Default)]
struct AnyTime {
    expired: Mutex<bool>,
    changed: Condvar,
}

impl Timer for AnyTime {
    fn start(&self) {
        *self.expired.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn expire(&self) {
        self.start();
    }

    fn wait(&self) {
        let mut expired = self.expired.lock().unwrap();
        while !*expired {
            expired = self.changed.wait(expired).unwrap();
        }
        *expired = false;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Quick,
    /// Holds its lane until all quick ones are answered.
    Long,
}

/// A process whose lanes return when every request is answered.
struct Server {
    leadership: Leadership<AnyTime>,
    /// Whether each lane that goes to work calls another to its place.
    eager: bool,
    requests: Mutex<Requests>,
    changed: Condvar,
}

struct Requests {
    waiting: VecDeque<Request>,
    quick: usize,
    stops: bool,
}

impl Server {
    fn new(requests: &[Request], eager: bool) -> Arc<Self> {
        let quick = requests.iter().filter(|it| **it == Request::Quick);
        Arc::new(Self {
            leadership: Leadership::new(AnyTime::default()),
            eager,
            requests: Mutex::new(Requests {
                waiting: requests.iter().copied().collect(),
                quick: quick.count(),
                stops: false,
            }),
            changed: Condvar::new(),
        })
    }

    fn run_lane(&self) {
        loop {
            self.leadership.lead(|| false);
            let request = self.wait_for_request();
            self.leadership.leave(self.eager || request.is_none());
            match request {
                Some(request) => self.answer(request),
                None => return,
            }
            self.leadership.has_answered();
        }
    }

    /// As epoll_wait(2): `None` when the server stops.
    fn wait_for_request(&self) -> Option<Request> {
        let mut requests = self.requests.lock().unwrap();
        loop {
            if let Some(request) = requests.waiting.pop_front() {
                return Some(request);
            }
            if requests.stops {
                return None;
            }
            requests = self.changed.wait(requests).unwrap();
        }
    }

    fn answer(&self, request: Request) {
        let mut requests = self.requests.lock().unwrap();
        if request == Request::Quick {
            requests.quick -= 1;
            if requests.quick == 0 {
                drop(requests);
                self.stop();
            }
            return;
        }
        while requests.quick > 0 {
            requests = self.changed.wait(requests).unwrap();
        }
    }

    fn stop(&self) {
        self.requests.lock().unwrap().stops = true;
        self.changed.notify_all();
    }
}

fn start(server: &Arc<Server>, lanes: usize) -> Vec<JoinHandle<()>> {
    let lane = |_| {
        let server = server.clone();
        thread::spawn(move || server.run_lane())
    };
    (0..lanes).map(lane).collect()
}

/// Loom says so when the lanes' threads do not end.
fn check(lanes: usize, requests: &'static [Request]) {
    for eager in [false, true] {
        let mut model = Builder::new();
        model.preemption_bound = Some(2);
        model.check(move || {
            let lanes = start(&Server::new(requests, eager), lanes);
            for lane in lanes {
                lane.join().unwrap();
            }
        });
    }
}

#[test]
fn a_lane_that_is_held_holds_up_nobody() {
    check(2, &[Request::Long, Request::Quick]);
}

#[test]
fn a_lane_that_is_held_after_an_answer_holds_up_nobody() {
    check(2, &[Request::Quick, Request::Long, Request::Quick]);
}

#[test]
fn all_lanes_but_one_may_be_held() {
    check(3, &[Request::Long, Request::Long, Request::Quick]);
}

#[test]
fn all_lanes_return_when_the_server_stops() {
    let mut model = Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let server = Server::new(&[], false);
        let lanes = start(&server, 2);
        server.stop();
        for lane in lanes {
            lane.join().unwrap();
        }
    });
}
