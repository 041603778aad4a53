//! A grid of characters with their styles, and lines to put on it.

use std::io::{self, Write};

use crossterm::cursor::MoveTo;
use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use unicode_width::UnicodeWidthChar;

/// How a character looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) color: Option<Color>,
    pub(super) bold: bool,
    pub(super) dim: bool,
    pub(super) reversed: bool,
}

impl Style {
    pub(super) const PLAIN: Self = Self {
        color: None,
        bold: false,
        dim: false,
        reversed: false,
    };
    pub(super) const BOLD: Self = Self {
        bold: true,
        ..Self::PLAIN
    };
    pub(super) const DIM: Self = Self {
        dim: true,
        ..Self::PLAIN
    };
    pub(super) const REVERSED: Self = Self {
        reversed: true,
        ..Self::PLAIN
    };

    /// Out of the ordinary. Magenta can be read on dark and on light.
    pub(super) fn attention(colored: bool) -> Self {
        Self::in_color(Color::DarkMagenta, colored)
    }

    /// Wrong.
    pub(super) fn bad(colored: bool) -> Self {
        Self::in_color(Color::DarkRed, colored)
    }

    fn in_color(color: Color, colored: bool) -> Self {
        Self {
            color: colored.then_some(color),
            ..Self::BOLD
        }
    }
}

/// A text in one style.
#[derive(Clone, Debug)]
pub(super) struct Span {
    text: String,
    style: Style,
}

impl Span {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::styled(text, Style::PLAIN)
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        let text = text.into();
        Self { text, style }
    }

    pub(super) fn width(&self) -> usize {
        width(&self.text)
    }
}

/// Texts side by side.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<Span>);

impl Line {
    pub(super) fn push(&mut self, span: Span) {
        self.0.push(span);
    }

    pub(super) fn append(&mut self, mut after: Self) {
        self.0.append(&mut after.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn width(&self) -> usize {
        self.0.iter().map(Span::width).sum()
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|span| span.text.as_str()).collect()
    }
}

impl From<Span> for Line {
    fn from(span: Span) -> Self {
        Self(vec![span])
    }
}

impl<const N: usize> From<[Span; N]> for Line {
    fn from(spans: [Span; N]) -> Self {
        Self(spans.into())
    }
}

/// A rectangle of the grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: u16,
    pub(super) y: u16,
    pub(super) width: u16,
    pub(super) height: u16,
}

impl Area {
    /// Returns each of its lines as an area.
    pub(super) fn lines(self) -> impl Iterator<Item = Self> {
        let line = move |y| Self {
            y: self.y + y,
            height: 1,
            ..self
        };
        (0..self.height).map(line)
    }

    /// Returns the area of this size in its middle, or what it has room for.
    pub(super) fn middle(self, width: u16, height: u16) -> Self {
        let (width, height) = (width.min(self.width), height.min(self.height));
        Self {
            x: self.x + (self.width - width) / 2,
            y: self.y + (self.height - height) / 2,
            width,
            height,
        }
    }
}

/// The grid that a terminal shows.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    width: u16,
    height: u16,
    cells: Vec<Cell>,
}

/// A place in the grid. A character of two columns has two, of which the second is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    character: Option<char>,
    style: Style,
}

impl Cell {
    const BLANK: Self = Self {
        character: Some(' '),
        style: Style::PLAIN,
    };
}

impl Canvas {
    pub(super) fn new(width: u16, height: u16) -> Self {
        let cells = vec![Cell::BLANK; usize::from(width) * usize::from(height)];
        Self {
            width,
            height,
            cells,
        }
    }

    pub(super) fn area(&self) -> Area {
        Area {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        }
    }

    /// Puts a line on the first line of an area, as far as that reaches.
    pub(super) fn put(&mut self, area: Area, line: &Line) {
        let Some(first) = area.lines().next() else {
            return;
        };
        let mut cells = self.cells_of(first).iter_mut();
        for Span { text, style } in &line.0 {
            for character in text.chars() {
                let columns = character.width().unwrap_or(0);
                if columns > cells.len() {
                    return;
                }
                for (column, cell) in cells.by_ref().take(columns).enumerate() {
                    *cell = Cell {
                        character: (column == 0).then_some(character),
                        style: *style,
                    };
                }
            }
        }
    }

    /// Gives everything in an area this style.
    pub(super) fn restyle(&mut self, area: Area, style: Style) {
        for line in area.lines() {
            for cell in self.cells_of(line) {
                cell.style = style;
            }
        }
    }

    /// Empties an area.
    pub(super) fn clear(&mut self, area: Area) {
        for line in area.lines() {
            self.cells_of(line).fill(Cell::BLANK);
        }
    }

