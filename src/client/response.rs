use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::ClientError;
use super::connection::Connection;
use super::upload::Upload;

/// An answer whose head has come, and whose body is still to be read.
pub struct Response {
    connection: Connection,
    upload: Option<Upload>,
    timeout: Duration,
    head: Vec<u8>,
    status: u16,
    reason: String,
    headers: Vec<(String, Vec<u8>)>,
    /// What came after the head in the same reads.
    buffered: Vec<u8>,
    length: Length,
}

/// How the body's end is known.
#[derive(Clone, Copy)]
enum Length {
    /// There are so many bytes.
    Exactly(u64),
    /// The connection ends.
    UntilEnd,
}

impl Response {
    /// The longest head taken, in bytes, with those of the interim answers (1xx) before it.
    pub const MAX_HEAD: usize = 64 * 1024;

    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the reason phrase; may be empty.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Returns the first header of that name, which may be in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns the head as it came, with the empty line at its end.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// As [`copy_to`](Self::copy_to).
    pub fn body(self) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        self.copy_to(&mut body)?;
        Ok(body)
    }

    /// Writes the body to `out` as it comes, and returns how many bytes there were.
    ///
    /// # Errors
    ///
    /// When the body is not exactly as long as Content-Length says (or 0 bytes where the method or the status
    /// allows none), the connection is reset or nothing comes for too long, the request's own body could not be
    /// read, or `out` does not take it.
    pub fn copy_to(mut self, out: &mut impl Write) -> Result<u64, ClientError> {
        let copied = self.copy(out);
        // Ends the upload, if the server answered without reading it all.
        self.connection.shutdown(Shutdown::Both);
        if let Some(Ok(Err(error))) = self.upload.take().map(Upload::join) {
            return Err(ClientError::Content(error));
        }
        copied
    }

    pub(super) fn read(
        mut connection: Connection,
        upload: Option<Upload>,
        timeout: Duration,
        bodiless: bool,
    ) -> Result<Self, ClientError> {
        let mut bytes = Vec::new();
        let mut skipped = 0;
        loop {
            let head = Head::parse(&bytes)?;
            if let Some(head) = head {
                if head.is_interim() {
                    bytes.drain(..head.len);
                    skipped += head.len;
                    continue;
                }
                let length = head.length(bodiless)?;
                let buffered = bytes.split_off(head.len);
                let Head {
                    status,
                    reason,
                    headers,
                    ..
                } = head;
                return Ok(Self {
                    connection,
                    upload,
                    timeout,
                    head: bytes,
                    status,
                    reason,
                    headers,
                    buffered,
                    length,
                });
            }
            if skipped + bytes.len() > Self::MAX_HEAD {
                return Err(ClientError::HeadTooLarge {
                    limit: Self::MAX_HEAD,
                });
            }
            let received = bytes.len() as u64;
            match read_some(&mut connection, &mut bytes) {
                Ok(0) if bytes.is_empty() => return Err(ClientError::NoAnswer),
                Ok(0) => return Err(ClientError::HeadCutShort { received }),
                Ok(_) => {}
                Err(error) if is_reset(&error) && bytes.is_empty() => {
                    return Err(ClientError::NoAnswer);
                }
                Err(error) if is_reset(&error) => {
                    return Err(ClientError::HeadCutShort { received });
                }
                Err(error) => return Err(failed(error, timeout, received)),
            }
        }
    }

    fn copy(&mut self, out: &mut impl Write) -> Result<u64, ClientError> {
        let mut chunk = std::mem::take(&mut self.buffered);
        let mut received = 0;
        loop {
            let room = match self.length {
                Length::Exactly(expected) => expected - received,
                Length::UntilEnd => u64::MAX,
            };
            let wanted = usize::try_from(room).map_or(chunk.len(), |room| room.min(chunk.len()));
            let part = chunk.get(..wanted).unwrap_or_default();
            // At once: what streams should be seen to stream.
            out.write_all(part)
                .and_then(|()| out.flush())
                .map_err(ClientError::Output)?;
            received += part.len() as u64;
            if let Length::Exactly(expected) = self.length {
                if chunk.len() > wanted {
                    return Err(ClientError::BodyTooLong { expected });
                }
                if received == expected {
                    return self.expect_end(expected);
                }
            }
            chunk.clear();
            match (read_some(&mut self.connection, &mut chunk), self.length) {
                (Ok(0), Length::UntilEnd) => return Ok(received),
                (Ok(0), Length::Exactly(expected)) => {
                    return Err(ClientError::BodyCutShort { received, expected });
                }
                (Ok(_), _) => {}
                (Err(error), _) => return Err(failed(error, self.timeout, received)),
            }
        }
    }

    /// Looks whether more comes after a whole body, which would be the application's mistake. A server that
    /// does not close soon is not waited for.
    fn expect_end(&mut self, expected: u64) -> Result<u64, ClientError> {
        // A server that drains the request waits for this end.
        self.connection.shutdown(Shutdown::Write);
        let soon = self.timeout.min(Duration::from_secs(1));
        self.connection
            .set_read_timeout(soon)
            .map_err(ClientError::Connection)?;
        match read_some(&mut self.connection, &mut Vec::new()) {
            Ok(1..) => Err(ClientError::BodyTooLong { expected }),
            Ok(0) | Err(_) => Ok(expected),
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Response")
            .field("status", &self.status)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// A whole head, and what it says.
struct Head {
    len: usize,
    status: u16,
    reason: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// `None` while the head is not whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, ClientError> {
        let mut headers = vec![httparse::EMPTY_HEADER; 1024];
        let mut parsed = httparse::Response::new(&mut headers);
        let len = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => {
                let start = bytes.get(..40).unwrap_or(bytes).escape_ascii().to_string();
                return Err(ClientError::NotHttp {
                    why: error.to_string(),
                    start,
                });
            }
        };
        let header =
            |header: &httparse::Header<'_>| (header.name.to_owned(), header.value.to_vec());
        Ok(Some(Self {
            len,
            status: parsed.code.unwrap_or_default(),
            reason: parsed.reason.unwrap_or_default().to_owned(),
            headers: parsed.headers.iter().map(header).collect(),
        }))
    }

    /// Tells whether the answer is still to come (RFC 9110, section 15.2).
    fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// How long the body is (RFC 9112, section 6.3, without chunked: nothing decodes it here).
    fn length(&self, bodiless: bool) -> Result<Length, ClientError> {
        let values: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect();
        let length = match values.as_slice() {
            [] => Length::UntilEnd,
            [value] if value.bytes().all(|byte| byte.is_ascii_digit()) => match value.parse() {
                Ok(length) => Length::Exactly(length),
                Err(_) => {
                    return Err(ClientError::ContentLength {
                        value: value.clone(),
                    });
                }
            },
            values => {
                return Err(ClientError::ContentLength {
                    value: values.join(" and "),
                });
            }
        };
        let bodiless = bodiless || matches!(self.status, 204 | 304);
        Ok(if bodiless { Length::Exactly(0) } else { length })
    }
}

