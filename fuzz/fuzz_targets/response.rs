//! The way of a response from an application to a client, with any status, headers and body, by both kinds of
//! application: what arrives is one HTTP response, of headers that the application gave, framed once and truly.

#![no_main]

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use spile::app::{Answer, AnswerError, BoxError, FileRange, Router};
use spile::protocol::{Encoder, ResponseHead};
use spile::{Body, Request, Response};
use spile_fuzz::applications::{Chunks, blocking, file, native};
use spile_fuzz::reply::Reply;
use spile_fuzz::site::{End, Site};

fuzz_target!(|plan: Plan| {
    static SITE: LazyLock<Site> = LazyLock::new(|| Site::start(router(), PATIENCE));
    *PLAN.lock().unwrap_or_else(PoisonError::into_inner) = plan.clone();
    let method = if plan.is_head { "HEAD" } else { "GET" };
    let path = if plan.blocks { "/blocking" } else { "/native" };
    let request = Encoder::new()
        .var("REQUEST_METHOD", method)
        .var("PATH_INFO", path);
    let request = request.finish().expect("a packet");
    let (received, end) = SITE.converse(plan.is_over_tcp, |client| {
        client.send(&request);
        client.receive()
    });

    let reply = Reply::of(&received, end, plan.is_head);
    assert!(
        reply.is_some() || end == End::Reset,
        "a quiet end is success to nginx"
    );
    let Some(reply) = reply else {
        return;
    };
    if reply.status == 500 {
        // The server's own words, most often.
        return;
    }
    // What arrived is what was given, in its order; only its length may have been added.
    let mut given = plan
        .headers
        .iter()
        .map(|(name, value)| (name.bytes(), value));
    for (name, value) in &reply.headers {
        let is_given = given.any(|(given, text)| {
            given.eq_ignore_ascii_case(name.as_bytes()) && text.trim_ascii() == value.trim_ascii()
        });
        assert!(
            is_given || name == "Content-Length",
            "{name} came from nowhere"
        );
    }
    let body = plan.body();
    assert!(
        body.starts_with(&reply.body),
        "the body is not the application's"
    );
    let is_promised = reply
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let is_bodiless = plan.is_head || matches!(reply.status, 204 | 304);
    assert!(
        is_promised || is_bodiless || reply.body == body,
        "a part came as the whole"
    );
    assert!(
        !plan.fails || is_promised || is_bodiless,
        "a failure came as a success"
    );
});

/// No client waits here.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the applications answer.
static PLAN: Mutex<Plan> = Mutex::new(Plan {
    blocks: false,
    is_head: false,
    is_over_tcp: false,
    status: 200,
    reason: None,
    headers: Vec::new(),
    chunks: Vec::new(),
    way: Way::Whole,
    fails: false,
});

#[derive(Arbitrary, Clone, Debug)]
struct Plan {
    blocks: bool,
    is_head: bool,
    is_over_tcp: bool,
    status: u16,
    reason: Option<Vec<u8>>,
    headers: Vec<(Name, Vec<u8>)>,
    chunks: Vec<Vec<u8>>,
    way: Way,
    /// Whether it fails after the last chunk.
    fails: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Way {
    Whole,
    Chunks,
    /// In chunks, whose length is told beforehand: this much more than they have.
    Counted(i8),
    File,
}

#[derive(Arbitrary, Clone, Debug)]
enum Name {
    Known(u8),
    Other(Vec<u8>),
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        const NAMES: [&str; 8] = [
            "content-length",
            "content-type",
            "connection",
            "date",
            "set-cookie",
            "server",
            "transfer-encoding",
            "x-accel-redirect",
        ];
        match self {
            Self::Known(number) => NAMES[usize::from(*number) % NAMES.len()].into(),
            Self::Other(name) => name.clone(),
        }
    }
}

impl Plan {
    /// All of the body, which only a response in chunks can end before.
    fn body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    fn length(&self) -> Option<u64> {
        let length = self.body().len() as u64;
        match self.way {
            Way::Chunks => None,
            Way::Counted(more) => Some(length.saturating_add_signed(more.into())),
            Way::Whole | Way::File => Some(length),
        }
    }

    fn native(self) -> Response {
        let mut response = Response::new();
        if let Ok(status) = StatusCode::from_u16(self.status) {
            response = response.with_status(status);
        }
        if let Some(reason) = &self.reason {
            response = response.with_reason(reason.clone());
        }
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(&name.bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                response = response.with_header(name, value);
            }
        }
        let whole = self.body();
        response.with_body(match self.way {
            _ if self.fails => self.stream(),
            Way::Whole => Body::from(whole),
            Way::File => Body::file(range(&whole)),
            Way::Chunks | Way::Counted(_) => self.stream(),
        })
    }

    fn stream(self) -> Body {
        let length = self
            .length()
            .filter(|_| matches!(self.way, Way::Counted(_)));
        let chunks = self.chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)));
        let failure: Option<Result<Bytes, BoxError>> = self.fails.then(|| Err("it failed".into()));
        Body::stream(Chunks::of(chunks.chain(failure)), length)
    }

    fn blocking(&self, answer: &mut dyn Answer) -> Result<(), AnswerError> {
        let status = match &self.reason {
            Some(line) if self.status % 2 == 0 => ResponseHead::from_status_line(line),
            reason => ResponseHead::new(self.status, reason.as_deref().unwrap_or(b"OK")),
        };
        let failed = |_| AnswerError::OutOfOrder;
        let mut head = status.map_err(failed)?;
        for (name, value) in &self.headers {
            head.push(&name.bytes(), value).map_err(failed)?;
        }
        if let Some(length) = self.length().filter(|_| !self.fails) {
            head.set_content_length(length);
        }
        let whole = self.body();
        match self.way {
            Way::Whole => answer.begin(head, &whole)?,
            Way::File => {
                answer.begin(head, b"")?;
                answer.send_file(range(&whole))?;
            }
            Way::Chunks | Way::Counted(_) => {
                answer.begin(head, b"")?;
                self.chunks
                    .iter()
                    .try_for_each(|chunk| answer.send(chunk))?;
            }
        }
        if self.fails {
            return Err(AnswerError::OutOfOrder);
        }
        Ok(())
    }
}

fn range(bytes: &[u8]) -> FileRange {
    FileRange::new(file(bytes), 0, bytes.len() as u64)
}

fn router() -> Router {
    let plan = || PLAN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut router = Router::new();
    let answer = move |_: Request| async move { plan().native() };
    router
        .mount("/native", native(answer))
        .expect("a free prefix");
    let answer = move |_: Request, answer: &mut dyn Answer| plan().blocking(answer);
    router
        .mount("/blocking", blocking(answer))
        .expect("a free prefix");
    router
}
