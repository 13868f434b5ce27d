//! Draws the table: in place on a terminal, one line now and then where the output is kept.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::job::Progress;
use crate::tally::Tally;

const TOP: usize = 12;
const BAR: u64 = 32;
/// Between two plain lines; a log needs fewer than an eye.
const PLAIN: Duration = Duration::from_secs(2);

/// Where the table goes.
pub struct Screen {
    live: bool,
    colour: bool,
    drawn: usize,
    begun: Instant,
    last: Option<Instant>,
}

impl Screen {
    /// Redraws and colours only on a terminal that can.
    pub fn new() -> Screen {
        let live = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Screen { live, colour, drawn: 0, begun: Instant::now(), last: None }
    }

    /// Shows where the job is. `finished` draws in any case.
    pub fn show(&mut self, progress: &Progress, tally: &Tally, finished: bool) -> anyhow::Result<()> {
        if !self.live && !finished && self.last.is_some_and(|last| last.elapsed() < PLAIN) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let (status, counted) = self.status(progress, tally);
        let mut out = std::io::stdout().lock();
        if !self.live && !finished {
            writeln!(out, "{status}  {counted}")?;
            return Ok(out.flush()?);
        }
        if self.drawn > 0 {
            // Up to the first line of the last drawing, and everything from there on away.
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        let mut lines = vec![status, counted];
        lines.extend(table(tally, self.colour));
        writeln!(out, "{}", lines.join("\n"))?;
        self.drawn = lines.len();
        Ok(out.flush()?)
    }

    /// Two lines, since one of 80 columns could not hold both, and a wrapped line would break the redrawing.
    fn status(&self, progress: &Progress, tally: &Tally) -> (String, String) {
        let rate = progress.rate.map_or(String::new(), |rate| format!("  {} records/s", grouped(rate)));
        let state = paint(self.colour, "1", progress.state.as_str());
        let counted = format!(
            "{} lines in, {} words counted, {} distinct",
            grouped(progress.lines),
            grouped(tally.updates()),
            grouped(tally.distinct() as u64),
        );
        (format!("{state} {:>5.1} s{rate}", self.begun.elapsed().as_secs_f64()), counted)
    }
}

fn table(tally: &Tally, colour: bool) -> Vec<String> {
    let top = tally.top(TOP);
    let most = top.first().map_or(1, |(_, count)| *count).max(1);
    let row = |(word, count): &(&str, u64)| {
        let bar = "█".repeat(usize::try_from((count * BAR).div_ceil(most)).unwrap_or(0));
        let word: String = word.chars().take(20).collect();
        format!("  {word:<20} {:>12}  {}", grouped(*count), paint(colour, "36", &bar))
    };
    top.iter().map(row).collect()
}

fn paint(colour: bool, style: &str, text: &str) -> String {
    if colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// 1234567 → `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let check = |number: u64, expect: &str| assert_eq!(grouped(number), expect);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn the_longest_bar_is_the_most_frequent_word() {
        let mut tally = Tally::default();
        tally.update(br#"{"key":"the","count":64}"#).expect("a count");
        tally.update(br#"{"key":"of","count":1}"#).expect("a count");
        let lines = table(&tally, false);
        let bars: Vec<usize> = lines.iter().map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [32, 1]);
    }
}
