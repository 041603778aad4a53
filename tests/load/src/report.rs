//! What came of the requests.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::Instant;

/// Failures that are listed one by one; all are counted.
const LISTED: usize = 2000;

/// Every request so far.
pub(crate) struct Record {
    began: Instant,
    /// The same moment by the clock on the wall, in seconds since 1970.
    began_at: f64,
    waits: Vec<Duration>,
    longest: Option<Request>,
    last_answer: Instant,
    silence: Silence,
    failed: BTreeMap<String, u64>,
    failures: Vec<Failure>,
}

/// The document that is printed. Points in time are seconds since 1970, lengths of time are seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// When the first request began.
    began: f64,
    /// From then to the last answer.
    seconds: f64,
    /// Requests that have begun, all of which have ended.
    requests: u64,
    /// Those whose answer was whole and right.
    answered: u64,
    /// The others, by what happened: `status 502`, `reset`, `incomplete`, `wrong body`, `timeout`.
    failed: BTreeMap<String, u64>,
    /// The first of those.
    failures: Vec<Failure>,
    /// Half of the answers came within this time.
    p50: f64,
    /// 99 of 100 answers came within this time.
    p99: f64,
    /// 999 of 1,000.
    p999: f64,
    /// The answer that took longest.
    longest_wait: Option<Request>,
    /// The longest time in which nobody got an answer.
    longest_silence: Silence,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Request {
    number: u64,
    began: f64,
    seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Failure {
    kind: String,
    #[serde(flatten)]
    request: Request,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Silence {
    began: f64,
    seconds: f64,
}

impl Record {
    pub(crate) fn new() -> Self {
        let began = Instant::now();
        let began_at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        Self {
            began,
            began_at,
            waits: Vec::new(),
            longest: None,
            last_answer: began,
            silence: Silence {
                began: began_at,
                seconds: 0.0,
            },
            failed: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// A request that has just ended.
    pub(crate) fn add(&mut self, number: u64, began: Instant, result: Result<(), String>) {
        let now = Instant::now();
        let wait = now - began;
        let request = Request {
            number,
            began: self.at(began),
            seconds: wait.as_secs_f64(),
        };
        if let Err(kind) = result {
            *self.failed.entry(kind.clone()).or_default() += 1;
            if self.failures.len() < LISTED {
                self.failures.push(Failure { kind, request });
            }
            return;
        }
        if self.waits.is_empty() {
            eprintln!("load: the first answer has come");
        }
        self.waits.push(wait);
        if self
            .longest
            .is_none_or(|longest| request.seconds > longest.seconds)
        {
            self.longest = Some(request);
        }
        self.silence = self.longest_silence(now);
        self.last_answer = now;
    }

    /// The longest, with the one that goes on.
    fn longest_silence(&self, now: Instant) -> Silence {
        let seconds = (now - self.last_answer).as_secs_f64();
        if seconds > self.silence.seconds {
            let began = self.at(self.last_answer);
            return Silence { began, seconds };
        }
        self.silence
    }

    pub(crate) fn report(&self) -> Report {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let percentile = |thousandth: usize| {
            let index = waits.len().saturating_sub(1) * thousandth / 1000;
            waits.get(index).map_or(0.0, Duration::as_secs_f64)
        };
        let answered = waits.len() as u64;
        Report {
            began: self.began_at,
            seconds: (self.last_answer - self.began).as_secs_f64(),
            requests: answered + self.failed.values().sum::<u64>(),
            answered,
            failed: self.failed.clone(),
            failures: self.failures.clone(),
            p50: percentile(500),
            p99: percentile(990),
            p999: percentile(999),
            longest_wait: self.longest,
            longest_silence: self.longest_silence(Instant::now()),
        }
    }

    fn at(&self, moment: Instant) -> f64 {
        self.began_at + (moment - self.began).as_secs_f64()
    }
}
