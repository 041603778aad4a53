//! `echo://`, what arrived.

use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use crate::app::{Body, BoxError, Environ, Request, Response};

/// The largest body shown, in bytes; the rest is counted only.
const SHOWN: usize = 64 * 1024;

/// Answers with the variables and the body that arrived: as text or, when the client accepts
/// `application/json` or asks for `?format=json`, as JSON. Shows 64 KiB of the body and counts the rest.
pub async fn echo(request: Request) -> Result<Response, BoxError> {
    let (environ, body) = request.into_parts();
    let wants_json = environ
        .text("QUERY_STRING")
        .is_some_and(|query| query.split('&').any(|it| it == "format=json"))
        || environ
            .text("HTTP_ACCEPT")
            .is_some_and(|accepted| accepted.contains("application/json"));
    let (shown, length) = read(body).await?;
    Ok(if wants_json {
        as_json(&environ, &shown, length)
    } else {
        as_text(&environ, &shown, length)
    })
}

/// Returns the first bytes of the body, and how many there are in all.
async fn read(mut body: Body) -> Result<(Vec<u8>, usize), BoxError> {
    let (mut shown, mut length) = (Vec::new(), 0);
    while let Some(chunk) = body.chunk().await {
        let chunk = chunk?;
        length += chunk.len();
        shown.extend(chunk.iter().take(SHOWN.saturating_sub(shown.len())));
    }
    Ok((shown, length))
}

fn as_text(environ: &Environ, body: &[u8], length: usize) -> Response {
    let mut text = Vec::new();
    for (name, value) in environ {
        text.extend_from_slice(name);
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{length} bytes of body\n").as_bytes());
    text.extend_from_slice(body);
    Response::text(text)
}

fn as_json(environ: &Environ, body: &[u8], length: usize) -> Response {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
    let variables: Map<String, Value> = environ
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), text(value)))
        .collect();
    let answer = json!({ "variables": variables, "body": text(body), "body_length": length });
    Response::new()
        .with_header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )
        .with_body(format!("{answer:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &'static str) -> Request {
        let mut environ = Environ::default();
        environ.set("PATH_INFO", "/x");
        environ.set("QUERY_STRING", query);
        Request::new(environ, Body::from(vec![b'a'; SHOWN + 1]))
    }

    #[tokio::test]
    async fn it_shows_the_start_of_a_large_body_and_counts_the_rest() {
        let answer = echo(request("format=json")).await.unwrap();
        let (_, body) = answer.into_wire().unwrap();
        let said: Value =
            serde_json::from_slice(&body.read_to_end(1 << 20).await.unwrap()).unwrap();
        assert_eq!(said["variables"]["PATH_INFO"], "/x");
        assert_eq!(said["body_length"], SHOWN + 1);
        assert_eq!(said["body"].as_str().unwrap().len(), SHOWN);
    }

    #[tokio::test]
    async fn it_is_plain_text_by_default() {
        let answer = echo(request("")).await.unwrap();
        assert_eq!(answer.headers()[0].1, "text/plain; charset=utf-8");
    }
}
