use std::io::Write;
use std::time::Duration;

use super::ClientError;
use super::connection::Connection;
use super::response::Response;
use super::upload::{Content, upload};
use crate::address::SocketAddress;
use crate::protocol::{EncodeError, Encoder};

/// A request, with the variables nginx would send for it.
///
/// These are what nginx's `uwsgi_params` has, in its order, except DOCUMENT_ROOT and with HTTP_HOST as
/// Debian's file adds it; then one `HTTP_…` for each header. Like nginx it sends no SCRIPT_NAME.
#[derive(Debug)]
pub struct Request {
    target: String,
    method: Option<String>,
    headers: Vec<(String, String)>,
    vars: Vec<(String, String)>,
    content: Content,
}

impl Request {
    /// Makes a request for a path, with a query if there is one, as it stands in an HTTP request line.
    pub fn new(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            method: None,
            headers: Vec::new(),
            vars: Vec::new(),
            content: Content::None,
        }
    }

    /// Sets the method. Without it: POST if there is a body, else GET.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Adds a header. One that is sent by default (Host, User-Agent, Accept, and Content-Type with a body)
    /// is replaced, and left out if `value` is empty.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets a variable: in place of the one of that name, if there is one, and else at the end.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.vars.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Returns the variables, in the order they are sent.
    pub fn variables(&self) -> Vec<(String, Vec<u8>)> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let path_info: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
        let length = self
            .content
            .len()
            .map(|len| len.to_string())
            .unwrap_or_default();
        let headers = self.all_headers(&length);
        let content_type = headers
            .iter()
            .rev()
            .find(|(name, _)| name == "HTTP_CONTENT_TYPE");
        let content_type = content_type.map_or("", |(_, value)| value);

        let fixed: [(&str, &[u8]); 12] = [
            ("QUERY_STRING", query.as_bytes()),
            ("REQUEST_METHOD", self.method_name().as_bytes()),
            ("CONTENT_TYPE", content_type.as_bytes()),
            ("CONTENT_LENGTH", length.as_bytes()),
            ("REQUEST_URI", self.target.as_bytes()),
            ("PATH_INFO", &path_info),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("REQUEST_SCHEME", b"http"),
            ("REMOTE_ADDR", b"127.0.0.1"),
            ("REMOTE_PORT", b"49152"),
            ("SERVER_PORT", b"80"),
            ("SERVER_NAME", b"localhost"),
        ];
        let mut variables: Vec<(String, Vec<u8>)> = fixed
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
            .collect();
        variables.extend(
            headers
                .into_iter()
                .map(|(name, value)| (name, value.into_bytes())),
        );
        for (name, value) in &self.vars {
            let value = value.as_bytes().to_vec();
            match variables.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = value,
                None => variables.push((name.clone(), value)),
            }
        }
        variables
    }

    /// Returns the packet that is sent before the body.
    ///
    /// # Errors
    ///
    /// When the variables do not fit into one.
    pub fn packet(&self) -> Result<Vec<u8>, EncodeError> {
        Encoder::new().vars(self.variables()).finish()
    }

    /// Sends the request and reads the head of the answer. `timeout` is for the connection, and then for
    /// each wait for the server to take or send something.
    ///
    /// The body is sent from a thread of its own: a server may answer before it has read all of it.
    ///
    /// # Errors
    ///
    /// When there is no connection, or no whole and valid head comes back.
    pub fn send(self, address: &SocketAddress, timeout: Duration) -> Result<Response, ClientError> {
        let packet = self.packet()?;
        let bodiless = self.method_name() == "HEAD";
        let mut connection = Connection::open(address, timeout)?;
        // A server may refuse the packet's first bytes and close; its answer can be read nevertheless.
        let sent = connection.write_all(&packet);
        let upload = match (&sent, self.content.len()) {
            (Ok(()), Some(1..)) => {
                let stream = connection.try_clone().map_err(ClientError::Connection)?;
                Some(upload(self.content, stream))
            }
            _ => None,
        };
        match (Response::read(connection, upload, timeout, bodiless), sent) {
            (Err(ClientError::NoAnswer), Err(error)) => Err(ClientError::Connection(error)),
            (result, _) => result,
        }
    }

    fn method_name(&self) -> &str {
        match (&self.method, &self.content) {
            (Some(method), _) => method,
            (None, Content::None) => "GET",
            (None, _) => "POST",
        }
    }

    /// Headers by their variables' names: the defaults that are not replaced, then those given.
    fn all_headers(&self, length: &str) -> Vec<(String, String)> {
        let given: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (variable(name), value))
            .collect();
        let agent = concat!("spile/", env!("CARGO_PKG_VERSION"));
        let form = if length.is_empty() {
            ""
        } else {
            "application/x-www-form-urlencoded"
        };
        let defaults = [
            ("HTTP_HOST", "localhost"),
            ("HTTP_USER_AGENT", agent),
            ("HTTP_ACCEPT", "*/*"),
            ("HTTP_CONTENT_TYPE", form),
            ("HTTP_CONTENT_LENGTH", length),
        ];
        let is_given = |name: &str| given.iter().any(|(known, _)| known == name);
        let mut headers: Vec<(String, String)> = defaults
            .iter()
            .filter(|(name, value)| !value.is_empty() && !is_given(name))
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let is_default = |name: &str| defaults.iter().any(|(known, _)| *known == name);
        let kept = given
            .iter()
            .filter(|(name, value)| !(value.is_empty() && is_default(name)));
        headers.extend(kept.map(|(name, value)| (name.clone(), (*value).clone())));
        headers
    }
}

