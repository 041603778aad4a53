//! The table of workers.

use super::canvas::{Area, Canvas, Line, Span, Style};
use super::rates::WorkerRates;
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
    /// Texts stand at its left; numbers at its right.
    is_left: bool,
    cell: fn(&Worker, Option<WorkerRates>, bool) -> Shown,
}

const COLUMNS: [Column; 10] = [
    column("#", 0, |worker, _, _| plain(worker.number.to_string())),
    column("PID", 0, |worker, _, _| plain(worker.pid.to_string())),
    Column {
        is_left: true,
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
        is_left: true,
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
        is_left: false,
        cell,
    }
}

fn plain(text: String) -> Shown {
    (text, Style::PLAIN)
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
        "starting" | "leaving" => Style::attention(colored),
        _ => Style::PLAIN,
    };
    (worker.state.clone(), style)
}

fn errors(worker: &Worker, _: Option<WorkerRates>, colored: bool) -> Shown {
    let style = if worker.errors > 0 {
        Style::bad(colored)
    } else {
        Style::PLAIN
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

/// Draws a line of titles and the workers that fit below.
pub(super) fn workers(canvas: &mut Canvas, view: &View, area: Area) {
    let workers = view.workers();
    let fit = usize::from(area.height.saturating_sub(1));
    let offset = view.offset.min(workers.len().saturating_sub(fit));
    let cells = |(worker, rates): &(&Worker, _)| -> Vec<Shown> {
        let cell = |column: &Column| (column.cell)(worker, *rates, view.colored);
        COLUMNS.iter().map(cell).collect()
    };
    // All of them, that nothing moves while scrolling.
    let rows: Vec<Vec<Shown>> = workers.iter().map(cells).collect();
    let (kept, rest) = columns(&rows, usize::from(area.width));

    let mut lines = area.lines();
    if let Some(first) = lines.next() {
        let titles = COLUMNS.iter().map(|column| plain(column.title.to_owned()));
        let mut titles = row(titles, &kept);
        titles.push(Span::plain("RUNNING"));
        canvas.put(first, &titles);
        canvas.restyle(first, Style::REVERSED);
    }
    let shown = rows.into_iter().zip(&workers).skip(offset);
    for (area, (cells, (worker, _))) in lines.zip(shown) {
        let mut line = row(cells, &kept);
        line.append(running(&worker.running, rest, view.colored));
        canvas.put(area, &line);
    }
}

/// Returns a row's texts in the columns that are kept, each with a space behind it.
fn row(cells: impl IntoIterator<Item = Shown>, kept: &[Option<usize>]) -> Line {
    let mut line = Line::default();
    for (((text, style), column), width) in cells.into_iter().zip(&COLUMNS).zip(kept) {
        let Some(width) = width else {
            continue;
        };
        let gap = Span::plain(" ".repeat(width.saturating_sub(text::width(&text))));
        let text = Span::styled(text, style);
        let parts = if column.is_left {
            [text, gap]
        } else {
            [gap, text]
        };
        line.append(parts.into());
        line.push(Span::plain(" "));
    }
    line
}

/// Returns the width of each column, `None` for a column without room, and the width that is left over.
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

/// Returns the room of the columns and of the space behind each.
fn taken(kept: &[Option<usize>]) -> usize {
    kept.iter().flatten().map(|width| width + 1).sum()
}

/// As many requests as there is room for, the longest-running first, and how many more there are.
fn running(all: &[Running], room: usize, colored: bool) -> Line {
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
            line.push(Span::plain(format!(" +{}", after + 1)));
            break;
        }
        if index > 0 {
            line.push(Span::plain(" · "));
        }
        let left = room.saturating_sub(line.width() + text::width(&time) + more.len());
        line.push(Span::styled(time, how_long(one.since, colored)));
        line.push(Span::plain(cut(&one.request, left)));
    }
    line
}

fn how_long(since: f64, colored: bool) -> Style {
    if since >= STUCK {
        Style::bad(colored)
    } else if since >= LONG {
        Style::attention(colored)
    } else {
        Style::PLAIN
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
        running(&all, room, true).text()
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
