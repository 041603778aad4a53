//! The whole screen.

use std::collections::BTreeMap;

use super::canvas::{Area, Canvas, Line, Span, Style};
use super::table;
use super::text::{self, UNKNOWN, bytes, count, cut, duration, percent, rate};
use super::view::View;
use crate::observe::stats::Socket;

const HELP: [&str; 15] = [
    "s           sort: number, busy, rss, running time",
    "p           pause; again: go on",
    "↑ ↓ PgUp PgDn Home End   scroll the workers",
    "? h         this help",
    "q Esc       quit",
    "",
    "Rates, p50, p99 and BUSY are of the last interval:",
    "BUSY is the time that threads spent in the",
    "application. ERR are answers of 500 and above, and",
    "requests without any. RESTARTS are the workers that",
    "the place had before, and why the last one went.",
    "RUNNING has the longest-running request of a",
    "worker first; +2 are two more.",
    "",
    "`spile stats` prints the same, and more, as JSON.",
];

/// Draws the view, whatever the size: what matters less goes first.
pub(super) fn draw(canvas: &mut Canvas, view: &View) {
    let area = canvas.area();
    let parts = Parts::of(area, view);
    canvas.put(parts.rates, &rates(view, area.width));
    canvas.put(parts.totals, &totals(view, area.width));
    canvas.put(parts.keys, &keys(view, area.width, parts.workers));
    sockets(canvas, view, parts.sockets);
    table::workers(canvas, view, parts.workers);
    if view.trouble.is_some() {
        canvas.restyle(area, Style::DIM);
    }
    canvas.put(parts.header, &header(view, area.width));
    if view.help {
        help(canvas, area);
    }
}

/// How many workers are shown in a terminal of this size.
pub(super) fn lines(area: Area, view: &View) -> usize {
    usize::from(Parts::of(area, view).workers.height.saturating_sub(1))
}

struct Parts {
    header: Area,
    rates: Area,
    totals: Area,
    sockets: Area,
    workers: Area,
    keys: Area,
}

impl Parts {
    fn of(area: Area, view: &View) -> Self {
        let height = area.height;
        let from = |least: u16| u16::from(height >= least);
        let sockets = match height {
            0..=6 => 0,
            // A quarter at most is theirs.
            _ => (view.stats.sockets.len() as u16)
                .min((height / 4).max(1))
                .min(height - 6),
        };
        let fixed = 1 + from(2) + from(12) + sockets + from(16) + from(6);
        let mut below = area;
        let mut take = |height: u16| {
            let height = height.min(below.height);
            let taken = Area { height, ..below };
            below.y += height;
            below.height -= height;
            taken
        };
        let (header, rates, totals) = (take(1), take(from(2)), take(from(12)));
        let sockets = take(sockets);
        take(from(16));
        Self {
            header,
            rates,
            totals,
            sockets,
            workers: take(height.saturating_sub(fixed)),
            keys: take(from(6)),
        }
    }
}

/// As many of the parts as fit, from the first on.
fn fitting(parts: Vec<Span>, width: u16) -> Line {
    let mut line = Line::default();
    for part in parts {
        let gap = if line.is_empty() { 0 } else { 3 };
        if gap > 0 && line.width() + gap + part.width() > usize::from(width) {
            break;
        }
        if gap > 0 {
            line.push(Span::plain("   "));
        }
        line.push(part);
    }
    line
}

