//! `static://DIR`, files of a directory.

use std::{
    future::{Ready, ready},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::{
    ServeDir,
    fs::{Backend, File},
};

use super::{
    complaints::Complaints,
    range::{Part, Wanted},
};
use crate::app::{
    Application, Body, BoxError, BoxFuture, FileRange, Request, Response, tower::encoded,
};

/// Serves the files of a directory: ranges, ETag and Last-Modified, mime types, `index.html`, and never a
/// path above the directory. Bodies are sent with sendfile(2). The log has a line of what cannot be opened though it is
/// there.
#[derive(Clone, Debug)]
pub struct StaticFiles {
    directory: PathBuf,
    complaints: Arc<Complaints>,
}

impl StaticFiles {
    /// Serves this directory, which is looked at anew for each request.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            complaints: Arc::default(),
        }
    }
}

impl Application for StaticFiles {
    fn call(&self, request: Request) -> BoxFuture<Response> {
        let opened = Opened {
            complaints: self.complaints.clone(),
            file: Arc::default(),
        };
        let mut files = ServeDir::with_backend(&self.directory, opened.clone());
        let mount = request.environ().get("SCRIPT_NAME").map(encoded);
        let mount = mount.map(|mount| mount.to_string()).unwrap_or_default();
        Box::pin(async move {
            let Ok(mut request) = request.into_http() else {
                return Response::of_status(StatusCode::BAD_REQUEST);
            };
            // `ServeDir` knows no If-Range, and answers 416 to every Range that it does not like.
            let wanted = Wanted::taken_from(request.headers_mut());
            match files.try_call(request).await {
                Ok(mut found) => {
                    if let Some(location) = found.headers_mut().get_mut(header::LOCATION) {
                        *location = below(&mount, location);
                    }
                    opened.send(found, &wanted)
                }
                Err(error) => not_opened(&error),
            }
        })
    }
}

/// Where a path below the mount is for the client.
fn below(mount: &str, location: &HeaderValue) -> HeaderValue {
    let path = [mount.as_bytes(), location.as_bytes()].concat();
    // Two slashes at the beginning would lead to another host.
    let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
    let path = path.get(slashes.saturating_sub(1)..).unwrap_or_default();
    HeaderValue::from_bytes(path).unwrap_or_else(|_| location.clone())
}

/// What is said of it stands in the log by now.
fn not_opened(error: &io::Error) -> Response {
    Response::new().with_status(match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StatusCode::NOT_FOUND,
        // Nobody outside learns what there is.
        io::ErrorKind::PermissionDenied => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    })
}

/// Remembers the file that `ServeDir` opened, so that its bytes need not pass through this process.
#[derive(Clone, Debug)]
struct Opened {
    file: Arc<OnceLock<Arc<std::fs::File>>>,
    complaints: Arc<Complaints>,
}

impl Opened {
    /// Returns the response, with the part of the file that is wanted as its body.
    fn send<B>(&self, mut found: http::Response<B>, wanted: &Wanted) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + 'static,
    {
        // The body itself does not know it.
        let length = found
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        // A HEAD opens nothing, and has no part.
        let (StatusCode::OK, Some(file), Some(length)) = (found.status(), self.file.get(), length)
        else {
            return found.into();
        };
        let (offset, length) = match wanted.of(length, found.headers()) {
            Part::Whole => (0, length),
            Part::Bytes { first, last } => {
                *found.status_mut() = StatusCode::PARTIAL_CONTENT;
                say_range(&mut found, &format!("bytes {first}-{last}/{length}"));
                (first, last - first + 1)
            }
            Part::Unsatisfiable => {
                *found.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                found.headers_mut().remove(header::CONTENT_TYPE);
                say_range(&mut found, &format!("bytes */{length}"));
                (0, 0)
            }
        };
        found
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
        let body = match length {
            0 => Body::empty(),
            _ => Body::file(FileRange {
                file: file.clone(),
                offset,
                length,
            }),
        };
        Response::from(found).with_body(body)
    }
}

fn say_range<B>(found: &mut http::Response<B>, range: &str) {
    if let Ok(range) = HeaderValue::from_str(range) {
        found.headers_mut().insert(header::CONTENT_RANGE, range);
    }
}

// File system calls are made in place: a hand-over to another thread costs more than a look at the page cache.
impl Backend for Opened {
    type File = OpenFile;
    type Metadata = std::fs::Metadata;
    type OpenFuture = Ready<io::Result<OpenFile>>;
    type MetadataFuture = Ready<io::Result<std::fs::Metadata>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let open = || {
            let file = std::fs::OpenOptions::new()
                .read(true)
                // A FIFO would hold the thread until somebody writes to it.
                .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
                .open(&path)?;
            match file.metadata()?.file_type() {
                kind if kind.is_file() || kind.is_dir() => Ok(file),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        };
        let opened = open().map_err(|error| self.complaints.about(&path, error));
        ready(opened.map(|file| {
            let file = Arc::new(file);
            // One request opens one file; a second would be read through `OpenFile`.
            let _ = self.file.set(file.clone());
            OpenFile { file, position: 0 }
        }))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        ready(std::fs::metadata(&path).map_err(|error| self.complaints.about(&path, error)))
    }
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<std::fs::File>,
    position: u64,
}

impl File for OpenFile {
    type Metadata = std::fs::Metadata;
    type MetadataFuture<'a> = Ready<io::Result<std::fs::Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(self.file.metadata())
    }
}

