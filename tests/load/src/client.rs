//! The connections.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Options;
use crate::expected;
use crate::report::{Record, Report};

/// What all connections share.
pub(crate) struct Run {
    options: Options,
    stopped: Cell<bool>,
    numbers: Cell<u64>,
    /// When the next request may begin, under `--rate`.
    next: Cell<Instant>,
    record: RefCell<Record>,
}

type Sender = SendRequest<Full<Bytes>>;

impl Run {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            stopped: Cell::new(false),
            numbers: Cell::new(0),
            next: Cell::new(Instant::now()),
            record: RefCell::new(Record::new()),
        }
    }

    /// No request begins after this.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    pub(crate) fn report(&self) -> Report {
        self.record.borrow().report()
    }

    /// One request after another over one connection, which is made anew when it has ended.
    pub(crate) async fn keep_busy(self: Rc<Self>) {
        let mut connection = None;
        loop {
            self.wait_for_turn().await;
            if self.stopped.get() {
                return;
            }
            let number = self.numbers.get();
            self.numbers.set(number + 1);
            let began = Instant::now();
            let limit = Duration::from_secs_f64(self.options.timeout);
            let result = match timeout(limit, self.ask(number, connection.take())).await {
                Ok(Ok(kept)) => {
                    connection = kept;
                    Ok(())
                }
                Ok(Err(kind)) => Err(kind),
                Err(_) => Err("timeout".to_owned()),
            };
            self.record.borrow_mut().add(number, began, result);
        }
    }

    /// Under `--rate` requests begin at even distances. What was missed in a stall is not made up for.
    async fn wait_for_turn(&self) {
        let Some(rate) = self.options.rate else {
            return;
        };
        let turn = self.next.get().max(Instant::now());
        self.next.set(turn + Duration::from_secs_f64(1.0 / rate));
        sleep_until(turn).await;
    }

    /// One request; the connection, if it can be used again.
    async fn ask(&self, number: u64, connection: Option<Sender>) -> Result<Option<Sender>, String> {
        let mut sender = match connection {
            // nginx ends a connection in its own time; that is not the loss of a request.
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        sender.ready().await.map_err(|error| kind_of(&error))?;
        let response = sender
            .send_request(self.request(number))
            .await
            .map_err(|error| kind_of(&error))?;
        let status = response.status();
        let ends = response
            .headers()
            .get(CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| kind_of(&error))?
            .to_bytes();
        if status != StatusCode::OK {
            return Err(format!("status {}", status.as_u16()));
        }
        if !self.options.plain && !expected::is_answer(&body, number, self.options.size) {
            return Err("wrong body".to_owned());
        }
        Ok((!ends && !self.options.close).then_some(sender))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = TcpStream::connect(self.options.address)
            .await
            .map_err(|error| error.kind().to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.kind().to_string())?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| kind_of(&error))?;
        // Its error is also that of the request in it.
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    fn request(&self, number: u64) -> Request<Full<Bytes>> {
        let Options {
            path,
            size,
            post_every,
            close,
            plain,
            ..
        } = &self.options;
        let has_body = !plain && *post_every > 0 && number % post_every == 0;
        let body = if has_body {
            expected::body(number, *size)
        } else {
            Bytes::new()
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = if has_body { Method::POST } else { Method::GET };
        let uri = if *plain {
            path.clone()
        } else {
            format!("{path}?n={number}&size={size}")
        };
        if let Ok(uri) = uri.parse() {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        headers.insert(HOST, hyper::header::HeaderValue::from_static("127.0.0.1"));
        if *close {
            headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
        }
        request
    }
}

/// What went wrong, in a word or two, so that failures can be counted by kind.
fn kind_of(error: &hyper::Error) -> String {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => "reset".to_owned(),
        // hyper's own way to say that a body ended early.
        Some(ErrorKind::UnexpectedEof) => "incomplete".to_owned(),
        Some(kind) => kind.to_string(),
        None if error.is_incomplete_message() => "incomplete".to_owned(),
        None => error.to_string(),
    }
}
