//! What people see: each step, and that it goes on when it takes long.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// After so long a step says that it goes on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that takes its time, in one line.
pub struct Step {
    begun: Instant,
    ended: Sender<()>,
    teller: Option<JoinHandle<()>>,
}

/// Where people read.
fn print(text: &str) {
    // Nobody is there to read it where that fails.
    _ = write!(std::io::stdout(), "{text}").and_then(|()| std::io::stdout().flush());
}

/// A heading.
pub fn chapter(text: &str) {
    print(&format!("\n{text}\n"));
}

/// A line.
pub fn line(text: &str) {
    print(&format!("  {text}\n"));
}

impl Step {
    /// It begins.
    pub fn begin(what: &str) -> Step {
        print(&format!("  {what} "));
        let (ended, end) = channel();
        let begun = Instant::now();
        let teller = spawn(move || {
            while end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                print(&format!("… {} s ", begun.elapsed().as_secs()));
            }
        });
        Step { begun, ended, teller: Some(teller) }
    }

    /// It is done, with this.
    pub fn end(mut self, with: &str) {
        self.stop();
        print(&format!("→ {with}\n"));
    }

    /// It is done, after so long.
    pub fn done(self) {
        let seconds = self.begun.elapsed().as_secs_f32();
        self.end(&format!("{seconds:.1} s"));
    }

    fn stop(&mut self) {
        // One that has ended listens no more.
        _ = self.ended.send(());
        if let Some(teller) = self.teller.take() {
            _ = teller.join();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.teller.is_some() {
            self.stop();
            print("\n");
        }
    }
}