impl AsyncRead for OpenFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = std::os::unix::fs::FileExt::read_at(
            &*self.file,
            buf.initialize_unfilled(),
            self.position,
        )?;
        buf.advance(read);
        self.position += u64::try_from(read).unwrap_or(0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for OpenFile {
    fn start_seek(mut self: Pin<&mut Self>, to: io::SeekFrom) -> io::Result<()> {
        match to {
            io::SeekFrom::Start(position) => {
                self.position = position;
                Ok(())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Environ;

    /// The status, some headers and the body.
    struct Got {
        status: StatusCode,
        tag: Option<String>,
        modified: Option<String>,
        range: Option<String>,
        location: Option<String>,
        body: Vec<u8>,
    }

    async fn get(path: &'static str, variables: &[(&'static str, &str)]) -> Got {
        let directory = tempfile::tempdir().unwrap();
        let public = directory.path().join("public");
        std::fs::create_dir_all(public.join("sub")).unwrap();
        let page = std::fs::File::create(public.join("page.html")).unwrap();
        std::io::Write::write_all(&mut &page, b"0123456789").unwrap();
        page.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        std::fs::write(public.join("empty"), b"").unwrap();
        std::fs::write(directory.path().join("secret"), b"secret").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(public.join("socket")).unwrap();
        let mut environ = Environ::default();
        environ.set("PATH_INFO", path);
        for (name, value) in variables {
            environ.set(*name, (*value).to_owned());
        }
        let response = StaticFiles::new(public)
            .call(Request::new(environ, Body::empty()))
            .await;
        let header = |name| {
            let value = response.header(&name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Got {
            status: response.status(),
            tag: header(header::ETAG),
            modified: header(header::LAST_MODIFIED),
            range: header(header::CONTENT_RANGE),
            location: header(header::LOCATION),
            body: {
                let (head, body) = response.into_wire().unwrap();
                let body = body.read_to_end(100).await.unwrap().to_vec();
                let length = format!("content-length: {}\r\n", body.len());
                let head = String::from_utf8(head.into_bytes()).unwrap();
                if head.starts_with("HTTP/1.1 20") && !variables.contains(&HEAD) {
                    assert!(head.to_lowercase().contains(&length), "{head}");
                }
                body
            },
        }
    }

    const HEAD: (&str, &str) = ("REQUEST_METHOD", "HEAD");

    #[tokio::test]
    async fn a_range_is_a_part_of_the_file() {
        for (path, asked, status, range, body) in [
            ("/page.html", "bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
            (
                "/page.html",
                "bytes=-99",
                206,
                Some("bytes 0-9/10"),
                "0123456789",
            ),
            ("/page.html", "bytes=10-", 416, Some("bytes */10"), ""),
            ("/page.html", "bytes=0-1,3-4", 200, None, "0123456789"),
            ("/page.html", "bits=0-1", 200, None, "0123456789"),
            ("/empty", "bytes=0-", 416, Some("bytes */0"), ""),
            ("/empty", "bytes=-5", 200, None, ""),
        ] {
            let got = get(path, &[("HTTP_RANGE", asked)]).await;
            let said = (got.status.as_u16(), got.range.as_deref());
            assert_eq!(said, (status, range), "{path} {asked}");
            assert_eq!(got.body, body.as_bytes());
        }
        let got = get("/page.html", &[("HTTP_RANGE", "bytes=2-4"), HEAD]).await;
        assert_eq!((got.status, got.range), (StatusCode::OK, None));
    }

    #[tokio::test]
    async fn a_range_of_a_file_that_has_changed_is_the_whole_file() {
        let now = get("/page.html", &[]).await;
        let (tag, modified) = (now.tag.unwrap(), now.modified.unwrap());
        let weak = format!("W/{tag}");
        for (validator, status) in [
            (tag.as_str(), 206),
            (&modified, 206),
            ("\"other\"", 200),
            (&weak, 200),
            ("Fri, 02 Jan 1970 00:00:00 GMT", 200),
            ("Wed, 31 Dec 1969 00:00:00 GMT", 200),
        ] {
            let variables = [("HTTP_RANGE", "bytes=2-4"), ("HTTP_IF_RANGE", validator)];
            let got = get("/page.html", &variables).await;
            assert_eq!(got.status, status, "{validator}");
            let part = if status == 206 { "234" } else { "0123456789" };
            assert_eq!(got.body, part.as_bytes());
        }
    }

    #[tokio::test]
    async fn an_etag_spares_the_body() {
        let got = get("/page.html", &[]).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (StatusCode::OK, &b"0123456789"[..])
        );
        let tag = got.tag.unwrap();
        let got = get("/page.html", &[("HTTP_IF_NONE_MATCH", tag.as_str())]).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (StatusCode::NOT_MODIFIED, &b""[..])
        );
    }

    #[tokio::test]
    async fn a_directory_is_below_its_mount() {
        for (mount, path, query, location) in [
            ("", "/sub", "", "/sub/"),
            ("/st", "/sub", "a=%20", "/st/sub/?a=%20"),
            ("/a b%", "/sub", "", "/a%20b%25/sub/"),
            ("/a\r\nX: y", "/sub", "", "/a%0D%0AX:%20y/sub/"),
            ("", "//sub", "", "/sub/"),
            ("//host", "/sub", "", "/host/sub/"),
        ] {
            let variables = [("SCRIPT_NAME", mount), ("QUERY_STRING", query)];
            let got = get(path, &variables).await;
            assert_eq!(got.status, StatusCode::TEMPORARY_REDIRECT, "{mount:?}");
            assert_eq!(got.location.as_deref(), Some(location));
        }
    }

    #[tokio::test]
    async fn a_socket_is_no_file() {
        assert_eq!(get("/socket", &[]).await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn nothing_above_the_directory_is_served() {
        for path in [
            "/../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/../public/../secret",
            "/\0",
            "//etc/passwd",
            // Longer than any file's name.
            "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            let got = get(path, &[]).await;
            assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(got.body, b"");
        }
    }
}
