//! Tower services as applications.

#[cfg(feature = "upgrade")]
mod offer;

use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, percent_encode};
use tower_service::Service;

use super::{Application, Body, BoxError, BoxFuture, Environ, Request, Response};

/// Serves a tower service, such as an axum `Router`.
///
/// The service sees an [`http::Request`] whose path is PATH_INFO (the path below the mount, as the front server
/// normalised it) with the query string, and whose extensions hold the [`Environ`], which knows the client's scheme
/// ([`Environ::url_scheme`]). A service error is a 500.
///
/// With the feature `upgrade`, a request that asks for another protocol has hyper's `OnUpgrade` among its extensions,
/// so axum's `WebSocketUpgrade` works. [`Upgrade`](super::Upgrade) says what becomes of such a connection; a service
/// that drops hyper's `Upgraded` ends it.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use spile::{Environ, Server};
///
/// async fn who(Extension(environ): Extension<Environ>) -> String {
///     format!("you are {}\n", environ.text("REMOTE_ADDR").unwrap_or("unknown"))
/// }
///
/// let server = Server::new().mount("/", spile::tower(Router::new().route("/", get(who))));
/// ```
pub fn tower<S>(service: S) -> Tower<S> {
    Tower { service }
}

/// A tower service as an [`Application`]: see [`tower()`].
#[derive(Clone, Debug)]
pub struct Tower<S> {
    service: S,
}

impl<S, B> Application for Tower<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + 'static,
{
    fn call(&self, request: Request) -> BoxFuture<Response> {
        let mut service = self.service.clone();
        Box::pin(async move {
            #[cfg_attr(not(feature = "upgrade"), expect(unused_mut))]
            let mut request = match request.into_http() {
                Ok(request) => request,
                Err(error) => {
                    // The client's fault: it can say so as often as it likes.
                    tracing::debug!(%error, "the request is not valid HTTP");
                    return Response::of_status(StatusCode::BAD_REQUEST);
                }
            };
            #[cfg(feature = "upgrade")]
            let offer = offer::Offer::add_to(&mut request).await;
            if let Err(error) = poll_fn(|context| service.poll_ready(context))
                .await
                .map_err(Into::into)
            {
                return Err::<Response, BoxError>(error).into();
            }
            let answer = service.call(request).await;
            #[cfg(feature = "upgrade")]
            if let (Some(offer), Ok(response)) = (offer, &answer) {
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return offer.accept(response.headers().clone());
                }
            }
            answer.map_err(Into::into).into()
        })
    }
}

impl Request {
    /// Returns the request in the `http` crate's terms, with the variables among its extensions, as a tower service
    /// gets it: see [`tower()`].
    ///
    /// ```
    /// use spile::{Body, Environ, Request};
    ///
    /// let mut environ = Environ::default();
    /// environ.set("PATH_INFO", "/a b");
    /// environ.set("HTTP_X_ID", "7");
    /// let request = Request::new(environ, Body::empty()).into_http()?;
    /// assert_eq!(request.uri(), "/a%20b");
    /// assert_eq!(request.headers()["x-id"], "7");
    /// # Ok::<(), http::Error>(())
    /// ```
    ///
    /// # Errors
    /// The method, the path or a header is one that HTTP does not allow.
    pub fn into_http(self) -> Result<http::Request<Body>, http::Error> {
        let (environ, body) = self.into_parts();
        let mut built = http::Request::builder()
            .method(Method::from_bytes(
                environ.text("REQUEST_METHOD").unwrap_or("GET").as_bytes(),
            )?)
            .uri(uri(&environ)?)
            .version(match environ.get("SERVER_PROTOCOL") {
                Some(b"HTTP/1.0") => Version::HTTP_10,
                Some(b"HTTP/2.0") => Version::HTTP_2,
                Some(b"HTTP/3.0") => Version::HTTP_3,
                _ => Version::HTTP_11,
            });
        for (variable, value) in &environ {
            match header_name(variable, value) {
                Some(name) if is_said_otherwise(&environ, variable, &name) => {}
                Some(name) => built = built.header(name, HeaderValue::from_bytes(value)?),
                None => {}
            }
        }
        built.extension(environ).body(body)
    }
}

/// Tells whether the variable is a spelling that no front server has, of a header that has come as usual: it would make
/// a second header of it, which only looks like the client's.
fn is_said_otherwise(environ: &Environ, variable: &[u8], header: &HeaderName) -> bool {
    let is_usual = |byte: &u8| !byte.is_ascii_lowercase() && *byte != b'-';
    !variable.iter().all(is_usual) && environ.get(variable_of(header)).is_some()
}

/// A header's CGI variable.
fn variable_of(header: &HeaderName) -> String {
    let name = header.as_str().to_ascii_uppercase().replace('-', "_");
    format!("HTTP_{name}")
}

