//! What goes to the terminal: tables for people or JSON for programs, colours only where they are seen.

use std::io::{self, IsTerminal, Write};

use flow_model::api::printable;
use serde::Serialize;

use crate::exit::Failure;

/// `-o`: for people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// The same with more columns, where there are more
    Wide,
    /// JSON for programs; its fields stay as they are
    Json,
    /// The same fields as YAML
    Yaml,
    /// Names or ids alone, one a line
    Name,
}

/// Where a command writes.
pub struct Output {
    /// What the user asked for.
    pub format: Format,
    colour: bool,
    error_colour: bool,
}

impl Output {
    /// Colours each stream that is a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    pub fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            format,
            colour: wanted && matches!(format, Format::Table | Format::Wide) && io::stdout().is_terminal(),
            error_colour: wanted && io::stderr().is_terminal(),
        }
    }

    /// Programs read it.
    pub fn is_for_programs(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml | Format::Name)
    }

    /// People want to see more.
    pub fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// A person looks on while something takes long.
    pub fn shows_progress(&self) -> bool {
        !self.is_for_programs() && io::stderr().is_terminal()
    }

    /// `value` as JSON or YAML, or what `text` makes for people. It has no name.
    pub fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.format == Format::Name {
            return Err(Failure::invalid("this command has no names to show").hint("leave out -o name"));
        }
        self.print_named(value, Vec::new, text)
    }

    /// The same for what has names.
    pub fn print_named(
        &self,
        value: &impl Serialize,
        names: impl FnOnce() -> Vec<String>,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let out = match self.format {
            Format::Json => serde_json::to_string_pretty(value).map_err(Failure::failed)?,
            Format::Yaml => serde_saphyr::to_string(value).map_err(Failure::failed)?,
            Format::Name => match names() {
                names if names.is_empty() => return Ok(()),
                names => names.join("\n"),
            },
            Format::Table | Format::Wide => text(),
        };
        self.line(&out)
    }

    /// One line to stdout. A reader that went away (`flowctl logs | head`) is no error.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            done => done.map_err(|error| Failure::failed(format!("can't write to the standard output: {error}"))),
        }
    }

    /// A remark beside the result, to stderr: progress, the next step. Programs get none.
    pub fn note(&self, text: &str) {
        if !self.is_for_programs() {
            to_stderr(&printable(text));
        }
    }

    /// What nobody may miss, to stderr, whoever reads the result.
    pub fn warn(&self, text: &str) {
        to_stderr(&format!("{} {}", paint(self.error_colour, "1;33", "warning:"), printable(text)));
    }

    /// A line of what goes on, to stderr, paler than what the user's own programs write there.
    pub fn aside(&self, text: &str) {
        to_stderr(&paint(self.error_colour, "2", text));
    }

    /// Text for stdout in an ANSI style such as `32`, where colours are seen.
    pub fn styled(&self, style: &str, text: &str) -> String {
        paint(self.colour, style, text)
    }

    /// Says on stderr why the command failed; with `-o json` or `yaml` as one JSON object, which is YAML too.
    pub fn failure(&self, failure: &Failure) {
        if matches!(self.format, Format::Json | Format::Yaml) {
            let error = serde_json::json!({
                "code": failure.code, "message": failure.message, "hint": failure.hint,
                "diagnostics": failure.diagnostics,
            });
            to_stderr(&format!("{error:#}"));
            return;
        }
        for diagnostic in &failure.diagnostics {
            to_stderr(&printable(&diagnostic.to_string()));
        }
        let message = printable(&failure.message);
        to_stderr(&format!("{} {message}", paint(self.error_colour, "1;31", "error:")));
        for line in failure.hint.iter().flat_map(|hint| hint.lines()) {
            to_stderr(&format!("  {}", printable(line)));
        }
    }
}

/// A line to stdout. False if nobody reads it any more.
pub fn to_stdout(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_ok()
}

/// Lines to stderr. Where nobody reads it there is no place left to say so, and the macro for it would panic.
pub fn to_stderr(text: &str) {
    _ = writeln!(io::stderr(), "{text}");
}

fn paint(colour: bool, style: &str, text: &str) -> String {
    if colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A number of bytes for people: `29.3 KiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |bytes: u64, expect: &str| assert_eq!(size(bytes), expect);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check((1 << 20) - 1, "1.0 MiB");
        check(30_003, "29.3 KiB");
        check(u64::MAX, "16777216.0 TiB");
    }
}
