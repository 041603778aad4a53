//! Keeps an HTTP server busy and checks every response: nothing lost, nothing cut short, nothing mixed up.
//!
//! Each request has a number of its own: `PATH?n=NUMBER&size=BYTES`, some of them with a body. The application
//! answers `NUMBER\n` and a body that follows from the number, or the body that it was sent. What came of it all
//! is printed as one JSON document at the end: [`report::Report`]. `--plain` is for other applications, whose answers
//! nobody can check.

mod client;
mod expected;
mod report;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::client::Run;

/// Keeps an HTTP server busy until the time is up or TERM comes, and checks every response.
#[derive(Debug, Parser)]
struct Options {
    /// The address of the HTTP server.
    address: SocketAddr,
    /// The path of all requests; the number and the size go into its query.
    #[arg(long, default_value = "/work")]
    path: String,
    /// Connections at the same time.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Make a new connection for each request.
    #[arg(long)]
    close: bool,
    /// The most requests a second, over all connections [default: as many as there can be].
    #[arg(long)]
    rate: Option<f64>,
    /// Every so many requests one is a POST with a body; 0 for none.
    #[arg(long, default_value_t = 4)]
    post_every: u64,
    /// The length of bodies, in bytes.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Ask for the path as it is, and take every answer with status 200 as right.
    #[arg(long)]
    plain: bool,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// The longest wait for one response, in seconds.
    #[arg(long, default_value_t = 60.0)]
    timeout: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let printed = runtime.and_then(|runtime| {
        let report = runtime.block_on(LocalSet::new().run_until(run(options)))?;
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All connections, from the first request to the last response.
async fn run(options: Options) -> std::io::Result<report::Report> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let duration = Duration::from_secs_f64(options.duration);
    let connections = options.connections;
    let run = Rc::new(Run::new(options));
    let clients: Vec<_> = (0..connections)
        .map(|_| tokio::task::spawn_local(Rc::clone(&run).keep_busy()))
        .collect();
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    run.stop();
    for client in clients {
        client.await.map_err(std::io::Error::other)?;
    }
    Ok(run.report())
}
