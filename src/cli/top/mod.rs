//! `spile top`: the state of a server, live in the terminal.
//!
//! # Layout
//!
//! - `view`: what is on the screen, and what keys and documents change about it.
//! - `rates`: what happened between two documents.
//! - `draw`, `table`, `text`: the screen, its table of workers, and what stands in a column.
//! - `canvas`, `screen`: the grid of characters that is drawn on, and the terminal that shows it.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    args::TopArgs,
    control,
    outcome::{Status, refuse, say_error},
};
use crate::client::control::{Command, ask};
use crate::config::{Cure, Mistake, Place, plain, seconds};
use crate::observe::stats::Stats;

mod canvas;
mod draw;
mod rates;
#[cfg(test)]
mod sample;
mod screen;
mod table;
mod text;
mod view;

use screen::Screen;
use view::{View, Wish};

/// The shortest interval, in seconds: asking costs the server something too.
const SHORTEST: f64 = 0.1;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows the server's state until told to quit.
pub(super) fn run(args: TopArgs) -> Status {
    let every = match seconds(&args.interval, SHORTEST) {
        Ok(every) => every,
        Err(error) => {
            return refuse(&[Mistake::at(Place::CommandLine("interval"), &error)]);
        }
    };
    let sockets = match control::sockets(&args.server) {
        Ok(sockets) => sockets,
        Err(status) => return status,
    };
    show(move || ask(&sockets, Command::Stats, PATIENCE), every)
}

/// Shows what `fetch` gets from a server, asked again at each interval, until told to quit.
///
/// A first time that fails is an error; later ones are shown and tried again.
fn show<E: Cure>(
    mut fetch: impl FnMut() -> Result<Stats, E> + Send + 'static,
    every: Duration,
) -> Status {
    if !io::stdout().is_terminal() {
        say_error(
            "standard output is not a terminal",
            "run `spile top` in one; `spile stats` prints the same once, as JSON",
        );
        return Status::Failure;
    }
    let first = match fetch() {
        Ok(stats) => stats,
        Err(error) => {
            let what = text::printable(&error.to_string());
            say_error(&what, &text::printable(&error.cure()));
            return Status::Failure;
        }
    };
    let colored = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match watch(View::new(first, colored), fetch, every) {
        Ok(()) => Status::Success,
        Err(error) => {
            let what = format!("cannot use the terminal: {}", plain(&error));
            say_error(&what, "run it in another one; `spile stats` needs none");
            Status::Failure
        }
    }
}

/// Takes the terminal and gives it back.
fn watch<E: Cure>(
    view: View,
    fetch: impl FnMut() -> Result<Stats, E> + Send + 'static,
    every: Duration,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        // Before the screen is taken: a signal from now on gives it back.
        let signals = Signals::new()?;
        let screen = Screen::take()?;
        let (documents, keys) = (documents(fetch, every), keys());
        follow(screen, view, documents, keys, signals).await
    })
}

async fn follow(
    mut screen: Screen,
    mut view: View,
    mut documents: Receiver<Result<Stats, String>>,
    mut keys: Receiver<io::Result<Event>>,
    mut signals: Signals,
) -> io::Result<()> {
    let gone = |what| io::Error::other(format!("what reads {what} has ended"));
    loop {
        let mut canvas = screen.canvas()?;
        draw::draw(&mut canvas, &view);
        screen.show(&canvas)?;
        tokio::select! {
            document = documents.recv() => match document.ok_or_else(|| gone("the server"))? {
                Ok(stats) => view.take(stats),
                Err(what) => view.miss(&what),
            },
            key = keys.recv() => {
                // A new size is seen by drawing.
                if let Event::Key(key) = key.ok_or_else(|| gone("the keys"))?? {
                    if view.press(key, draw::lines(canvas.area(), &view)) == Wish::Quit {
                        return Ok(());
                    }
                }
            }
            () = signals.recv() => return Ok(()),
        }
    }
}

/// Asks the server at each interval, beside everything else: it may be slow to answer.
fn documents<E: Cure>(
    mut fetch: impl FnMut() -> Result<Stats, E> + Send + 'static,
    every: Duration,
) -> Receiver<Result<Stats, String>> {
    beside(move |sender| {
        let mut next = Instant::now() + every;
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = (next + every).max(Instant::now());
            if sender
                .blocking_send(fetch().map_err(|error| error.to_string()))
                .is_err()
            {
                return;
            }
        }
    })
}

fn keys() -> Receiver<io::Result<Event>> {
    beside(|sender| {
        loop {
            let event = event::read();
            let last = event.is_err();
            if sender.blocking_send(event).is_err() || last {
                return;
            }
        }
    })
}

/// A thread that ends with the process: there is no waking it from what it waits for.
fn beside<T: Send + 'static>(work: impl FnOnce(Sender<T>) + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel(1);
    thread::spawn(move || work(sender));
    receiver
}

/// What asks for an end: from `kill`, or because the terminal is gone. Ctrl-C comes as a key.
struct Signals([Signal; 4]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    async fn recv(&mut self) {
        let [terminate, interrupt, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
