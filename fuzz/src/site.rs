//! A server in this process: one lane, one thread for its runtime, a unix socket and a TCP socket.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use metrics::{
    Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use socket2::{Domain, SockAddr, Socket, Type};
use spile::Limits;
use spile::address::SocketAddress;
use spile::app::Router;
use spile::server::{Binding, Listener, Parts, Pause, Plain, Running, names};
use tokio::signal::unix::{SignalKind, signal};

/// The most variables of a request.
pub const VARS: usize = 20;

/// The most bytes of its body: more than is kept in memory.
pub const BODY: u64 = 1_100_000;

/// Longer than any connection may last, on a machine that is busy with other things.
const NEVER: Duration = Duration::from_secs(8);

/// The server.
pub struct Site {
    unix: SockAddr,
    tcp: SockAddr,
    in_hand: Arc<InHand>,
    /// How many descriptors there are while nobody is served.
    descriptors: usize,
    _directory: tempfile::TempDir,
}

impl Site {
    /// Starts it, for as long as the process lives. `timeout` is what a client may take for each step.
    pub fn start(router: Router, timeout: Duration) -> Self {
        let in_hand = Arc::new(InHand::default());
        metrics::set_global_recorder(Gauges(in_hand.clone())).expect("there is one site a process");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let unix = Listener::bind(&Binding::new(SocketAddress::Unix(path.clone())));
        let tcp = Listener::bind(&Binding::new(SocketAddress::Tcp("127.0.0.1".into(), 0)));
        let (unix, tcp) = (unix.expect("a unix socket"), tcp.expect("a TCP socket"));
        let SocketAddress::Tcp(_, port) = *tcp.address() else {
            unreachable!("it was bound to an address")
        };

        let mut limits = Limits::default();
        limits.vars = VARS;
        limits.body_size = Some(BODY);
        // One that is never given back is soon missed.
        limits.in_flight = 8;
        limits.read_timeout = timeout;
        limits.write_timeout = timeout;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        // As Rust's own `main` has it, which there is none of here: writing in vain is an error, not the end. What is
        // caught once stays caught.
        let caught = runtime.block_on(async { signal(SignalKind::pipe()) });
        drop(caught.expect("a signal handler"));
        let mut parts = Parts::new(vec![unix, tcp], router, runtime.handle().clone());
        parts.limits = limits;
        let running = Running::start(parts).expect("descriptors");
        let lane = running.lane();
        thread::spawn(move || {
            let plain: Arc<dyn Pause> = Arc::new(Plain);
            lane.run(&plain);
        });
        thread::spawn(move || runtime.block_on(running.watch(None, |_| {})));
        Self {
            unix: SockAddr::unix(path).expect("a short path"),
            tcp: SocketAddr::from(([127, 0, 0, 1], port)).into(),
            in_hand,
            descriptors: descriptors().count(),
            _directory: directory,
        }
    }

    /// Has a conversation with the server, and sees that nothing is left of it: no connection, no file, no request.
    pub fn converse<T>(&self, over_tcp: bool, conversation: impl FnOnce(&mut Client) -> T) -> T {
        let socket = loop {
            match self.connect(over_tcp) {
                // By libFuzzer's timer.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                connected => break connected.expect("somebody listens"),
            }
        };
        socket.set_read_timeout(Some(NEVER)).expect("an option");
        socket.set_write_timeout(Some(NEVER)).expect("an option");
        if over_tcp {
            socket.set_tcp_nodelay(true).expect("an option");
            // Else each connection leaves a port in TIME_WAIT, and there are 28,000.
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        }
        let mut client = Client {
            socket,
            is_reset: false,
        };
        let outcome = conversation(&mut client);
        drop(client);

        let since = Instant::now();
        while descriptors().count() != self.descriptors
            || self.in_hand.0.load(Ordering::SeqCst) != 0
        {
            assert!(
                since.elapsed() < NEVER,
                "{:?} are open, which should be {}; {} requests are in hand",
                descriptors().collect::<Vec<_>>(),
                self.descriptors,
                self.in_hand.0.load(Ordering::SeqCst),
            );
            thread::yield_now();
        }
        outcome
    }

    fn connect(&self, over_tcp: bool) -> io::Result<Socket> {
        let (domain, address) = if over_tcp {
            (Domain::IPV4, &self.tcp)
        } else {
            (Domain::UNIX, &self.unix)
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect(address)?;
        Ok(socket)
    }
}

/// The sockets and deleted files that this process has open. libFuzzer opens pipes of its own.
fn descriptors() -> impl Iterator<Item = PathBuf> {
    let found = fs::read_dir("/proc/self/fd").into_iter().flatten();
    found
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| {
            let name = path.as_os_str().as_bytes();
            name.starts_with(b"socket:") || name.ends_with(b" (deleted)")
        })
}

/// A connection to the server.
pub struct Client {
    socket: Socket,
    /// Sending has failed. The kernel tells of a reset once, so receiving may end quietly then.
    is_reset: bool,
}

/// How the server has ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// nginx takes what came before for whole.
    Clean,
    /// nginx knows that it is broken.
    Reset,
}

impl Client {
    /// Sends bytes; `false` when the server has closed.
    pub fn send(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.socket.send(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    not_late(&error);
                    self.is_reset = true;
                    return false;
                }
            }
        }
        true
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&mut self) {
        // The server may have closed.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// All that the server sends, and how it ends that.
    pub fn receive(&mut self) -> (Vec<u8>, End) {
        let mut received = Vec::new();
        let mut chunk = [0; 64 * 1024];
        loop {
            match (&self.socket).read(&mut chunk) {
                Ok(0) if self.is_reset => return (received, End::Reset),
                Ok(0) => return (received, End::Clean),
                Ok(count) => received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    not_late(&error);
                    return (received, End::Reset);
                }
            }
        }
    }
}

/// Fails when the time for a system call was up.
fn not_late(error: &io::Error) {
    assert_ne!(
        error.kind(),
        ErrorKind::WouldBlock,
        "the server neither answers nor closes"
    );
}

/// How many requests the server has in hand.
#[derive(Default)]
struct InHand(AtomicI64);

impl GaugeFn for InHand {
    fn increment(&self, value: f64) {
        self.0.fetch_add(value as i64, Ordering::SeqCst);
    }

    fn decrement(&self, value: f64) {
        self.0.fetch_sub(value as i64, Ordering::SeqCst);
    }

    fn set(&self, value: f64) {
        self.0.store(value as i64, Ordering::SeqCst);
    }
}

/// Keeps that gauge, and nothing else of what the server counts.
struct Gauges(Arc<InHand>);

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if key.name() == names::IN_FLIGHT {
            Gauge::from_arc(self.0.clone())
        } else {
            Gauge::noop()
        }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
