//! A response as an application gives it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{Body, BoxError, Tunnel, UnfinishedBody};
use crate::protocol::{HeadError, ResponseHead};

/// A status, headers in order with repeats, and a body.
///
/// ```
/// use spile::Response;
/// use http::{HeaderValue, StatusCode, header};
///
/// let response = Response::text("moved\n")
///     .with_status(StatusCode::FOUND)
///     .with_header(header::LOCATION, HeaderValue::from_static("/elsewhere"));
/// assert_eq!(response.status(), StatusCode::FOUND);
/// ```
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    reason: Option<Bytes>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
    /// What takes the connection over; only with 101.
    tunnel: Option<Box<Tunnel>>,
}

impl Response {
    /// Makes an empty response with status 200.
    #[must_use]
    pub fn new() -> Self {
        Self {
            status: StatusCode::OK,
            reason: None,
            headers: Vec::new(),
            body: Body::empty(),
            tunnel: None,
        }
    }

    /// Makes a 101 after which the connection is the tunnel's.
    pub(super) fn switching_protocols(tunnel: Tunnel) -> Self {
        Self {
            status: StatusCode::SWITCHING_PROTOCOLS,
            tunnel: Some(Box::new(tunnel)),
            ..Self::new()
        }
    }

    /// Makes a response with status 200 of plain UTF-8 text.
    pub fn text(text: impl Into<Body>) -> Self {
        Self::new()
            .with_type("text/plain; charset=utf-8")
            .with_body(text)
    }

    /// Makes a response with status 200 of HTML.
    pub fn html(html: impl Into<Body>) -> Self {
        Self::new()
            .with_type("text/html; charset=utf-8")
            .with_body(html)
    }

    /// Makes a response with this status and its usual reason as the text, as for errors.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or("Unknown");
        Self::text(format!("{} {reason}\n", status.as_u16())).with_status(status)
    }

    /// Changes the status. With any other than its own, the answer of [`Upgrade::accept`](super::Upgrade::accept)
    /// becomes an ordinary one, and the connection stays the server's.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            self.tunnel = None;
        }
        self.status = status;
        self
    }

    /// Gives a reason phrase other than the usual one. One with control characters makes the server answer
    /// 500 instead.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<Bytes>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds a header after those already there. Hop-by-hop headers are left out when the response is
    /// written, because they are the server's; the log says so once for each application.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Changes the body. Its length, if known, becomes the Content-Length unless a header says one.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers in order.
    #[must_use]
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Returns the first value of a header.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Returns the head as it goes on the wire, and the body.
    ///
    /// # Errors
    /// A reason phrase with control characters, Content-Length headers that contradict, or 101: what follows that is
    /// no body.
    pub fn into_wire(self) -> Result<(ResponseHead, Body), HeadError> {
        self.into_wire_for(false)
    }

    /// As [`Response::into_wire`]; an empty body in answer to a HEAD says nothing of the length that a GET would
    /// have (RFC 9110, section 8.6).
    ///
    /// # Errors
    /// As [`Response::into_wire`].
    pub fn into_wire_for(self, head_only: bool) -> Result<(ResponseHead, Body), HeadError> {
        if self.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(HeadError::SwitchingProtocols);
        }
        let usual = self
            .status
            .canonical_reason()
            .unwrap_or("Unknown")
            .as_bytes();
        let mut head = ResponseHead::new(
            self.status.as_u16(),
            self.reason.as_deref().unwrap_or(usual),
        )?;
        self.push_headers(&mut head)?;
        if head.allows_body() {
            let length = self.body.length();
            if let Some(length) = length.filter(|&length| length > 0 || !head_only) {
                head.set_content_length(length);
            }
        }
        Ok((head, self.body))
    }

    /// Takes out what is to have the connection after this response.
    pub(crate) fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    /// Returns the head of the 101 that hands the connection over to a tunnel.
    ///
    /// # Errors
    /// As [`Response::into_wire`].
    pub(crate) fn switching_head(&self, tunnel: &Tunnel) -> Result<ResponseHead, HeadError> {
        let mut head = ResponseHead::switching_protocols(tunnel.protocol())?;
        self.push_headers(&mut head)?;
        Ok(head)
    }

    fn push_headers(&self, head: &mut ResponseHead) -> Result<(), HeadError> {
        for (name, value) in &self.headers {
            head.push(name.as_str().as_bytes(), value.as_bytes())?;
        }
        Ok(())
    }

    fn with_type(self, kind: &'static str) -> Self {
        self.with_header(header::CONTENT_TYPE, HeaderValue::from_static(kind))
    }
}

impl Default for Response {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&'static str> for Response {
    fn from(text: &'static str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Response {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<StatusCode> for Response {
    fn from(status: StatusCode) -> Self {
        Self::of_status(status)
    }
}

/// An error becomes a 500, and its text goes to the log, not to the client. Where it is that the client has not sent
/// all of its body, it becomes what [`UnfinishedBody::status`] says.
impl<T: Into<Response>, E: Into<BoxError>> From<Result<T, E>> for Response {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(answer) => answer.into(),
            Err(error) => {
                let error = error.into();
                if let Some(unfinished) = UnfinishedBody::behind(&*error) {
                    tracing::debug!(%error, "the application could not read the request");
                    return Self::of_status(unfinished.status());
                }
                tracing::error!(%error, "the application failed");
                Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

impl<B> From<http::Response<B>> for Response
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + 'static,
{
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let mut headers = Vec::with_capacity(parts.headers.len());
        let mut last = None;
        for (name, value) in parts.headers {
            // A HeaderMap gives the name once for all of its values.
            last = name.or(last);
            if let Some(name) = &last {
                headers.push((name.clone(), value));
            }
        }
        Self {
            status: parts.status,
            reason: None,
            headers,
            body: Body::from_http(body),
            tunnel: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_repeats() {
        let cookie = |value| (header::SET_COOKIE, HeaderValue::from_static(value));
        let mut response = Response::text("x").with_reason("Fine");
        for (name, value) in [
            cookie("a=1"),
            (header::VARY, HeaderValue::from_static("Accept")),
            cookie("b=2"),
        ] {
            response = response.with_header(name, value);
        }
        let (head, _) = response.into_wire().unwrap();
        assert_eq!(
            String::from_utf8(head.into_bytes()).unwrap(),
            "HTTP/1.1 200 Fine\r\ncontent-type: text/plain; charset=utf-8\r\nset-cookie: a=1\r\nvary: Accept\r\n\
             set-cookie: b=2\r\nContent-Length: 1\r\n\r\n"
        );
    }

    #[test]
    fn a_reason_cannot_split_the_response() {
        let response = Response::new().with_reason("OK\r\nSet-Cookie: a=1");
        assert_eq!(
            response.into_wire().unwrap_err(),
            HeadError::Reason { at: 2 }
        );
    }
}
