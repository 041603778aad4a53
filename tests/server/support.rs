//! A running server, and a client that sees every byte, every clean end and every reset.

use std::{
    future::Future,
    io,
    ops::{Deref, DerefMut},
    panic::Location,
    path::PathBuf,
    sync::LazyLock,
    time::Duration,
};

use spile::{
    Limits, Request, Server,
    address::SocketAddress,
    app::{Answer, BlockingApplication},
    protocol::Encoder,
    server::{Answered, Observer, ServeError},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{TcpStream, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// More than any socket's buffers hold, and no two parts of it alike.
pub(crate) static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let numbers = 0..2 << 20;
    numbers.flat_map(u32::to_le_bytes).collect()
});

/// The two kinds of socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    Unix,
    Tcp,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::Unix, Family::Tcp];

/// A server that listens on one socket of each kind.
pub(crate) struct Site {
    directory: TempDir,
    tcp: (String, u16),
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Site {
    pub(crate) fn start(server: Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = server
            .bind(directory.path().join(SOCKET).to_str().unwrap())
            .unwrap()
            .bind("127.0.0.1:0")
            .unwrap();
        let tcp = match server.listeners().last().unwrap().address() {
            SocketAddress::Tcp(host, port) => (host.clone(), *port),
            other => panic!("{other} is not TCP"),
        };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve_until(async move {
            // A site that is dropped is not told to stop: its test has failed or has no more to say.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        }));
        Self {
            directory,
            tcp,
            stop,
            serving,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    pub(crate) async fn try_connect(&self, family: Family) -> io::Result<Client> {
        Ok(match family {
            Family::Unix => Client::new(UnixStream::connect(self.socket()).await?),
            Family::Tcp => {
                let stream = TcpStream::connect(&self.tcp).await?;
                stream.set_nodelay(true)?;
                Client::new(stream)
            }
        })
    }

    pub(crate) async fn connect(&self, family: Family) -> Client {
        self.try_connect(family).await.unwrap()
    }

    /// A new connection that has sent a request.
    pub(crate) async fn send(&self, family: Family, request: Encoder) -> Client {
        let mut client = self.connect(family).await;
        client.send(request.finish().unwrap()).await;
        client
    }

    /// The whole answer to a request.
    pub(crate) async fn ask(&self, request: Encoder) -> Reply {
        self.send(Family::Unix, request).await.answer().await
    }

    /// The whole answer to a GET.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(get(path)).await
    }

    /// Has the server stop gracefully; what it ends with comes later.
    pub(crate) fn stop(self) -> Stopping {
        self.stop.send(()).unwrap();
        Stopping {
            directory: self.directory,
            tcp: self.tcp,
            serving: self.serving,
        }
    }

    /// Whether nobody listens on the TCP port any more.
    pub(crate) fn refuses_tcp(&self) -> bool {
        std::net::TcpStream::connect(&self.tcp).is_err()
    }

    /// Drops the server's future.
    pub(crate) async fn drop_server(&mut self) {
        self.serving.abort();
        assert!(soon(&mut self.serving).await.unwrap_err().is_cancelled());
    }
}

/// A server that is stopping.
pub(crate) struct Stopping {
    directory: TempDir,
    tcp: (String, u16),
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Stopping {
    pub(crate) async fn ended(self) -> Result<(), ServeError> {
        let ended = soon(self.serving).await.unwrap();
        assert_eq!(std::fs::read_dir(self.directory.path()).unwrap().count(), 0);
        assert!(TcpStream::connect(&self.tcp).await.is_err());
        ended
    }

    /// Waits until the server has begun to stop.
    pub(crate) async fn begun(&self) {
        until(|| !self.directory.path().join(SOCKET).exists()).await;
    }
}

const SOCKET: &str = "spile.sock";

/// A connection, which is read through its [`Reader`].
pub(crate) struct Client {
    reader: Reader,
    writer: WriteHalf<Box<dyn Socket>>,
}

/// What comes from a server.
pub(crate) struct Reader {
    half: ReadHalf<Box<dyn Socket>>,
    received: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// nginx takes what came before for whole.
    Clean,
    /// nginx knows that it is broken.
    Reset,
}

impl Client {
    pub(crate) fn new(stream: impl Socket + 'static) -> Self {
        let (half, writer) = split::<Box<dyn Socket>>(Box::new(stream));
        let reader = Reader {
            half,
            received: Vec::new(),
        };
        Self { reader, writer }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.writer.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn end_sending(&mut self) {
        self.writer.shutdown().await.unwrap();
    }

    /// Sends all of an upload while it takes all of the answer.
    pub(crate) async fn exchange(&mut self, upload: &[u8]) -> Reply {
        let sending = soon(self.writer.write_all(upload));
        let (sent, reply) = tokio::join!(sending, self.reader.answer());
        sent.unwrap();
        reply
    }

    /// Sends all of it while it takes as much.
    pub(crate) async fn both_ways(&mut self, upload: &[u8]) -> Vec<u8> {
        let sending = soon(self.writer.write_all(upload));
        let (sent, taken) = tokio::join!(sending, self.reader.take(upload.len()));
        sent.unwrap();
        taken
    }
}

impl Deref for Client {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl Reader {
    /// The response's head, with the empty line that ends it.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = end_of_head(&self.received) {
                return String::from_utf8(self.received.drain(..end).collect()).unwrap();
            }
            assert!(self.read().await.unwrap() > 0, "the head was cut short");
        }
    }

    /// The next `count` bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.read().await.unwrap() > 0, "the body was cut short");
        }
        self.received.drain(..count).collect()
    }

    /// All that comes, and how it ends.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            match self.read().await {
                Ok(0) => break End::Clean,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
                Err(error) => panic!("{error}"),
            }
        };
        (std::mem::take(&mut self.received), end)
    }

    /// The whole answer, which has to end cleanly.
    pub(crate) async fn answer(&mut self) -> Reply {
        let head = self.head().await;
        let (body, end) = self.rest().await;
        assert_eq!(end, End::Clean, "the answer was {head}");
        Reply { head, body }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let mut chunk = vec![0; 64 * 1024];
        let count = soon(self.half.read(&mut chunk)).await?;
        self.received.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The first line without the protocol's version.
    pub(crate) fn status(&self) -> &str {
        status(&self.head)
    }

    /// The values of a header, in order.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        headers(&self.head, name)
    }

    /// The value of a header that comes once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let values = self.headers(name);
        assert_eq!(values.len(), 1, "{name} in {}", self.head);
        values[0]
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn says(&self, part: &str) {
        assert!(self.text().contains(part), "{}", self.text());
    }
}

