//! The terminal, taken and given back.

use std::io::{self, Write, stdout};
use std::panic;

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};

use super::canvas::Canvas;

/// The terminal while it is taken: a drop gives it back, and so does a panic, before its message.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    pub(super) fn take() -> io::Result<Self> {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            report(panic);
        }));
        // Given back from here on, also if only a part can be taken.
        let screen = Self(());
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Returns an empty canvas of the terminal's size.
    pub(super) fn canvas(&self) -> io::Result<Canvas> {
        let (width, height) = size()?;
        Ok(Canvas::new(width, height))
    }

    /// Shows a canvas, in one write: a terminal does not draw half of it.
    pub(super) fn show(&mut self, canvas: &Canvas) -> io::Result<()> {
        let mut frame = Vec::new();
        canvas.write(&mut frame)?;
        let mut out = stdout().lock();
        out.write_all(&frame)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// A terminal that has gone needs nothing back, so errors are dropped.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