fn header(view: &View, width: u16) -> Line {
    let master = &view.stats.master;
    let name = format!("spile {}", view.stats.version);
    let name = Span::styled(name, Style::BOLD);
    if let Some(trouble) = &view.trouble {
        let age = trouble.since.elapsed().as_secs();
        let what = format!("no answer for {age}s: {}", trouble.what);
        let room = usize::from(width).saturating_sub(name.width() + 3);
        // It is worth more than the name.
        if room < 40 {
            let what = cut(&what, usize::from(width));
            return Span::styled(what, Style::bad(view.colored)).into();
        }
        let what = Span::styled(cut(&what, room), Style::bad(view.colored));
        return Line::from([name, Span::plain("   "), what]);
    }
    let state = if master.state == "serving" {
        Span::plain(master.state.clone())
    } else {
        Span::styled(master.state.clone(), Style::attention(view.colored))
    };
    let mut parts = vec![name, Span::plain(format!("pid {}", master.pid)), state];
    if let Some(replaced) = &view.replaced {
        let text = format!("new: pid was {}", replaced.pid);
        parts.push(Span::styled(text, Style::attention(view.colored)));
    }
    parts.push(Span::plain(format!(
        "up {}",
        duration(master.uptime.floor())
    )));
    parts.push(Span::plain(format!("generation {}", master.generation)));
    let here = view.stats.workers.len();
    parts.push(Span::plain(format!(
        "workers {here}/{}",
        master.workers_wanted
    )));
    if master.reloads_failed > 0 {
        let text = format!("{} failed reloads", master.reloads_failed);
        parts.push(Span::styled(text, Style::bad(view.colored)));
    }
    if let Some(mold) = master.mold {
        parts.push(Span::plain(format!("mold {mold}")));
    }
    fitting(parts, width)
}

fn rates(view: &View, width: u16) -> Line {
    let known = view.rates.as_ref();
    let unknown = || UNKNOWN.to_owned();
    let time = |seconds: Option<f64>| seconds.map_or_else(unknown, duration);
    let requests = known.map_or_else(unknown, |rates| rate(rates.requests));
    let errors = known.map_or_else(unknown, |rates| rate(rates.errors));
    let errors = if known.is_some_and(|rates| rates.errors > 0.0) {
        Span::styled(format!("{errors} errors/s"), Style::bad(view.colored))
    } else {
        Span::plain(format!("{errors} errors/s"))
    };
    let out = known.map_or_else(unknown, |rates| bytes(rates.bytes_out));
    let parts = vec![
        Span::styled(format!("{requests} req/s"), Style::BOLD),
        errors,
        Span::plain(format!("p50 {}", time(known.and_then(|rates| rates.p50)))),
        Span::plain(format!("p99 {}", time(known.and_then(|rates| rates.p99)))),
        Span::plain(format!("{} in flight", view.stats.totals.in_flight)),
        Span::plain(format!("{out}/s out")),
    ];
    fitting(parts, width)
}

fn totals(view: &View, width: u16) -> Line {
    let totals = &view.stats.totals;
    let mut parts = vec![
        Span::plain(format!("{} requests", count(totals.requests))),
        Span::plain(format!("{} errors", count(totals.errors))),
        Span::plain(reasons(&totals.restarts, "restarts")),
    ];
    if !totals.refused.is_empty() {
        let text = reasons(&totals.refused, "refused");
        parts.push(Span::styled(text, Style::attention(view.colored)));
    }
    if totals.access_log_dropped > 0 {
        let text = format!("{} log lines dropped", count(totals.access_log_dropped));
        parts.push(Span::styled(text, Style::attention(view.colored)));
    }
    fitting(parts, width)
}

/// How many, and of what: `3 restarts (2 max-rss, 1 killed)`.
fn reasons(all: &BTreeMap<String, u64>, what: &str) -> String {
    let text = format!("{} {what}", count(all.values().sum()));
    let mut all: Vec<_> = all.iter().filter(|(_, number)| **number > 0).collect();
    all.sort_by(|one, other| other.1.cmp(one.1));
    if all.is_empty() {
        return text;
    }
    let all: Vec<_> = all
        .iter()
        .map(|(reason, number)| format!("{} {reason}", count(**number)))
        .collect();
    format!("{text} ({})", all.join(", "))
}