    /// Writes the whole grid, as a terminal of this size shows it.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut current = None;
        for (y, line) in (0..).zip(self.lines()) {
            queue!(out, MoveTo(0, y))?;
            for (character, style) in shown(line) {
                if current.replace(style) != Some(style) {
                    begin(out, style)?;
                }
                queue!(out, Print(character))?;
            }
        }
        queue!(out, SetAttribute(Attribute::Reset))
    }

    fn lines(&self) -> impl Iterator<Item = &[Cell]> {
        self.cells.chunks(usize::from(self.width.max(1)))
    }

    /// Returns the cells of an area of one line; none beyond the grid.
    fn cells_of(&mut self, line: Area) -> &mut [Cell] {
        let end = line.x.saturating_add(line.width).min(self.width);
        if line.y >= self.height || line.x >= end {
            return &mut [];
        }
        let begin = usize::from(line.y) * usize::from(self.width);
        let cells = begin + usize::from(line.x)..begin + usize::from(end);
        self.cells.get_mut(cells).unwrap_or_default()
    }
}

/// Returns the characters of a line that are printed. Half a wide one, if something lies over the rest, is blank.
fn shown(line: &[Cell]) -> impl Iterator<Item = (char, Style)> {
    let mut owed = 0;
    line.iter().enumerate().filter_map(move |(at, cell)| {
        let columns = cell.character.and_then(char::width).unwrap_or(0);
        let character = match cell.character {
            None if owed > 0 => {
                owed -= 1;
                return None;
            }
            None => ' ',
            Some(_)
                if columns > 1 && line.get(at + 1).is_none_or(|next| next.character.is_some()) =>
            {
                ' '
            }
            Some(character) => {
                owed = columns.saturating_sub(1);
                character
            }
        };
        Some((character, cell.style))
    })
}

fn begin(out: &mut impl Write, style: Style) -> io::Result<()> {
    queue!(out, SetAttribute(Attribute::Reset))?;
    for (is_set, attribute) in [
        (style.bold, Attribute::Bold),
        (style.dim, Attribute::Dim),
        (style.reversed, Attribute::Reverse),
    ] {
        if is_set {
            queue!(out, SetAttribute(attribute))?;
        }
    }
    match style.color {
        Some(color) => queue!(out, SetForegroundColor(color)),
        None => Ok(()),
    }
}

/// Returns how many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().filter_map(char::width).sum()
}

#[cfg(test)]
impl Canvas {
    /// Returns the text of each line.
    pub(super) fn text(&self) -> Vec<String> {
        let text = |line| shown(line).map(|(character, _)| character).collect();
        self.lines().map(text).collect()
    }

    /// Returns the style of the first place where a text stands.
    pub(super) fn style_of(&self, text: &str) -> Style {
        for line in self.lines() {
            let characters: String = shown(line).map(|(character, _)| character).collect();
            if let Some(at) = characters.find(text) {
                return line[width(&characters[..at])].style;
            }
        }
        panic!("no {text:?}");
    }

    pub(super) fn has_color(&self) -> bool {
        self.cells.iter().any(|cell| cell.style.color.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(x: u16, width: u16) -> Area {
        Area {
            x,
            y: 0,
            width,
            height: 1,
        }
    }

    fn with(text: &str) -> Canvas {
        let mut canvas = Canvas::new(6, 1);
        canvas.put(canvas.area(), &Span::plain(text).into());
        canvas
    }

    #[test]
    fn a_line_ends_where_its_area_does() {
        assert_eq!(with("abcdefgh").text(), ["abcdef"]);
        assert_eq!(with("日本語").text(), ["日本語"]);
        assert_eq!(with("a日本語").text(), ["a日本 "]);
        let mut canvas = with("abc");
        canvas.put(area(4, 9), &Span::plain("xyz").into());
        canvas.put(area(7, 9), &Span::plain("xyz").into());
        canvas.put(Area { y: 1, ..area(0, 6) }, &Span::plain("xyz").into());
        assert_eq!(canvas.text(), ["abc xy"]);
    }

    #[test]
    fn half_of_a_wide_character_is_blank() {
        let mut canvas = with("日本語");
        canvas.clear(area(1, 1));
        assert_eq!(canvas.text(), ["  本語"]);
        canvas.put(area(3, 2), &Span::plain("xy").into());
        assert_eq!(canvas.text(), ["   xy "]);
    }

    #[test]
    fn the_middle_is_no_larger_than_what_it_is_in() {
        let all = Area {
            height: 9,
            ..area(2, 10)
        };
        let middle = all.middle(4, 100);
        assert_eq!((middle.x, middle.y), (5, 0));
        assert_eq!((middle.width, middle.height), (4, 9));
    }

    #[test]
    fn a_style_is_written_where_it_begins() {
        let mut canvas = Canvas::new(3, 1);
        let bad = Span::styled("b", Style::bad(true));
        canvas.put(canvas.area(), &Line::from([Span::plain("a"), bad]));
        let mut written = Vec::new();
        canvas.write(&mut written).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(
            written,
            "\u{1b}[1;1H\u{1b}[0ma\u{1b}[0m\u{1b}[1m\u{1b}[38;5;1mb\u{1b}[0m \u{1b}[0m"
        );
    }
}
