//! What is on the screen, and what keys and documents change about it.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rates::{Rates, WorkerRates};
use super::text;
use crate::observe::stats::{Stats, Worker};

/// All that is drawn.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The document on the screen, with nothing in it that a terminal would act on.
    pub(super) stats: Stats,
    /// What happened since the document before; `None` for the first of a master.
    pub(super) rates: Option<Rates>,
    /// The reason why there is no newer document.
    pub(super) trouble: Option<Trouble>,
    /// The master that answered before this one, until this has been said long enough.
    pub(super) replaced: Option<Replaced>,
    pub(super) sort: Sort,
    /// How many workers are above the first that is shown.
    pub(super) offset: usize,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) colored: bool,
    /// The last document, also while another stays on the screen.
    latest: Stats,
}

/// The server does not answer.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) what: String,
    /// When it was noticed.
    pub(super) since: Instant,
}

/// Another master answers than before.
#[derive(Clone, Debug)]
pub(super) struct Replaced {
    pub(super) pid: u32,
    at: Instant,
}

/// The order of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Number,
    Busy,
    Rss,
    Running,
}

/// What a key asks for beside a change of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    Quit,
}

/// For so long a new master is pointed out.
const POINTED_OUT: Duration = Duration::from_secs(10);

impl View {
    pub(super) fn new(stats: Stats, colored: bool) -> Self {
        let stats = printable(stats);
        Self {
            stats: stats.clone(),
            rates: None,
            trouble: None,
            replaced: None,
            sort: Sort::default(),
            offset: 0,
            paused: false,
            help: false,
            colored,
            latest: stats,
        }
    }

    /// A document came.
    pub(super) fn take(&mut self, stats: Stats) {
        self.trouble = None;
        let stats = printable(stats);
        let now = Instant::now();
        if self.latest.master.pid != stats.master.pid {
            self.replaced = Some(Replaced {
                pid: self.latest.master.pid,
                at: now,
            });
        } else if let Some(replaced) = &self.replaced {
            if now.duration_since(replaced.at) > POINTED_OUT {
                self.replaced = None;
            }
        }
        if !self.paused {
            self.rates = Rates::between(&self.latest, &stats);
            self.stats = stats.clone();
        }
        self.latest = stats;
    }

    /// No document came.
    pub(super) fn miss(&mut self, what: &str) {
        let since = self
            .trouble
            .as_ref()
            .map_or_else(Instant::now, |trouble| trouble.since);
        self.trouble = Some(Trouble {
            what: text::printable(what),
            since,
        });
    }

    /// A key was pressed while `lines` workers fit on the screen.
    pub(super) fn press(&mut self, key: KeyEvent, lines: usize) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Stay;
        }
        let last = self.stats.workers.len().saturating_sub(lines);
        // Workers may have gone since.
        self.offset = self.offset.min(last);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Wish::Quit;
            }
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Esc | KeyCode::Char('q') if self.help => self.help = false,
            KeyCode::Esc | KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Up => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down => self.offset += 1,
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(lines),
            KeyCode::PageDown => self.offset += lines,
            KeyCode::Home => self.offset = 0,
            KeyCode::End => self.offset = last,
            _ => {}
        }
        self.offset = self.offset.min(last);
        Wish::Stay
    }

    /// Returns the workers in their order, with what they did.
    pub(super) fn workers(&self) -> Vec<(&Worker, Option<WorkerRates>)> {
        let rates = |index| {
            let rates = self.rates.as_ref()?;
            rates.workers.get(index).copied()
        };
        let mut workers: Vec<_> = self
            .stats
            .workers
            .iter()
            .enumerate()
            .map(|(index, worker)| (worker, rates(index)))
            .collect();
        workers.sort_by_key(|(worker, _)| (worker.number, worker.pid));
        // A stable sort: those that are alike stay in the order of their numbers.
        match self.sort {
            Sort::Number => {}
            Sort::Busy => workers.sort_by(|(one, rates), (other, other_rates)| {
                let busy = |worker: &Worker, rates: &Option<WorkerRates>| {
                    rates.map_or(worker.busy, |rates| rates.busy)
                };
                busy(other, other_rates).total_cmp(&busy(one, rates))
            }),
            Sort::Rss => workers.sort_by_key(|(worker, _)| Reverse(worker.rss)),
            Sort::Running => workers.sort_by(|(one, _), (other, _)| {
                let longest =
                    |worker: &Worker| worker.running.first().map_or(-1.0, |run| run.since);
                longest(other).total_cmp(&longest(one))
            }),
        }
        workers
    }
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Number => Self::Busy,
            Self::Busy => Self::Rss,
            Self::Rss => Self::Running,
            Self::Running => Self::Number,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Busy => "busy",
            Self::Rss => "rss",
            Self::Running => "running time",
        }
    }
}

