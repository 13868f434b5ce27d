//! The lines that a guest logs, at a limited rate. Never holds back a line silently: what is left out is counted and said.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flow_dataflow::report::{Level, Report};

const WINDOW: Duration = Duration::from_secs(1);
/// Bytes of a line; what is longer is cut.
const LINE: usize = 8 << 10;
/// Bytes of a message that says why a row is rejected or a call has failed.
const MESSAGE: usize = 4 << 10;
/// Bytes of a word: a code, a function's name.
const WORD: usize = 256;

/// One function's way to the job's log; outlives its instances.
pub struct Lines {
    report: Arc<dyn Report>,
    per_second: u32,
    window: Mutex<Window>,
    left_out: AtomicU64,
}

struct Window {
    since: Instant,
    passed: u32,
}

impl Lines {
    /// At most so many lines a second into this report.
    pub fn new(report: Arc<dyn Report>, per_second: u32) -> Lines {
        let window = Mutex::new(Window { since: Instant::now(), passed: 0 });
        Lines { report, per_second, window, left_out: AtomicU64::new(0) }
    }

    /// Whether one more line may pass now; it is counted either way.
    pub fn passes(&self) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.since.elapsed() >= WINDOW {
            *window = Window { since: Instant::now(), passed: 0 };
        }
        let passes = window.passed < self.per_second;
        window.passed += u32::from(passes);
        self.left_out.fetch_add(u64::from(!passes), Ordering::Relaxed);
        passes
    }

    /// Writes a line that passes.
    pub fn write(&self, level: Level, line: &str) {
        self.say_what_is_missing();
        self.report.log(level, line);
    }

    /// A call ended: says how many lines were left out, if their second is over.
    pub fn call_ended(&self) {
        if self.left_out.load(Ordering::Relaxed) > 0 && self.is_over() {
            self.say_what_is_missing();
        }
    }

    fn is_over(&self) -> bool {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).since.elapsed() >= WINDOW
    }

    fn say_what_is_missing(&self) {
        let missing = self.left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let limit = self.per_second;
            let lines = if missing == 1 { "line" } else { "lines" };
            self.report
                .log(Level::Warn, &format!("{missing} {lines} left out, beyond `log-rate: {limit}/s` of its limits"));
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.say_what_is_missing();
    }
}

/// The line, cut where it is too long.
pub fn cut(line: &str) -> String {
    cut_to(line, LINE)
}

/// A rejection's or failure's message, likewise.
pub fn cut_message(message: &str) -> String {
    cut_to(message, MESSAGE)
}

/// A guest's code, or the name of one of its functions, likewise.
pub fn cut_word(word: &str) -> String {
    cut_to(word, WORD)
}

fn cut_to(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    let rest = text.len() - end;
    if rest == 0 { text.to_owned() } else { format!("{}… ({rest} bytes more)", &text[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl Report for Seen {
        fn log(&self, _: Level, message: &str) {
            self.0.lock().expect("no test panics inside").push(message.to_owned());
        }

        fn rejected(&self, _: &flow_dataflow::report::Rejected) {}

        fn locate(&self, split: u32, position: i64) -> flow_dataflow::report::Place {
            format!("{split}:{position}").into()
        }
    }

    #[test]
    fn lines_beyond_the_rate_are_counted() {
        let seen = Arc::new(Seen::default());
        let lines = Lines::new(seen.clone(), 3);
        for n in 0..1_000 {
            if lines.passes() {
                lines.write(Level::Info, &format!("line {n}"));
            }
        }
        lines.call_ended();
        assert_eq!(*seen.0.lock().expect("held by nobody"), ["line 0", "line 1", "line 2"]);
        drop(lines);
        assert_eq!(
            seen.0.lock().expect("held by nobody")[3],
            "997 lines left out, beyond `log-rate: 3/s` of its limits"
        );
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let cut = cut(&"ä".repeat(10_000));
        assert!(cut.ends_with("ä… (11808 bytes more)"), "{}", &cut[cut.len() - 40..]);
    }
}
