//! An axum application behind nginx's `uwsgi_pass`, mounted at `/rust`.
//!
//! ```text
//! cargo run --example axum -- unix:/tmp/axum.sock
//!
//! # nginx
//! location /rust/ { include uwsgi_params; uwsgi_pass unix:/tmp/axum.sock; }
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use spile::{Environ, Server};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/", get(hello))
        .route("/count", post(count))
        .route("/echo", post(echo))
        .route("/time", get(time))
        .route("/vars", get(vars))
        .layer(DefaultBodyLimit::max(10 << 20));
    let socket = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:3031".to_owned());
    Server::new()
        .bind(&socket)?
        .mount("/rust", spile::tower(app))
        .serve()
        .await?;
    Ok(())
}

/// What reached the application, for people.
async fn hello(Extension(environ): Extension<Environ>) -> Html<String> {
    let mut page = String::from(PAGE);
    for (name, value) in shown(&environ) {
        // Writing to a String cannot fail.
        let _ = write!(page, "<tr><th>{}<td>{}", escape(&name), escape(&value));
    }
    Html(page + "</table></html>\n")
}

/// The body sent back. It is read whole first: once a response has begun, nginx sends no more of the request.
async fn echo(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let content_type = headers.get(header::CONTENT_TYPE).cloned();
    (
        content_type.map(|value| [(header::CONTENT_TYPE, value)]),
        body,
    )
}

/// The length of a body of any size, read piece by piece.
async fn count(body: Body) -> Result<String, StatusCode> {
    let mut pieces = body.into_data_stream();
    let (mut bytes, mut count) = (0, 0);
    while let Some(piece) = pieces.next().await {
        bytes += piece.map_err(|_| StatusCode::BAD_REQUEST)?.len();
        count += 1;
    }
    Ok(format!("{bytes} bytes in {count} pieces\n"))
}

/// Five lines, one every half second: a body without an end known beforehand.
async fn time() -> impl IntoResponse {
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(500)));
    let lines = ticks.take(5).map(|_| {
        let now = httpdate::fmt_http_date(SystemTime::now());
        Ok::<_, Infallible>(now + "\n")
    });
    (
        [(header::CONTENT_TYPE, "text/plain")],
        Body::from_stream(lines),
    )
}

/// What reached the application, for programs.
async fn vars(Extension(environ): Extension<Environ>) -> Json<BTreeMap<String, String>> {
    Json(shown(&environ))
}

/// Variables are bytes; what is not UTF-8 is shown as U+FFFD.
fn shown(environ: &Environ) -> BTreeMap<String, String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    environ
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>axum behind spile</title>
<style>
  :root { color-scheme: light dark; }
  body { margin: 0 auto; max-width: 56rem; padding: 2.5rem 1.25rem; font: 1rem/1.55 system-ui, sans-serif; }
  a { color: light-dark(#8a4b14, #e0a365); }
  th { padding-right: 1.5rem; text-align: left; vertical-align: top; white-space: nowrap; }
  td { overflow-wrap: anywhere; }
  th, td { font: .85rem/1.7 ui-monospace, monospace; }
</style>
<p><a href="/">spile's demo</a> / Rust</p>
<h1>Hello from axum</h1>
<p>See also <a href="time">the time</a>, which arrives line by line, and <a href="vars">these
variables as JSON</a>.</p>
<table>
"#;
