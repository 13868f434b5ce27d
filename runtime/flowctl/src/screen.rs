//! A screen of its own for what changes while one looks: drawn again and again until `q` or Ctrl-C. It gives the terminal
//! back as it was, whatever happens.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, queue, style, terminal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::Failure;

/// How soon a signal is seen.
const LOOK: Duration = Duration::from_millis(200);

/// Puts the terminal back.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // There is no one left to tell.
        _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        _ = terminal::disable_raw_mode();
    }
}

/// Draws what `draw` says each `interval`, until the user has seen enough.
pub fn show(interval: Duration, mut draw: impl FnMut() -> String) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("can't draw on this terminal: {error}"));
    // In raw mode Ctrl-C is a key; these come from elsewhere.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).map_err(failed)?;
    }
    terminal::enable_raw_mode().map_err(failed)?;
    let _restored = Restored;
    execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide).map_err(failed)?;
    loop {
        let text = draw();
        paint(&text).map_err(failed)?;
        let next = Instant::now() + interval;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if !event::poll(left.min(LOOK)).map_err(failed)? {
                continue;
            }
            match event::read().map_err(failed)? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let stops = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                    if stops || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Event::Resize(..) => paint(&text).map_err(failed)?,
                _ => {}
            }
        }
    }
}

/// The lines from the top, as far as they fit.
fn paint(text: &str) -> io::Result<()> {
    // A terminal that nobody has given a size says 0.
    let (width, height) = match terminal::size()? {
        (0, _) | (_, 0) => (80, 24),
        size => size,
    };
    let mut out = io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0))?;
    for line in text.lines().take(height.into()) {
        let line: String = line.chars().take(width.into()).collect();
        queue!(out, style::Print(line), terminal::Clear(terminal::ClearType::UntilNewLine), cursor::MoveToNextLine(1))?;
    }
    queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
    out.flush()
}