/// A header's variable: `HTTP_X_Y` for `X-Y` (RFC 3875, section 4.1.18).
fn variable(header: &str) -> String {
    format!("HTTP_{}", header.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(request: &Request, name: &str) -> Option<String> {
        let found: Vec<_> = request
            .variables()
            .into_iter()
            .filter(|(known, _)| known == name)
            .collect();
        assert!(found.len() < 2, "{name} is sent twice");
        found
            .into_iter()
            .next()
            .map(|(_, value)| String::from_utf8(value).unwrap())
    }

    #[test]
    fn a_path_becomes_nginx_variables() {
        let request = Request::new("/caf%C3%A9/a%2Fb?q=%20x");
        for (name, expected) in [
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/caf%C3%A9/a%2Fb?q=%20x"),
            ("PATH_INFO", "/café/a/b"),
            ("QUERY_STRING", "q=%20x"),
            ("CONTENT_TYPE", ""),
            ("CONTENT_LENGTH", ""),
            ("HTTP_HOST", "localhost"),
        ] {
            assert_eq!(value(&request, name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(value(&request, "SCRIPT_NAME"), None);
        assert_eq!(value(&request, "HTTP_CONTENT_LENGTH"), None);
    }

    #[test]
    fn a_body_makes_a_post_of_a_form() {
        let request = Request::new("/").content(Content::Bytes(b"a=1".to_vec()));
        assert_eq!(value(&request, "REQUEST_METHOD").as_deref(), Some("POST"));
        assert_eq!(value(&request, "CONTENT_LENGTH").as_deref(), Some("3"));
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(value(&request, "CONTENT_TYPE").as_deref(), form);

        let request = request.method("PUT").header("content-type", "text/csv");
        assert_eq!(value(&request, "REQUEST_METHOD").as_deref(), Some("PUT"));
        assert_eq!(value(&request, "CONTENT_TYPE").as_deref(), Some("text/csv"));
        assert_eq!(
            value(&request, "HTTP_CONTENT_TYPE").as_deref(),
            Some("text/csv")
        );
    }

    #[test]
    fn headers_replace_defaults_and_variables_replace_everything() {
        let request = Request::new("/")
            .header("Host", "example.org")
            .header("User-Agent", "")
            .header("X-Empty", "")
            .var("SERVER_NAME", "")
            .var("HTTPS", "on");
        assert_eq!(value(&request, "HTTP_HOST").as_deref(), Some("example.org"));
        assert_eq!(value(&request, "HTTP_USER_AGENT"), None);
        assert_eq!(value(&request, "HTTP_X_EMPTY").as_deref(), Some(""));
        assert_eq!(value(&request, "SERVER_NAME").as_deref(), Some(""));
        assert_eq!(value(&request, "HTTPS").as_deref(), Some("on"));
    }

    #[test]
    fn a_request_too_large_for_a_packet_is_said() {
        let request = Request::new("/").header("X", "a".repeat(65535));
        assert!(matches!(
            request.packet(),
            Err(EncodeError::BlockTooLarge { .. })
        ));
    }
}
