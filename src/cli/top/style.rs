//! Colours that say how a figure is meant.

use ratatui::style::{Color, Modifier, Style};

/// Something out of the ordinary. Magenta can be read on dark and on light.
pub(super) fn attention(colored: bool) -> Style {
    color(Color::Magenta, colored)
}

/// Something wrong.
pub(super) fn bad(colored: bool) -> Style {
    color(Color::Red, colored)
}

fn color(color: Color, colored: bool) -> Style {
    let style = Style::new().add_modifier(Modifier::BOLD);
    if colored { style.fg(color) } else { style }
}