/// Appends what one read gives, 64 KiB at most.
pub(super) fn read_some(connection: &mut Connection, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let before = bytes.len();
    bytes.resize(before + 64 * 1024, 0);
    let count = loop {
        match connection.read(bytes.get_mut(before..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result,
        }
    };
    bytes.truncate(before + count.as_ref().copied().unwrap_or(0));
    count
}

fn failed(error: io::Error, waited: Duration, received: u64) -> ClientError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            ClientError::TimedOut { waited, received }
        }
        _ if is_reset(&error) => ClientError::Reset { received },
        _ => ClientError::Connection(error),
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use bytes::BytesMut;

    use super::super::{Content, Request};
    use super::*;
    use crate::address::SocketAddress;
    use crate::protocol::{Decoder, Progress};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A unix socket whose first connection `serve` gets, on a thread; the directory holds it.
    fn server(
        serve: impl FnOnce(UnixStream) + Send + 'static,
    ) -> (SocketAddress, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || serve(listener.accept().unwrap().0));
        (SocketAddress::Unix(path), directory)
    }

    /// The answer to `request` by a server that reads the packet, writes `answer` and closes.
    fn answered(request: Request, answer: &[u8]) -> Result<(u16, Vec<u8>), ClientError> {
        let answer = answer.to_vec();
        let (address, _directory) = server(move |mut stream| {
            read_packet(&mut stream);
            stream.write_all(&answer).unwrap();
        });
        let response = request.send(&address, PATIENCE)?;
        Ok((response.status(), response.body()?))
    }

    /// Reads until the packet is whole; returns the beginning of the body that came with it.
    fn read_packet(stream: &mut impl Read) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        loop {
            match Decoder::default().decode(&mut buffer).unwrap() {
                Progress::Need(_) => {
                    let mut chunk = [0; 4096];
                    let count = stream.read(&mut chunk).unwrap();
                    assert_ne!(count, 0, "the packet was cut short");
                    buffer.extend_from_slice(&chunk[..count]);
                }
                Progress::Packet(_) => return buffer.to_vec(),
            }
        }
    }

    fn said<T>(result: Result<T, ClientError>) -> String {
        result
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_whole_answer_is_taken() {
        let get = || Request::new("/a");
        for (answer, status, body) in [
            (
                &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"[..],
                200,
                &b"abc"[..],
            ),
            (b"HTTP/1.1 404 Not Found\r\n\r\nabc", 404, b"abc"),
            (
                b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
                204,
                b"",
            ),
            (b"HTTP/1.0 304 \r\nContent-Length: 3\r\n\r\n", 304, b""),
        ] {
            let answered = answered(get(), answer).unwrap();
            assert_eq!((answered.0, answered.1.as_slice()), (status, body));
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(
            answered(get().method("HEAD"), answer).unwrap(),
            (200, Vec::new())
        );
    }

    #[test]
    fn an_answer_that_is_not_whole_is_told_from_one_that_is() {
        let get = || Request::new("/a");
        for (answer, expected) in [
            (
                &b""[..],
                "the server closed the connection without an answer",
            ),
            (
                b"HTTP/1.1 200 OK\r\n",
                "the answer ended within its headers, after 17 bytes",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcdefghijkl",
                "the answer ended after 12 of 100 bytes",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
                "the answer goes on after the 2 bytes that it may have",
            ),
            (
                b"HTTP/1.1 204 \r\n\r\nabc",
                "the answer goes on after the 0 bytes that it may have",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
                "the answer's Content-Length is wrong: 1 and 1",
            ),
            (
                b"Status: 200\r\n\r\n",
                "the answer is not HTTP (invalid HTTP version); it starts with Status: 200\\r\\n\\r\\n",
            ),
        ] {
            assert_eq!(said(answered(get(), answer)), expected);
        }
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let both = [&early[..], b"HTTP/1.1 100 Continue\r\n\r\n", last].concat();
        let answered_with = |answer: &[u8]| answered(Request::new("/"), answer);
        assert_eq!(answered_with(&both).unwrap(), (200, b"hi".to_vec()));
        assert_eq!(
            said(answered_with(early)),
            "the server closed the connection without an answer"
        );
        assert_eq!(
            said(answered_with(&early.repeat(2000))),
            "the answer's headers are longer than 65536 bytes"
        );
    }

    #[test]
    fn endless_headers_are_not_taken() {
        let mut answer = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        answer.resize(Response::MAX_HEAD + 1, b'x');
        assert_eq!(
            said(answered(Request::new("/"), &answer)),
            "the answer's headers are longer than 65536 bytes"
        );
    }

    #[test]
    fn a_reset_is_told_from_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SocketAddress::Tcp(
            "127.0.0.1".to_owned(),
            listener.local_addr().unwrap().port(),
        );
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_packet(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc").unwrap();
            let mut end = [0];
            // The client sends a byte of body only after it has read the answer's head.
            stream.read_exact(&mut end).unwrap();
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        });
        let response = Request::new("/").send(&address, PATIENCE).unwrap();
        response
            .connection
            .try_clone()
            .unwrap()
            .write_all(b"x")
            .unwrap();
        assert_eq!(
            said(response.body()),
            "the server reset the connection after 3 bytes of the answer's body"
        );
        server.join().unwrap();
    }

    #[test]
    fn a_body_may_be_answered_while_it_is_sent() {
        let size = 4 << 20;
        let (address, _directory) = server(move |mut stream| {
            let first = read_packet(&mut stream);
            let mut back = stream.try_clone().unwrap();
            back.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            back.write_all(&first).unwrap();
            io::copy(&mut stream.take((size - first.len()) as u64), &mut back).unwrap();
        });
        let body = Content::Bytes(vec![b'x'; size]);
        let response = Request::new("/")
            .content(body)
            .send(&address, PATIENCE)
            .unwrap();
        assert_eq!(response.body().unwrap().len(), size);
    }

    #[test]
    fn an_answer_without_reading_the_body_is_taken() {
        let body = Content::Bytes(vec![b'x'; 4 << 20]);
        let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            answered(Request::new("/").content(body), answer).unwrap(),
            (413, Vec::new())
        );
    }

    #[test]
    fn nobody_there_is_said() {
        let connect = |path: &Path| {
            Request::new("/")
                .send(&SocketAddress::Unix(path.into()), PATIENCE)
                .err()
                .unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let error = connect(&path);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot connect to unix:{}: no such file or directory",
                path.display()
            )
        );
        drop(UnixListener::bind(&path).unwrap());
        let error = connect(&path);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot connect to unix:{}: connection refused",
                path.display()
            )
        );
        #[cfg(feature = "cli")]
        assert!(
            crate::config::Cure::cure(&error)
                .starts_with("start spile there, as in `spile serve app:app --socket unix:")
        );
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let short = Duration::from_millis(50);
        let result = Request::new("/").send(&SocketAddress::Unix(path), short);
        assert_eq!(
            said(result),
            "the server sent nothing for 0.05 seconds, after 0 bytes"
        );
    }
}
