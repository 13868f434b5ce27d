//! Misbehaves as its config says, for tests of the host. A map that leaves records alone until told otherwise.
//!
//! - config: `mode`, one of [`Mode`]; `when` (default: every record): only records whose value contains this text set it
//!   off
//! - input: any value
//! - output: the record as it came
//! - state: none

use std::hint::black_box;

use flow_sdk::prelude::*;
use serde::Deserialize;

/// What it does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    Behave,
    /// Panics with a message.
    Panic,
    /// Traps without a word.
    Trap,
    /// Never returns.
    Loop,
    /// Calls itself until the stack ends.
    Recurse,
    /// Takes memory without bound.
    Alloc,
    /// Answers a value of 16 MiB for each record.
    HugeOutput,
    /// Refuses the record.
    Reject,
    /// Fails the call.
    Fail,
    /// Fails the call and says that it may be tried again.
    Retry,
    /// Writes a thousand lines to the log.
    LogFlood,
    /// Fails in its init.
    FailInit,
    /// Panics in its init.
    PanicInit,
    /// Never returns from its init.
    LoopInit,
}

/// The operator, which is its own config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hostile {
    mode: Mode,
    when: Option<String>,
}

impl Map for Hostile {
    type Config = Hostile;

    fn new(config: Hostile, _: &Context) -> Result<Self> {
        match config.mode {
            Mode::FailInit => Err(fail("hostile", "failed in init as told")),
            Mode::PanicInit => panic!("panicked in init as told"),
            Mode::LoopInit => forever(),
            _ => Ok(config),
        }
    }

    fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
        let value = record.value().unwrap_or_default();
        let text = self.when.as_deref().unwrap_or_default().as_bytes();
        let meant = text.is_empty() || value.windows(text.len()).any(|part| part == text);
        if meant { self.misbehave(out) } else { Ok(()) }
    }
}
flow_sdk::export!(map Hostile);

impl Hostile {
    fn misbehave(&self, out: &mut MapOutput) -> Result<()> {
        match self.mode {
            Mode::Behave | Mode::FailInit | Mode::PanicInit | Mode::LoopInit => Ok(()),
            Mode::Panic => panic!("panicked as told"),
            Mode::Trap => trap(),
            Mode::Loop => forever(),
            Mode::Recurse => {
                out.bytes(recurse(black_box(0)).to_le_bytes());
                Ok(())
            }
            Mode::Alloc => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(black_box(vec![1; 1 << 20]));
                }
            }
            Mode::HugeOutput => {
                out.bytes(vec![b'x'; 16 << 20]);
                Ok(())
            }
            Mode::Reject => Err(reject("hostile", "rejected as told")),
            Mode::Fail => Err(fail("hostile", "failed as told")),
            Mode::Retry => Err(retry("hostile", "failed for now as told")),
            Mode::LogFlood => {
                (0..1000).for_each(|n| log::info!("line {n} of a flood"));
                Ok(())
            }
        }
    }
}

fn forever() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// In Wasm, an abort is the instruction that traps; no panic hook hears of it.
fn trap() -> ! {
    std::process::abort()
}

#[expect(unconditional_recursion, reason = "that is the point")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(black_box(depth + 1)).wrapping_add(frame[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::Harness;
    use serde_json::json;

    #[test]
    fn only_the_records_meant_set_it_off() {
        let mut harness = Harness::<Hostile>::new(json!({"mode": "reject", "when": "bad"})).expect("a good config");
        let output = harness.run(["good", "a bad one", "fine"]).expect("no call fails");
        assert_eq!(output.texts(), ["good", "fine"]);
        assert_eq!(output.rejected[0].message, "rejected as told");
    }

    #[test]
    fn failures_say_whether_to_try_again() {
        let failure = |mode| Harness::<Hostile>::new(json!({"mode": mode})).and_then(|mut h| h.run(["x"]));
        assert!(!failure("fail").expect_err("told to fail").retryable);
        assert!(failure("retry").expect_err("told to fail").retryable);
        assert_eq!(failure("fail-init").expect_err("told to fail").code, "hostile");
    }
}
