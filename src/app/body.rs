//! Bodies, of requests and responses alike.

use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body: nothing, bytes, a part of a file, or a stream.
///
/// It implements [`http_body::Body`], so tower services take and give it.
///
/// ```
/// use spile::Body;
///
/// assert_eq!(Body::from("abc").length(), Some(3));
/// assert_eq!(Body::empty().length(), Some(0));
/// ```
#[derive(Debug, Default)]
pub struct Body(Content);

/// The kinds of a [`Body`], for code that treats them differently.
#[derive(Default)]
#[non_exhaustive]
pub enum Content {
    /// No bytes.
    #[default]
    Empty,
    /// All of it, in memory.
    Bytes(Bytes),
    /// A part of a file.
    File(FileRange),
    /// Chunks as they come.
    Stream {
        /// The chunks. After an error nothing follows.
        chunks: Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>,
        /// The number of bytes that are left, when it is known.
        left: Option<u64>,
    },
}

/// A part of an open file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileRange {
    /// The file; its own position is neither used nor moved.
    pub file: Arc<File>,
    /// The first byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
}

impl Body {
    /// Makes a body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self(Content::Empty)
    }

    /// Makes a body of a part of a file, which the server sends with sendfile(2).
    #[must_use]
    pub fn file(range: FileRange) -> Self {
        Self(Content::File(range))
    }

    /// Makes a body of chunks as they come; `length` is their sum in bytes, if known.
    pub fn stream<S, E>(chunks: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        Self(Content::Stream {
            chunks: Box::pin(BoxedErrors { chunks }),
            left: length,
        })
    }

    /// Takes any HTTP body, such as a tower service's.
    pub fn from_http<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + 'static,
    {
        let length = body.size_hint().exact();
        if length == Some(0) && body.is_end_stream() {
            return Self::empty();
        }
        Self::stream(http_body_util::BodyDataStream::new(body), length)
    }

    /// Returns the number of bytes still to come, when it is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Content::Empty => Some(0),
            Content::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
            Content::File(range) => Some(range.length),
            Content::Stream { left, .. } => *left,
        }
    }

    /// Tells whether the body comes in chunks that are made somewhere else.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.0, Content::Stream { .. })
    }

    /// Waits for the next chunk; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read, or the stream's own error: [`UnfinishedBody`](super::UnfinishedBody) for a request's,
    /// or what the body's producer failed of.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BoxError>> {
        std::future::poll_fn(|context| self.poll_chunk(context)).await
    }

    /// Reads all of the body into memory.
    ///
    /// # Errors
    /// As [`Body::chunk`], and when there are more than `limit` bytes.
    pub async fn read_to_end(mut self, limit: usize) -> Result<Bytes, BoxError> {
        if let Content::Bytes(bytes) = &self.0 {
            if bytes.len() <= limit {
                return Ok(bytes.clone());
            }
        }
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if all.len() + chunk.len() > limit {
                return Err(format!("the body is larger than {limit} bytes").into());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    /// Returns what the body holds.
    #[must_use]
    pub fn into_content(self) -> Content {
        self.0
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.0 {
            Content::Empty => Poll::Ready(None),
            Content::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Content::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            Content::File(range) => Poll::Ready(range.next_chunk().map_err(Into::into).transpose()),
            Content::Stream { chunks, left } => {
                let chunk = std::task::ready!(chunks.as_mut().poll_next(context));
                if let (Some(Ok(chunk)), Some(left)) = (&chunk, left) {
                    *left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                }
                Poll::Ready(chunk)
            }
        }
    }
}

impl FileRange {
    /// Takes a part of a file: `length` bytes from byte `offset` on.
    #[must_use]
    pub fn new(file: impl Into<Arc<File>>, offset: u64, length: u64) -> Self {
        Self {
            file: file.into(),
            offset,
            length,
        }
    }

    /// Returns the next 64 KiB at most. Page-cache reads are short, so they are done in place.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let size = usize::try_from(self.length.min(64 * 1024)).unwrap_or(0);
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; size];
        let read = self.file.read_at(&mut chunk, self.offset)?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter",
            ));
        }
        chunk.truncate(read);
        let read = u64::try_from(read).unwrap_or(0);
        self.offset += read;
        self.length -= read;
        Ok(Some(chunk.into()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.poll_chunk(context)
            .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(context)
    }
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        Self(content)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self(Content::Bytes(bytes))
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Empty => out.write_str("Empty"),
            Content::Bytes(bytes) => out.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Content::File(range) => out.debug_tuple("File").field(range).finish(),
            Content::Stream { left, .. } => out
                .debug_struct("Stream")
                .field("left", left)
                .finish_non_exhaustive(),
        }
    }
}

pin_project_lite::pin_project! {
    /// A stream with its errors boxed.
    struct BoxedErrors<S> {
        #[pin]
        chunks: S,
    }
}

impl<S, E> Stream for BoxedErrors<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project()
            .chunks
            .poll_next(context)
            .map(|chunk| chunk.map(|chunk| chunk.map_err(Into::into)))
    }
}
