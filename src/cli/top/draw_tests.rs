use crossterm::style::Color;

use super::super::sample;
use super::*;
use crate::observe::stats::Stats;

fn drawn(view: &View, width: u16, height: u16) -> Canvas {
    let mut canvas = Canvas::new(width, height);
    draw(&mut canvas, view);
    canvas
}

fn screen(view: &View, width: u16, height: u16) -> String {
    let rows = drawn(view, width, height).text();
    let rows: Vec<&str> = rows.iter().map(|row| row.trim_end()).collect();
    rows.join("\n")
}

fn assert_has(screen: &str, texts: &[&str]) {
    for text in texts {
        assert!(screen.contains(text), "no {text:?} in\n{screen}");
    }
}

#[test]
fn at_80_by_24_all_is_there() {
    let screen = screen(&sample::view(), 80, 24);
    assert_has(
        &screen,
        &[
            "spile 0.1.0   pid 4711   serving   up 3d04h   generation 3   workers 4/4",
            "412 req/s   1.0 errors/s   p50 5.2ms   p99",
            "7 in flight   1.2M/s out",
            "1.2M requests   12 errors   13 restarts (12 request-timeout, 1 killed)",
            "unix:/run/app/app.sock   queue    3/1024   █░",
            "127.0.0.1:3031           queue  600/1024   ████████████░░░░░░░░   59%",
            "1 4713 busy     3h04m 123k   100   0  48M  50% 0",
            "1.2s GET /report/m… +1",
            "42s POST /import",
            "4 4716 starting    4s 123k   100   3  50M   0% 12 timeout",
            "q quit   s sort: number   p pause   ? help",
        ],
    );
}

#[test]
fn at_60_by_10_less_important_columns_are_left_out() {
    let screen = screen(&sample::view(), 60, 10);
    assert_has(
        &screen,
        &[
            "spile 0.1.0   pid 4711   serving",
            "412 req/s   1.0 errors/s",
            "unix:/run/app/app.sock",
            "127.0.0.1:3031",
            "REQ/S",
            "BUSY",
            "1 4713 busy",
            "1.2s GET /report",
            "4 4716 starting",
            "q quit",
        ],
    );
    assert!(!screen.contains("RESTARTS"), "{screen}");
}

#[test]
fn the_fullest_socket_stays_where_there_is_room_for_one() {
    let screen = screen(&sample::view(), 60, 7);
    assert_has(&screen, &["127.0.0.1:3031   ", "600/1024   +1 more"]);
    assert!(!screen.contains("unix:"), "{screen}");
}

#[test]
fn a_large_terminal_shows_whole_requests() {
    let screen = screen(&sample::view(), 200, 50);
    assert_has(
        &screen,
        &[
            "1.2s GET /report/monthly?year=2026 · 4.0ms GET /a",
            "2 refused (2 bad-packet)",
            "mold 4712",
            "42s POST /import",
        ],
    );
}

#[test]
fn no_size_is_too_small() {
    let mut views = vec![sample::view(), View::new(Stats::default(), false)];
    views.push(View::new(sample::many(100), true));
    let mut troubled = sample::view();
    troubled.miss("gone");
    troubled.help = true;
    troubled.offset = usize::MAX;
    views.push(troubled);
    for view in &views {
        for width in [0, 1, 2, 5, 13, 20, 37, 60, 1000] {
            for height in [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16] {
                drawn(view, width, height);
                lines(Canvas::new(width, height).area(), view);
            }
        }
    }
    assert_has(
        &screen(&views[0], 20, 5),
        &["spile 0.1.0", "412 req/s", "4713"],
    );
    assert_eq!(screen(&views[0], 1, 1), "s");
}

#[test]
fn what_is_wrong_stands_out_unless_colors_are_unwanted() {
    let mut view = sample::view();
    let canvas = drawn(&view, 80, 24);
    for (text, color) in [
        ("42s", Some(Color::DarkRed)),
        ("1.2s", Some(Color::DarkMagenta)),
        ("1.0 errors/s", Some(Color::DarkRed)),
        ("queue  600", Some(Color::DarkMagenta)),
        ("queue    3", None),
        ("starting", Some(Color::DarkMagenta)),
        ("idle", None),
    ] {
        assert_eq!(canvas.style_of(text).color, color, "{text}");
    }
    view.colored = false;
    let canvas = drawn(&view, 80, 24);
    assert!(!canvas.has_color());
    assert!(canvas.style_of("42s").bold);
}

#[test]
fn without_an_answer_the_last_one_fades() {
    let mut view = sample::view();
    view.miss("cannot connect to /run/spile.ctl: connection refused");
    let canvas = drawn(&view, 80, 24);
    let screen = screen(&view, 80, 24);
    assert_has(
        &screen,
        &["spile 0.1.0   no answer for 0s: cannot connect to /run"],
    );
    assert_eq!(canvas.style_of("no answer").color, Some(Color::DarkRed));
    assert_eq!(canvas.style_of("42s"), Style::DIM);
    assert_has(
        &super::tests::screen(&view, 30, 5),
        &["no answer for 0s: cannot"],
    );
}

#[test]
fn another_master_is_pointed_out_and_has_no_rates_yet() {
    let mut view = sample::view();
    let mut stats = sample::stats();
    stats.master.pid = 9001;
    stats.master.state = "starting".to_owned();
    view.take(stats);
    assert_has(
        &screen(&view, 80, 24),
        &[
            "pid 9001   starting   new: pid was 4711",
            "– req/s",
            "p50 –",
        ],
    );
}

#[test]
fn more_workers_than_lines_scroll() {
    let mut view = View::new(sample::many(40), true);
    view.offset = 12;
    let screen = screen(&view, 80, 24);
    assert_has(
        &screen,
        &["workers 13-28 of 40", "↑↓ scroll", "\n13 4725", "\n28 4740"],
    );
    assert!(!screen.contains("\n12 4724"), "{screen}");
    assert_eq!(lines(Canvas::new(80, 24).area(), &view), 16);
}

#[test]
fn control_characters_are_escaped() {
    let mut stats = sample::stats();
    stats.workers[0].running[0].request = "GET /\u{1b}]0;x\u{7}".to_owned();
    stats.master.state = "\u{1b}[2J".to_owned();
    let screen = screen(&View::new(stats, true), 200, 24);
    assert_has(&screen, &["GET /\\u{1b}]0;x\\u{7}", "\\u{1b}[2J"]);
}

#[test]
fn help_lies_over_it() {
    let mut view = sample::view();
    view.help = true;
    assert_has(
        &screen(&view, 80, 24),
        &["quit", "longest-running", "`spile stats`"],
    );
}
