//! The table of workers.

use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};

use super::rates::WorkerRates;
use super::style::{attention, bad};
use super::text::{self, UNKNOWN, bytes, count, cut, duration, percent, rate};
use super::view::View;
use crate::observe::stats::{Running, Worker};

/// A request that runs for longer, in seconds, stands out.
const LONG: f64 = 1.0;

/// A request that runs for longer, in seconds, is taken for stuck.
const STUCK: f64 = 10.0;

/// The least room for what a worker runs: other columns go to make it.
const RUNNING_ROOM: usize = 22;

/// A column's text and its colour.
type Shown = (String, Style);

struct Column {
    title: &'static str,
    /// Columns with the highest number go first when there is no room; 0 stays.
    goes: u8,
    alignment: Alignment,
    cell: fn(&Worker, Option<WorkerRates>, bool) -> Shown,
}

const COLUMNS: [Column; 10] = [
    column("#", 0, |worker, _, _| plain(worker.number.to_string())),
    column("PID", 0, |worker, _, _| plain(worker.pid.to_string())),
    Column {
        alignment: Alignment::Left,
        ..column("STATE", 1, state)
    },
    column("UP", 8, |worker, _, _| plain(duration_of(worker.uptime))),
    column("REQS", 6, |worker, _, _| plain(count(worker.requests))),
    column("REQ/S", 3, |_, rates, _| {
        plain(rates.map_or_else(|| UNKNOWN.to_owned(), |rates| rate(rates.requests)))
    }),
    column("ERR", 5, errors),
    column("RSS", 4, |worker, _, _| plain(bytes(worker.rss as f64))),
    column("BUSY", 2, |_, rates, _| {
        plain(rates.map_or_else(|| UNKNOWN.to_owned(), |rates| percent(rates.busy)))
    }),
    Column {
        alignment: Alignment::Left,
        ..column("RESTARTS", 7, restarts)
    },
];

const fn column(
    title: &'static str,
    goes: u8,
    cell: fn(&Worker, Option<WorkerRates>, bool) -> Shown,
) -> Column {
    Column {
        title,
        goes,
        alignment: Alignment::Right,
        cell,
    }
}

fn plain(text: String) -> Shown {
    (text, Style::new())
}

/// Whole seconds: a worker's age to the millisecond is noise.
fn duration_of(uptime: f64) -> String {
    if uptime < 60.0 {
        format!("{}s", uptime as u64)
    } else {
        duration(uptime)
    }
}

fn state(worker: &Worker, _: Option<WorkerRates>, colored: bool) -> Shown {
    let style = match worker.state.as_str() {
        "starting" | "leaving" => attention(colored),
        _ => Style::new(),
    };
    (worker.state.clone(), style)
}

fn errors(worker: &Worker, _: Option<WorkerRates>, colored: bool) -> Shown {
    let style = if worker.errors > 0 {
        bad(colored)
    } else {
        Style::new()
    };
    (count(worker.errors), style)
}

/// How often, and why the last time: without what goes without saying of a limit.
fn restarts(worker: &Worker, _: Option<WorkerRates>, _: bool) -> Shown {
    let short = match worker.last_respawn.as_deref() {
        Some("max-requests") => " requests",
        Some("max-rss") => " rss",
        Some("max-rss-kill") => " rss-kill",
        Some("request-timeout") => " timeout",
        Some(other) => return plain(format!("{} {other}", count(worker.respawns))),
        None => "",
    };
    plain(format!("{}{short}", count(worker.respawns)))
}

