//! A client's wish to go on in another protocol, and the answer that grants it: 101 Switching Protocols.

use std::future::Future;

use http::HeaderValue;

use super::{Environ, Response, Tunnel, Upgraded};

/// A client's wish to go on in another protocol (RFC 9110, section 7.8), which [`Request::upgrade`] finds.
///
/// So an application can answer 101 to a client that has asked for it, and to no other.
///
/// ```
/// use spile::{Request, Response};
/// use http::StatusCode;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// async fn echo(request: Request) -> Response {
///     let Some(upgrade) = request.upgrade("echo") else {
///         return Response::of_status(StatusCode::UPGRADE_REQUIRED);
///     };
///     upgrade.accept(async |mut upgraded| {
///         let mut buffer = [0; 4096];
///         while let Ok(read @ 1..) = upgraded.read(&mut buffer).await {
///             if upgraded.write_all(&buffer[..read]).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
/// # fn is_application(_: impl spile::Application) {}
/// # is_application(echo);
/// ```
///
/// Of the front servers only nginx passes an upgrade on, over HTTP/1.1; behind Apache and lighttpd no client has such a
/// wish. nginx closes both directions as soon as either side has ended its own, and when nothing has come from the application for `uwsgi_read_timeout` (60 s): send
/// something more often than that, such as a websocket's ping.
///
/// [`Request::upgrade`]: super::Request::upgrade
#[derive(Clone, Debug)]
pub struct Upgrade {
    protocol: HeaderValue,
}

impl Upgrade {
    /// The wish for this protocol, if the client has it.
    pub(super) fn of(environ: &Environ, protocol: &str) -> Option<Self> {
        asked(environ)
            .any(|asked| asked.eq_ignore_ascii_case(protocol.as_bytes()))
            .then(|| HeaderValue::from_str(protocol).ok())?
            .map(|protocol| Self { protocol })
    }

    /// Answers 101. The connection is then given to `tunnel`, whose future the server's runtime runs.
    ///
    /// To the server the request is answered with that: logged, counted, and under no time-out. The connection goes on
    /// counting as one of [`Limits::in_flight`](crate::Limits::in_flight) until [`Upgraded`] is dropped, which ends it
    /// cleanly; where a panic drops it, it is reset over TCP.
    ///
    /// When the server stops gracefully the connection is waited for as a request is, and
    /// [`Upgraded::stopping`] tells the application of it. After
    /// [`Limits::graceful_timeout`](crate::Limits::graceful_timeout) the connection is closed and `tunnel`'s future
    /// dropped.
    ///
    /// The request's body has to have been read by then: with some of it still to come the client gets 500. The headers
    /// Connection and Upgrade are the server's to send; others can be added to the response. A body cannot.
    pub fn accept<F, Fut>(self, tunnel: F) -> Response
    where
        F: FnOnce(Upgraded) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Response::switching_protocols(Tunnel::new(self.protocol, tunnel))
    }
}

/// The protocols that the client asks for, in its order; none in a request of HTTP/1.0, without the `upgrade` option in
/// Connection, or behind a front server that would take a 101 for an ordinary response.
pub(super) fn asked(environ: &Environ) -> impl Iterator<Item = &[u8]> {
    let of_1_1 = matches!(environ.get("SERVER_PROTOCOL"), None | Some(b"HTTP/1.1"));
    let has_option =
        || list(environ, "HTTP_CONNECTION").any(|it| it.eq_ignore_ascii_case(b"upgrade"));
    let protocols = list(environ, "HTTP_UPGRADE");
    protocols.filter({
        let asks = of_1_1 && has_option() && !is_behind_another(environ);
        move |_| asks
    })
}

/// Whether Apache or lighttpd has sent the request. They hand the client's wish on and send it the 101, but nothing of
/// what follows. nginx does not name itself.
fn is_behind_another(environ: &Environ) -> bool {
    let software = environ.get("SERVER_SOFTWARE").unwrap_or_default();
    software.starts_with(b"Apache") || software.starts_with(b"lighttpd")
}

/// The members of a header that is a list.
fn list<'a>(environ: &'a Environ, variable: &str) -> impl Iterator<Item = &'a [u8]> {
    let value = environ.get(variable).unwrap_or_default();
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&'static str, &'static str)], protocol: &str) -> bool {
        let mut environ = Environ::default();
        for (name, value) in variables {
            environ.set(*name, *value);
        }
        Upgrade::of(&environ, protocol).is_some()
    }

    #[test]
    fn a_protocol_is_found_where_the_client_asks_for_it() {
        let asks = |upgrade, connection| {
            found(
                &[
                    ("SERVER_PROTOCOL", "HTTP/1.1"),
                    ("HTTP_UPGRADE", upgrade),
                    ("HTTP_CONNECTION", connection),
                ],
                "websocket",
            )
        };
        assert!(asks("websocket", "upgrade"));
        assert!(asks("h2c/2 ,, WebSocket", "keep-alive, Upgrade"));
        assert!(!asks("h2c", "upgrade"));
        assert!(!asks("", "upgrade"));
        assert!(!asks("websockets", "upgrade"));
        assert!(!asks("websocket", "keep-alive"));
        assert!(!asks("websocket", ""));
    }

    #[test]
    fn only_nginx_passes_upgrades_on_and_only_of_http_1_1() {
        let of = |version| {
            found(
                &[
                    ("SERVER_PROTOCOL", version),
                    ("HTTP_UPGRADE", "echo"),
                    ("HTTP_CONNECTION", "upgrade"),
                ],
                "echo",
            )
        };
        assert!(of("HTTP/1.1"));
        assert!(!of("HTTP/1.0") && !of("HTTP/2.0"));
        let behind = |software| {
            found(
                &[
                    ("SERVER_SOFTWARE", software),
                    ("HTTP_UPGRADE", "echo"),
                    ("HTTP_CONNECTION", "upgrade"),
                ],
                "echo",
            )
        };
        assert!(behind("nginx/1.22.1"));
        assert!(!behind("Apache/2.4.71 (Debian)") && !behind("lighttpd/1.4.69"));
        let bare = [("HTTP_UPGRADE", "echo"), ("HTTP_CONNECTION", "upgrade")];
        assert!(found(&bare, "echo"));
        assert!(!found(&bare[..1], "echo"));
    }

    #[test]
    fn another_status_takes_the_connection_back() {
        let mut environ = Environ::default();
        environ.set("HTTP_UPGRADE", "echo");
        environ.set("HTTP_CONNECTION", "upgrade");
        let accepted = || {
            let upgrade = Upgrade::of(&environ, "echo").unwrap();
            upgrade.accept(|_| async {})
        };
        assert!(accepted().take_tunnel().is_some());
        let status = http::StatusCode::FORBIDDEN;
        let mut refused = accepted().with_status(status);
        assert!(refused.take_tunnel().is_none());
        assert_eq!(refused.into_wire().unwrap().0.status(), 403);
    }
}
