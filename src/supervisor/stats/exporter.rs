//! `--metrics`: Prometheus is answered here, over HTTP.

use std::{convert::Infallible, io, os::fd::AsFd, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::control::{self, Asked};
use crate::{
    address::SocketAddress,
    observe::prometheus::{self, Exposition},
    server::Listener,
};

/// Connections at the same time; the kernel keeps the next until one has gone.
const MOST_CONNECTIONS: usize = 16;

/// How long the head of a request may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// How long a whole connection may take, which is one request: a client that takes the answer slowly is left.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for descriptors, when there are none.
const NO_DESCRIPTORS: Duration = Duration::from_millis(100);

/// Answers at this socket for as long as the future is polled. It asks the master for the figures.
///
/// # Errors
/// The reactor does not take the socket.
pub(in crate::supervisor) fn serve(
    listener: &Listener,
    master: mpsc::Sender<Asked>,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let fd = listener.as_fd().try_clone_to_owned()?;
    let socket = match listener.address() {
        SocketAddress::Unix(_) => Socket::Unix(UnixListener::from_std(fd.into())?),
        SocketAddress::Tcp(..) => Socket::Tcp(TcpListener::from_std(fd.into())?),
    };
    Ok(async move {
        let mut connections = JoinSet::new();
        loop {
            match &socket {
                Socket::Unix(socket) => {
                    let (stream, _) = next(&mut connections, || socket.accept()).await;
                    connections.spawn(answer(stream, master.clone()));
                }
                Socket::Tcp(socket) => {
                    let (stream, _) = next(&mut connections, || socket.accept()).await;
                    connections.spawn(answer(stream, master.clone()));
                }
            }
        }
    })
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// The next connection, when there is room for it.
async fn next<T, F>(connections: &mut JoinSet<()>, accept: impl Fn() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        tokio::select! {
            accepted = accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok(accepted) => return accepted,
                Err(_) => sleep(NO_DESCRIPTORS).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection, with one request.
async fn answer<S>(stream: S, master: mpsc::Sender<Asked>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let master = &master;
        async move { Ok::<_, Infallible>(respond(&request, master).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever is not understood, is too slow or has gone has had what there is to say.
    let _ = timeout(PATIENCE, connection).await;
}

async fn respond<B>(request: &Request<B>, master: &mpsc::Sender<Asked>) -> Response<Full<Bytes>> {
    let mut response = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => return metrics(request, master).await,
        ("/metrics", _) => said(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD alone\n"),
        _ => said(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

async fn metrics<B>(request: &Request<B>, master: &mpsc::Sender<Asked>) -> Response<Full<Bytes>> {
    let accept = request.headers().get_all(header::ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
    let exposition = Exposition::accepted(&accept.join(","));
    let Some(stats) = control::stats(master).await else {
        let what = "the server is stopping, or hangs\n";
        return said(StatusCode::SERVICE_UNAVAILABLE, what);
    };
    match prometheus::text(stats, exposition) {
        Ok(text) => {
            let mut response = Response::new(Full::new(text.into()));
            let kind = header::HeaderValue::from_static(exposition.content_type());
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be written\n"),
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::observe::stats::Stats;

    async fn respond_to(
        method: &str,
        path: &str,
        up: bool,
    ) -> (StatusCode, String, Option<String>) {
        let (asked, mut requests) = mpsc::channel(1);
        let master = tokio::spawn(async move {
            while let Some(Asked::Stats(answer)) = requests.recv().await {
                if up {
                    answer.send(Stats::default()).unwrap();
                }
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let response = respond(&request, &asked).await;
        drop(asked);
        master.await.unwrap();
        let status = response.status();
        let allow = response.headers().get("Allow");
        let allow = allow.map(|value| value.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap(), allow)
    }

    #[tokio::test]
    async fn only_the_metrics_are_there_and_only_to_be_read() {
        let (status, body, _) = respond_to("GET", "/metrics?x", true).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("spile_uptime_seconds 0"), "{body}");
        assert_eq!(respond_to("GET", "/", true).await.0, StatusCode::NOT_FOUND);
        let (status, _, allow) = respond_to("POST", "/metrics", true).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(allow.unwrap(), "GET, HEAD");
    }

    #[tokio::test]
    async fn a_master_that_does_not_say_is_unavailable() {
        let (status, ..) = respond_to("GET", "/metrics", false).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