/// Returns the document as it may be shown, with the longest-running request of a worker first.
fn printable(mut stats: Stats) -> Stats {
    let escape = |text: &mut String| *text = text::printable(text);
    escape(&mut stats.version);
    escape(&mut stats.master.state);
    for socket in &mut stats.sockets {
        escape(&mut socket.address);
    }
    for worker in &mut stats.workers {
        escape(&mut worker.state);
        worker.last_respawn.iter_mut().for_each(escape);
        for running in &mut worker.running {
            escape(&mut running.request);
        }
        let running = &mut worker.running;
        running.sort_by(|one, other| other.since.total_cmp(&one.since));
    }
    let totals = &mut stats.totals;
    for reasons in [&mut totals.refused, &mut totals.restarts] {
        *reasons = std::mem::take(reasons)
            .into_iter()
            .map(|(reason, count)| (text::printable(&reason), count))
            .collect();
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn press(view: &mut View, code: KeyCode) -> Wish {
        view.press(KeyEvent::new(code, KeyModifiers::NONE), 4)
    }

    fn order(view: &View) -> Vec<usize> {
        view.workers()
            .iter()
            .map(|(worker, _)| worker.number)
            .collect()
    }

    #[test]
    fn s_goes_through_the_orders() {
        let mut view = sample::view();
        let mut orders = Vec::new();
        for _ in 0..5 {
            orders.push((
                view.sort,
                order(&view).into_iter().take(3).collect::<Vec<_>>(),
            ));
            press(&mut view, KeyCode::Char('s'));
        }
        assert_eq!(
            orders,
            [
                (Sort::Number, vec![1, 2, 3]),
                (Sort::Busy, vec![2, 1, 3]),
                (Sort::Rss, vec![3, 2, 4]),
                (Sort::Running, vec![2, 1, 3]),
                (Sort::Number, vec![1, 2, 3]),
            ]
        );
    }

    #[test]
    fn scrolling_ends_with_the_workers() {
        let mut view = View::new(sample::many(10), true);
        for (code, offset) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 5),
            (KeyCode::PageDown, 6),
            (KeyCode::PageUp, 2),
            (KeyCode::End, 6),
            (KeyCode::Down, 6),
            (KeyCode::Home, 0),
        ] {
            assert_eq!(press(&mut view, code), Wish::Stay);
            assert_eq!(view.offset, offset, "{code:?}");
        }
    }

    #[test]
    fn keys_that_quit_close_help_first() {
        let mut view = sample::view();
        press(&mut view, KeyCode::Char('h'));
        assert!(view.help);
        assert_eq!(press(&mut view, KeyCode::Esc), Wish::Stay);
        assert!(!view.help);
        assert_eq!(press(&mut view, KeyCode::Esc), Wish::Quit);
        assert_eq!(press(&mut view, KeyCode::Char('q')), Wish::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(interrupt, 4), Wish::Quit);
        assert_eq!(press(&mut view, KeyCode::Char('c')), Wish::Stay);
    }

    #[test]
    fn a_pause_keeps_the_screen_and_not_the_clock() {
        let mut view = sample::view();
        let later = |seconds: f64, requests| {
            let mut stats = sample::stats();
            stats.master.uptime += seconds;
            stats.totals.requests += requests;
            stats
        };
        press(&mut view, KeyCode::Char('p'));
        let shown = view.stats.clone();
        view.take(later(10.0, 1000));
        assert_eq!(view.stats, shown);
        press(&mut view, KeyCode::Char('p'));
        view.take(later(11.0, 1007));
        assert_eq!(view.rates.unwrap().requests, 7.0);
    }

    #[test]
    fn trouble_lasts_until_a_document_comes() {
        let mut view = sample::view();
        view.miss("gone");
        let since = view.trouble.clone().unwrap().since;
        view.miss("still\x1bgone");
        let trouble = view.trouble.clone().unwrap();
        assert_eq!(trouble.what, "still\\u{1b}gone");
        assert_eq!(trouble.since, since);
        let mut stats = sample::stats();
        let pid = stats.master.pid;
        stats.master.pid += 1;
        view.take(stats);
        assert!(view.trouble.is_none());
        assert_eq!(view.replaced.unwrap().pid, pid);
        assert_eq!(view.rates, None);
    }
}