/// Each socket's address, queue and how full that is; the fullest ones if there is no room for all.
fn sockets(canvas: &mut Canvas, view: &View, area: Area) {
    let mut all: Vec<&Socket> = view.stats.sockets.iter().collect();
    let (room, width) = (usize::from(area.height), usize::from(area.width));
    let hidden = all.len().saturating_sub(room);
    if hidden > 0 {
        all.sort_by(|one, other| fullness(other).total_cmp(&fullness(one)));
    }
    let longest = all.iter().map(|socket| text::width(&socket.address)).max();
    let address_width = longest.unwrap_or(0).min(width.saturating_sub(32).max(10));
    for (index, (socket, line)) in all.into_iter().zip(area.lines()).enumerate() {
        let full = fullness(socket);
        let style = match full {
            full if full > 0.9 => Style::bad(view.colored),
            full if full > 0.5 => Style::attention(view.colored),
            _ => Style::PLAIN,
        };
        let address = cut(&socket.address, address_width);
        let gap = " ".repeat(address_width.saturating_sub(text::width(&address)));
        let number = |number: Option<u32>| number.map_or(UNKNOWN.to_owned(), |n| n.to_string());
        let (queue, limit) = (number(socket.queue), number(socket.queue_limit));
        let mut parts = vec![
            Span::plain(address + &gap),
            Span::styled(format!("queue {:>9}", format!("{queue}/{limit}")), style),
        ];
        if hidden > 0 && index + 1 == room {
            parts.push(Span::plain(format!("+{hidden} more")));
        } else if socket.queue.is_some() && socket.queue_limit.is_some() {
            parts.push(Span::styled(bar(full, width / 4), style));
            parts.push(Span::styled(percent(full), style));
        }
        canvas.put(line, &fitting(parts, area.width));
    }
}

/// Returns the part of its queue that is taken, from 0 to 1; 0 if the kernel does not say.
fn fullness(socket: &Socket) -> f64 {
    match (socket.queue, socket.queue_limit) {
        (Some(queue), Some(limit)) if limit > 0 => {
            (f64::from(queue) / f64::from(limit)).clamp(0.0, 1.0)
        }
        _ => 0.0,
    }
}

fn bar(part: f64, width: usize) -> String {
    // Something that is not nothing is seen.
    let filled = ((part * width as f64).ceil() as usize).min(width);
    "█".repeat(filled) + &"░".repeat(width - filled)
}

fn keys(view: &View, width: u16, workers: Area) -> Line {
    let mut parts = Vec::new();
    if view.paused {
        let style = Style {
            bold: true,
            ..Style::REVERSED
        };
        parts.push(Span::styled(" PAUSED ", style));
    }
    let (all, fit) = (
        view.stats.workers.len(),
        usize::from(workers.height.saturating_sub(1)),
    );
    if all > fit {
        let offset = view.offset.min(all.saturating_sub(fit));
        let text = format!("workers {}-{} of {all}", offset + 1, offset + fit);
        parts.push(Span::styled(text, Style::BOLD));
    }
    parts.push(Span::plain("q quit"));
    parts.push(Span::plain(format!("s sort: {}", view.sort.name())));
    parts.push(Span::plain("p pause"));
    parts.push(Span::plain("? help"));
    if all > fit {
        parts.push(Span::plain("↑↓ scroll"));
    }
    fitting(parts, width)
}

fn help(canvas: &mut Canvas, area: Area) {
    let widest = HELP.iter().map(|line| text::width(line)).max().unwrap_or(0);
    let area = area.middle(widest as u16 + 4, HELP.len() as u16 + 2);
    canvas.clear(area);
    let title = format!("┌{:─<1$}┐", " spile top ", widest + 2);
    let end = format!("└{}┘", "─".repeat(widest + 2));
    let within = HELP.iter().map(|line| format!("│ {line:widest$} │"));
    let lines = [title].into_iter().chain(within).chain([end]);
    for (area, line) in area.lines().zip(lines) {
        canvas.put(area, &Span::plain(line).into());
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