/// The workers that fit below a line of titles.
pub(super) fn workers(view: &View, area: Rect) -> Table<'static> {
    let workers = view.workers();
    let fit = usize::from(area.height.saturating_sub(1));
    let offset = view.offset.min(workers.len().saturating_sub(fit));
    let cells = |(worker, rates): &(&Worker, _)| -> Vec<Shown> {
        let cell = |column: &Column| (column.cell)(worker, *rates, view.colored);
        COLUMNS.iter().map(cell).collect()
    };
    // All of them, that nothing moves while scrolling.
    let rows: Vec<Vec<Shown>> = workers.iter().map(cells).collect();
    let room = usize::from(area.width);
    let (kept, rest) = columns(&rows, room);

    let width = |width: &Option<usize>| width.map(|width| Constraint::Length(width as u16));
    let mut widths: Vec<Constraint> = kept.iter().filter_map(width).collect();
    widths.push(Constraint::Fill(1));

    let titles = COLUMNS
        .iter()
        .zip(&kept)
        .filter(|(_, width)| width.is_some());
    let mut titles: Vec<Cell> = titles
        .map(|(column, _)| Cell::new(Line::raw(column.title).alignment(column.alignment)))
        .collect();
    titles.push(Cell::new("RUNNING"));

    let rows = rows.into_iter().zip(&workers).skip(offset).take(fit);
    let rows = rows.map(|(row, (worker, _))| {
        let row = row.into_iter().zip(&COLUMNS).zip(&kept);
        let mut cells: Vec<Cell> = row
            .filter(|(_, width)| width.is_some())
            .map(|(((text, style), column), _)| {
                Cell::new(Line::styled(text, style).alignment(column.alignment))
            })
            .collect();
        cells.push(Cell::new(running(&worker.running, rest, view.colored)));
        Row::new(cells)
    });
    Table::new(rows, widths)
        .header(Row::new(titles).style(Modifier::REVERSED))
        .column_spacing(1)
}

/// The width of each column, `None` for those that there is no room for, and what they leave.
fn columns(rows: &[Vec<Shown>], room: usize) -> (Vec<Option<usize>>, usize) {
    let mut kept: Vec<Option<usize>> = COLUMNS
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let texts = rows.iter().filter_map(|row| row.get(index));
            let widest = texts.map(|(text, _)| text::width(text)).max();
            Some(widest.unwrap_or(0).max(column.title.len()))
        })
        .collect();
    for next in (1..=8).rev() {
        if room >= taken(&kept) + RUNNING_ROOM {
            break;
        }
        for (column, width) in COLUMNS.iter().zip(&mut kept) {
            if column.goes == next {
                *width = None;
            }
        }
    }
    let rest = room.saturating_sub(taken(&kept));
    (kept, rest)
}

/// The room of the columns and of the space behind each.
fn taken(kept: &[Option<usize>]) -> usize {
    kept.iter().flatten().map(|width| width + 1).sum()
}

/// As many requests as there is room for, the longest-running first, and how many more there are.
fn running(all: &[Running], room: usize, colored: bool) -> Line<'static> {
    let mut line = Line::default();
    for (index, one) in all.iter().enumerate() {
        let after = all.len() - index - 1;
        let more = if after > 0 {
            format!(" +{after}")
        } else {
            String::new()
        };
        let time = format!("{} ", duration(one.since));
        let left = room.saturating_sub(line.width());
        let whole = text::width(&time) + text::width(&one.request);
        if index > 0 && 3 + whole + more.len() > left {
            line.push_span(Span::raw(format!(" +{}", after + 1)));
            break;
        }
        if index > 0 {
            line.push_span(Span::raw(" · "));
        }
        let left = room.saturating_sub(line.width() + text::width(&time) + more.len());
        line.push_span(Span::styled(time, how_long(one.since, colored)));
        line.push_span(Span::raw(cut(&one.request, left)));
    }
    line
}

fn how_long(since: f64, colored: bool) -> Style {
    if since >= STUCK {
        bad(colored)
    } else if since >= LONG {
        attention(colored)
    } else {
        Style::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(all: &[(&str, f64)], room: usize) -> String {
        let all: Vec<Running> = all
            .iter()
            .map(|&(request, since)| Running {
                request: request.to_owned(),
                since,
            })
            .collect();
        running(&all, room, true).to_string()
    }

    #[test]
    fn as_many_requests_as_there_is_room_for() {
        let all = [("GET /report", 3.2), ("GET /a", 0.5), ("GET /b", 0.02)];
        assert_eq!(requests(&[], 20), "");
        assert_eq!(requests(&all[..1], 20), "3.2s GET /report");
        assert_eq!(requests(&all[..1], 12), "3.2s GET /r…");
        assert_eq!(requests(&all, 15), "3.2s GET /r… +2");
        assert_eq!(requests(&all, 20), "3.2s GET /report +2");
        assert_eq!(requests(&all, 40), "3.2s GET /report · 500ms GET /a +1");
        assert_eq!(
            requests(&all, 60),
            "3.2s GET /report · 500ms GET /a · 20ms GET /b"
        );
    }
}
