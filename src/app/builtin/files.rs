//! `static:DIR`, files of a directory.

use std::{
    future::{Ready, ready},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::{StatusCode, header};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::{
    ServeDir,
    fs::{Backend, File},
};
use tower_service::Service;

use crate::app::{Application, Body, BoxFuture, FileRange, Request, Response, tower::into_http};

/// Serves the files of a directory: ranges, ETag and Last-Modified, mime types, `index.html`, and never a
/// path above the directory. Bodies are sent with sendfile(2).
#[derive(Clone, Debug)]
pub struct StaticFiles {
    directory: PathBuf,
}

impl StaticFiles {
    /// Serves this directory, which is looked at anew for each request.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }
}

impl Application for StaticFiles {
    fn call(&self, request: Request) -> BoxFuture<Response> {
        let opened = Opened::default();
        let prefix = request
            .environ()
            .text("SCRIPT_NAME")
            .unwrap_or_default()
            .to_owned();
        let mut files =
            ServeDir::with_backend(&self.directory, opened.clone()).redirect_path_prefix(prefix);
        Box::pin(async move {
            let request = match into_http(request) {
                Ok(request) => request,
                Err(_) => return Response::of_status(StatusCode::BAD_REQUEST),
            };
            match files.call(request).await {
                Ok(answer) => opened.send_from_file(answer.into()),
                Err(error) => Err::<Response, _>(error).into(),
            }
        })
    }
}

/// Remembers the file that `ServeDir` opened, so that its bytes need not pass through this process.
#[derive(Clone, Debug, Default)]
struct Opened(Arc<OnceLock<Arc<std::fs::File>>>);

impl Opened {
    /// The same response with the file itself as the body, where the headers say which part it is.
    fn send_from_file(&self, response: Response) -> Response {
        let offset = match response.status() {
            StatusCode::OK => Some(0),
            StatusCode::PARTIAL_CONTENT => {
                response.header(&header::CONTENT_RANGE).and_then(|range| {
                    range
                        .to_str()
                        .ok()?
                        .strip_prefix("bytes ")?
                        .split('-')
                        .next()?
                        .parse()
                        .ok()
                })
            }
            _ => None,
        };
        // The body itself does not know it.
        let length = response
            .header(&header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        match (self.0.get(), offset, length) {
            (Some(file), Some(offset), Some(length)) if length > 0 => {
                response.with_body(Body::file(FileRange {
                    file: file.clone(),
                    offset,
                    length,
                }))
            }
            _ => response,
        }
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
                .open(path)?;
            match file.metadata()?.file_type() {
                kind if kind.is_file() || kind.is_dir() => Ok(file),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        };
        ready(open().map_err(as_missing).map(|file| {
            let file = Arc::new(file);
            // One request opens one file; a second would be read through `OpenFile`.
            let _ = self.0.set(file.clone());
            OpenFile { file, position: 0 }
        }))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        ready(std::fs::metadata(path).map_err(as_missing))
    }
}

/// A path that no file can have is a client's invention, not a fault of the server's.
fn as_missing(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NAMETOOLONG | Errno::LOOP) => io::ErrorKind::NotFound.into(),
        _ => error,
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

    /// Status, ETag and Content-Range, and the body.
    async fn get(
        path: &'static str,
        header: Option<(&'static str, String)>,
    ) -> (StatusCode, [Option<String>; 2], Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let public = directory.path().join("public");
        std::fs::create_dir(&public).unwrap();
        let page = std::fs::File::create(public.join("page.html")).unwrap();
        std::io::Write::write_all(&mut &page, b"0123456789").unwrap();
        page.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        std::fs::write(directory.path().join("secret"), b"secret").unwrap();
        let mut environ = Environ::default();
        environ.set("PATH_INFO", path);
        if let Some((name, value)) = header {
            environ.set(name, value);
        }
        let response = StaticFiles::new(public)
            .call(Request::new(environ, Body::empty()))
            .await;
        let status = response.status();
        let said = [header::ETAG, header::CONTENT_RANGE].map(|name| {
            response
                .header(&name)
                .map(|value| value.to_str().unwrap().to_owned())
        });
        (
            status,
            said,
            response
                .into_wire()
                .unwrap()
                .1
                .read_to_end(100)
                .await
                .unwrap()
                .to_vec(),
        )
    }

    #[tokio::test]
    async fn a_range_is_a_part_of_the_file() {
        let (status, [_, range], body) =
            get("/page.html", Some(("HTTP_RANGE", "bytes=2-4".into()))).await;
        assert_eq!(
            (status, range.as_deref()),
            (StatusCode::PARTIAL_CONTENT, Some("bytes 2-4/10"))
        );
        assert_eq!(body, b"234");
    }

    #[tokio::test]
    async fn an_etag_spares_the_body() {
        let (status, [tag, _], body) = get("/page.html", None).await;
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"0123456789"[..]));
        let (status, _, body) = get("/page.html", Some(("HTTP_IF_NONE_MATCH", tag.unwrap()))).await;
        assert_eq!((status, &body[..]), (StatusCode::NOT_MODIFIED, &b""[..]));
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
            let (status, _, body) = get(path, None).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(body, b"");
        }
    }
}
