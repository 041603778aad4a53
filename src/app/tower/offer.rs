//! hyper's `OnUpgrade` for tower services, such as those with axum's `WebSocketUpgrade`.
//!
//! Only a connection of hyper's makes one. So hyper serves a request here that always gets 101, over a transport in
//! memory, before the service is called. The transport becomes the client's connection when the service's own 101 has
//! been sent; until then reads and writes wait for that.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::Empty;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot},
};

use crate::app::{Body, Environ, Response, Upgrade, Upgraded, upgrade::asked};

/// An upgrade that a service may make use of.
pub(super) struct Offer {
    environ: Environ,
    hand_over: oneshot::Sender<Upgraded>,
}

impl Offer {
    /// Adds to a request what a service needs for an upgrade, if the client asks for one.
    pub(super) async fn add_to(request: &mut http::Request<Body>) -> Option<Self> {
        let environ = request.extensions().get::<Environ>()?;
        asked(environ).next()?;
        let environ = environ.clone();
        let (hand_over, connection) = oneshot::channel();
        let on_upgrade = on_upgrade(connection).await?;
        request.extensions_mut().insert(on_upgrade);
        // Other options of the client's concern its connection to the front server.
        let option = HeaderValue::from_static("upgrade");
        request.headers_mut().insert(header::CONNECTION, option);
        Some(Self { environ, hand_over })
    }

    /// The server's response for a service's 101.
    pub(super) fn accept(self, headers: HeaderMap) -> Response {
        let protocol = headers.get(header::UPGRADE);
        let upgrade = protocol
            .and_then(|protocol| protocol.to_str().ok())
            .and_then(|protocol| Upgrade::of(&self.environ, protocol));
        let Some(upgrade) = upgrade else {
            tracing::error!(
                ?protocol,
                "the application answered 101 for a protocol that the client has not asked for: answered with 500"
            );
            return Response::of_status(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let hand_over = self.hand_over;
        let accepted = upgrade.accept(async move |upgraded| {
            // A service that has dropped its end does not want the connection, which is closed then.
            let _ = hand_over.send(upgraded);
        });
        let ours = [header::CONNECTION, header::UPGRADE];
        headers
            .iter()
            .filter(|(name, _)| !ours.contains(name))
            .fold(accepted, |response, (name, value)| {
                response.with_header(name.clone(), value.clone())
            })
    }
}

/// An upgrade that hyper has made, of a connection that comes later.
async fn on_upgrade(connection: oneshot::Receiver<Upgraded>) -> Option<OnUpgrade> {
    let is_made = Arc::new(AtomicBool::new(false));
    let transport = Later {
        request: REQUEST,
        is_made: is_made.clone(),
        connection: Connection::Awaited(connection),
        waiting: Arc::default(),
    };
    let (give, mut made) = mpsc::unbounded_channel();
    let switching = service_fn(move |request: http::Request<Incoming>| {
        let _ = give.send(hyper::upgrade::on(request));
        let mut response = http::Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(transport), switching)
        .with_upgrades()
        .await;
    is_made.store(true, Ordering::Release);
    match served {
        Ok(()) => made.try_recv().ok(),
        Err(error) => {
            tracing::error!(%error, "hyper makes no upgrade of a connection");
            None
        }
    }
}

/// What hyper is asked.
const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: any\r\n\r\n";

/// A transport that is a request at first, and a client's connection later.
struct Later {
    /// What is still to be read of the request.
    request: &'static [u8],
    /// The response has been written, which nobody reads.
    is_made: Arc<AtomicBool>,
    connection: Connection,
    waiting: Arc<Waiting>,
}

enum Connection {
    Awaited(oneshot::Receiver<Upgraded>),
    Open(Upgraded),
    /// The service has not answered 101, or its answer did not reach the client.
    Never,
}

impl Later {
    /// The connection, once it is there.
    fn poll_connection(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
    ) -> Poll<io::Result<Pin<&mut Upgraded>>> {
        if let Connection::Awaited(awaited) = &mut self.connection {
            self.waiting.put(side, context.waker());
            let both = Waker::from(self.waiting.clone());
            let handed_over = ready!(Pin::new(awaited).poll(&mut Context::from_waker(&both)));
            self.connection = handed_over.map_or(Connection::Never, Connection::Open);
        }
        Poll::Ready(match &mut self.connection {
            Connection::Open(upgraded) => Ok(Pin::new(upgraded)),
            _ => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the request was not answered with 101 Switching Protocols",
            )),
        })
    }

    fn is_made(&self) -> bool {
        self.is_made.load(Ordering::Acquire)
    }
}

impl AsyncRead for Later {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.request.is_empty() {
            let (part, rest) = self
                .request
                .split_at(self.request.len().min(buffer.remaining()));
            buffer.put_slice(part);
            self.request = rest;
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_connection(context, Side::Reader))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Later {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_made() {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_connection(context, Side::Writer))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_made() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_connection(context, Side::Writer))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_made() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_connection(context, Side::Writer))?.poll_shutdown(context)
    }
}

/// Who waits for the connection.
#[derive(Clone, Copy)]
enum Side {
    Reader,
    Writer,
}

/// Wakes the tasks of both sides, which need not be the same.
#[derive(Default)]
struct Waiting {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Waiting {
    fn put(&self, side: Side, waker: &Waker) {
        let place = match side {
            Side::Reader => &self.reader,
            Side::Writer => &self.writer,
        };
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        for side in [&self.reader, &self.writer] {
            let waker = side.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