/// Returns the header that a CGI variable was made of. `None` if it is no header, or a hop-by-hop one of the client's
/// connection to the front server.
fn header_name(variable: &[u8], value: &[u8]) -> Option<HeaderName> {
    let name = match variable {
        b"CONTENT_TYPE" | b"CONTENT_LENGTH" if value.is_empty() => return None,
        b"CONTENT_TYPE" => return Some(http::header::CONTENT_TYPE),
        b"CONTENT_LENGTH" => return Some(http::header::CONTENT_LENGTH),
        b"HTTP_HOST" => return Some(http::header::HOST),
        _ => variable.strip_prefix(b"HTTP_")?,
    };
    let dashed: Vec<u8> = name
        .iter()
        .map(|&byte| if byte == b'_' { b'-' } else { byte })
        .collect();
    // Whatever the variable's spelling: it is lower case from here on.
    let name = HeaderName::from_bytes(&dashed).ok()?;
    (!OF_THE_CONNECTION.contains(&name.as_str())).then_some(name)
}

/// Headers between the client and the front server.
const OF_THE_CONNECTION: [&str; 5] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Where the path below the mount and the query lead. QUERY_STRING is as the client has sent it: only what no query can
/// hold is encoded.
fn uri(environ: &Environ) -> Result<Uri, http::Error> {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
    let path = environ.get("PATH_INFO").unwrap_or_default();
    let mut target = String::with_capacity(path.len() + 1);
    if !path.starts_with(b"/") {
        target.push('/');
    }
    target.extend(encoded(path));
    let query = environ.get("QUERY_STRING").unwrap_or_default();
    if !query.is_empty() {
        target.push('?');
        target.extend(percent_encode(query, ENCODED));
    }
    Ok(Uri::from_maybe_shared(Bytes::from(target))?)
}

/// A path that was decoded, such as PATH_INFO, with whatever a path cannot hold encoded again (RFC 3986, section 3.3).
pub(super) fn encoded(path: &[u8]) -> PercentEncode<'_> {
    const ENCODED: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'`')
        .add(b'{')
        .add(b'}');
    percent_encode(path, ENCODED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&'static str, &'static str)]) -> http::Request<Body> {
        let mut environ = Environ::default();
        for (name, value) in pairs {
            environ.set(*name, *value);
        }
        Request::new(environ, Body::empty()).into_http().unwrap()
    }

    #[test]
    fn the_path_is_encoded_again_and_keeps_its_query() {
        let request = request(&[
            ("PATH_INFO", "/a b/ü%"),
            ("QUERY_STRING", "q=%20"),
            ("SCRIPT_NAME", "/mount"),
        ]);
        assert_eq!(request.uri(), "/a%20b/%C3%BC%25?q=%20");
        assert_eq!(
            request
                .extensions()
                .get::<Environ>()
                .unwrap()
                .text("SCRIPT_NAME"),
            Some("/mount")
        );
    }

    #[test]
    fn what_no_query_can_hold_is_encoded() {
        let request = request(&[
            ("PATH_INFO", "/"),
            ("QUERY_STRING", "a=<b>&c=\"%20 é{|}\\^`[]'"),
        ]);
        assert_eq!(request.uri(), "/?a=%3Cb%3E&c=%22%20%20%C3%A9{|}\\^`[]'");
    }

    #[test]
    fn another_spelling_adds_nothing_to_a_header() {
        let request = request(&[
            ("HTTP_X_REAL_IP", "192.0.2.1"),
            ("HTTP_x_real_ip", "::1"),
            ("HTTP_X-REAL-IP", "::1"),
            // As uwsgi_curl has it.
            ("HTTP_USER-AGENT", "curl"),
        ]);
        let values: Vec<_> = request.headers().get_all("x-real-ip").iter().collect();
        assert_eq!(values, ["192.0.2.1"]);
        assert_eq!(request.headers()["user-agent"], "curl");
    }

    #[test]
    fn variables_become_headers_but_for_those_of_the_connection() {
        let request = request(&[
            ("PATH_INFO", ""),
            ("CONTENT_TYPE", ""),
            ("CONTENT_LENGTH", "3"),
            ("HTTP_X_FORWARDED_FOR", "::1"),
            ("HTTP_TRANSFER_ENCODING", "chunked"),
            ("HTTP_Transfer-Encoding", "chunked"),
            ("HTTP_CONNECTION", "close"),
            ("REMOTE_ADDR", "::1"),
        ]);
        assert_eq!(request.uri(), "/");
        assert_eq!(request.headers()["x-forwarded-for"], "::1");
        assert_eq!(request.headers()["content-length"], "3");
        assert_eq!(request.headers().len(), 2);
    }
}