pub(crate) fn status(head: &str) -> &str {
    let line = head.lines().next().unwrap();
    line.strip_prefix("HTTP/1.1 ").unwrap()
}

pub(crate) fn headers<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let empty_line = b"\r\n\r\n";
    let start = bytes
        .windows(empty_line.len())
        .position(|it| it == empty_line)?;
    Some(start + empty_line.len())
}

pub(crate) fn get(path: &str) -> Encoder {
    request("GET", path)
}

pub(crate) fn post(path: &str, length: usize) -> Encoder {
    request("POST", path).var("CONTENT_LENGTH", length.to_string())
}

pub(crate) fn request(method: &str, path: &str) -> Encoder {
    Encoder::new()
        .var("REQUEST_METHOD", method)
        .var("PATH_INFO", path)
}

pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// A function as an application that blocks.
pub(crate) struct Blocking<F>(pub(crate) F);

impl<F> BlockingApplication for Blocking<F>
where
    F: Fn(Request, Box<dyn Answer>) + Send + Sync + 'static,
{
    fn call(&self, request: Request, answer: Box<dyn Answer>) {
        self.0(request, answer);
    }
}

/// What an observer was told of an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    pub(crate) complete: bool,
}

/// An observer, and what it is told.
pub(crate) fn observer() -> (impl Observer, mpsc::UnboundedReceiver<Told>) {
    struct Telling(mpsc::UnboundedSender<Told>);
    impl Observer for Telling {
        fn answered(&self, answered: &Answered<'_>) {
            let told = Told {
                path: answered
                    .environ
                    .text("PATH_INFO")
                    .unwrap_or_default()
                    .to_owned(),
                status: answered.status,
                body_bytes: answered.body_bytes,
                complete: answered.complete,
            };
            // A test that is over does not listen any more.
            let _ = self.0.send(told);
        }
    }
    let (tell, told) = mpsc::unbounded_channel();
    (Telling(tell), told)
}

/// Panics, without the message that would look like a failure in the tests' output.
pub(crate) fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("a test's application panicked"))
}

/// Waits for what has to come. A busy machine is slow, so the limit is far off.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = Location::caller();
    async move {
        match timeout(Duration::from_secs(60), future).await {
            Ok(output) => output,
            Err(_) => panic!("what {place} waits for never came"),
        }
    }
}

/// Waits for something that nobody announces.
#[track_caller]
pub(crate) fn until(done: impl Fn() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

/// Sees that something does not come. It would come at once.
pub(crate) async fn not_now<F: Future>(future: F) {
    assert!(timeout(Duration::from_millis(100), future).await.is_err());
}
