//! Holds the tables in `docs/` equal to the one here. With `SPILE_WRITE_PAGES=1` the test writes them.

use std::fmt::Write as _;
use std::path::Path;

use super::{
    Program,
    row::{Here, Row, Section},
};

#[test]
fn the_pages_have_the_table() {
    for (program, page) in [
        (Program::Gunicorn, "moving-from-gunicorn.md"),
        (Program::Uwsgi, "moving-from-uwsgi.md"),
        (Program::Uvicorn, "moving-from-uvicorn-and-granian.md"),
        (Program::Granian, "moving-from-uvicorn-and-granian.md"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = (
            format!(
                "<!-- {} options, from src/config/foreign -->\n",
                program.name()
            ),
            format!("<!-- end of {} options -->\n", program.name()),
        );
        let (before, rest) = text.split_once(&begin).expect(page);
        let (_, after) = rest.split_once(&end).expect(page);
        let expected = format!("{before}{begin}{}\n{end}{after}", tables(program));
        if std::env::var_os("SPILE_WRITE_PAGES").is_some() {
            std::fs::write(&path, expected).unwrap();
        } else {
            assert!(
                text == expected,
                "docs/{page} differs from the table in src/config/foreign: SPILE_WRITE_PAGES=1 \
                 cargo test --features config --lib the_pages writes it"
            );
        }
    }
}

fn tables(program: Program) -> String {
    let mut text = String::new();
    for Section { title, rows } in program.sections() {
        let _ = write!(
            text,
            "\n### {title}\n\n| {} | spile | note |\n| --- | --- | --- |\n",
            program.name()
        );
        for row in *rows {
            let (names, here, note) = (names(program, row), here(row.here), note(row.note));
            let gap = if note.is_empty() { "" } else { " " };
            let _ = writeln!(text, "| {names} | {here} |{gap}{note} |");
        }
    }
    text
}

fn names(program: Program, row: &Row) -> String {
    let dashes = if program == Program::Uwsgi { "" } else { "--" };
    let long = row.names.iter().map(|name| format!("`{dashes}{name}`"));
    let short = row.letters.chars().map(|letter| format!("`-{letter}`"));
    let settings = row.settings.iter().filter(|it| !row.names.contains(it));
    let all: Vec<_> = long
        .chain(short)
        .chain(settings.map(|name| format!("`{name}`")))
        .collect();
    all.join(", ")
}

fn here(here: Here) -> String {
    match here {
        Here::Options(keys) => {
            let keys = keys.iter().map(|key| match *key {
                "app" => "APP".to_owned(),
                key => format!("`--{key}`"),
            });
            keys.collect::<Vec<_>>().join(", ")
        }
        Here::Other(what) => what.to_owned(),
        Here::Always => "always".to_owned(),
        Here::No => "no".to_owned(),
    }
}

/// Returns the note with our options as code.
fn note(note: &str) -> String {
    let mut text = String::new();
    for (index, part) in note.split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(text, "`{part}`");
            continue;
        }
        let mut rest = part;
        while let Some(at) = rest.find("--") {
            let (before, option) = rest.split_at(at);
            let is_end = |it: char| !(it.is_ascii_alphanumeric() || it == '-');
            let (option, after) = option.split_at(option.find(is_end).unwrap_or(option.len()));
            let _ = write!(text, "{before}`{option}`");
            rest = after;
        }
        text.push_str(rest);
    }
    text
}
