//! The same records again and again, cut into other batches and with instances replaced at random: what comes out and what
//! is in the state then must be the same each time.

use std::fs;
use std::time::{Duration, Instant};

use fastrand::Rng;
use flow_model::trial::{Emitted, Outcome, Reject, Soaked};
use flow_sdk_test::{Component, Error, Input};

use super::{close, take};

/// One call in so many gets a new instance.
const REPLACE_ONE_IN: usize = 4;

/// Repeats `inputs` for `ms` milliseconds, or until a round differs from the first one.
pub fn soak(component: &mut Component, inputs: &[Input], first: &Outcome, ms: u64, seed: u64) -> Soaked {
    let (begun, limit) = (Instant::now(), Duration::from_millis(ms));
    let (mut rng, mut rounds, mut replaced, mut difference) = (Rng::with_seed(seed), 0, 0, None);
    // What a process needs at first, it gets at first.
    let mut warm = None;
    while begun.elapsed() < limit && difference.is_none() {
        rounds += 1;
        difference = match round(component, inputs, &mut rng, &mut replaced) {
            Ok(again) => compare(first, &again),
            Err(error) => Some(format!("it stopped: {error}")),
        };
        if warm.is_none() && begun.elapsed() >= limit / 10 {
            warm = resident();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let growth = warm.zip(resident()).map_or(0, |(warm, now)| now - warm);
    Soaked {
        rounds,
        replaced,
        records_per_second: (rounds as f64 * inputs.len() as f64 / seconds).round(),
        memory_growth: growth,
        difference: difference.map(|what| format!("round {rounds} with seed {seed}: {what}")),
    }
}

fn round(component: &mut Component, inputs: &[Input], rng: &mut Rng, replaced: &mut u64) -> Result<Outcome, Error> {
    component.reset()?;
    let mut outcome = Outcome::default();
    let mut at = 0;
    while at < inputs.len() {
        if rng.usize(..REPLACE_ONE_IN) == 0 {
            component.restart()?;
            *replaced += 1;
        }
        let rows = rng.usize(1..=inputs.len() - at);
        take(&mut outcome, component.run(inputs[at..at + rows].iter().cloned())?, at);
        at += rows;
    }
    close(&mut outcome, component)?;
    Ok(outcome)
}

/// What is not the same, if something is. An operator may leave the order across keys open, so outputs are compared in
/// the order of their inputs.
fn compare(first: &Outcome, again: &Outcome) -> Option<String> {
    fn sorted(outcome: &Outcome) -> (Vec<&Emitted>, Vec<&Reject>) {
        let (mut output, mut rejects): (Vec<_>, Vec<_>) =
            (outcome.output.iter().collect(), outcome.rejects.iter().collect());
        output.sort_by_key(|record| record.input.unwrap_or(usize::MAX));
        rejects.sort_by_key(|reject| reject.input);
        (output, rejects)
    }
    let ((output, rejects), (output_again, rejects_again)) = (sorted(first), sorted(again));
    if output.len() != output_again.len() {
        return Some(format!("{} records came out instead of {}", output_again.len(), output.len()));
    }
    if let Some((number, (one, other))) = output.iter().zip(&output_again).enumerate().find(|(_, (a, b))| a != b) {
        return Some(format!("output {number} is {} instead of {}", shown(other), shown(one)));
    }
    if rejects != rejects_again {
        return Some(format!("refused is {} instead of {}", shown(&rejects_again), shown(&rejects)));
    }
    (first.state != again.state).then(|| format!("state is {} instead of {}", shown(&again.state), shown(&first.state)))
}

fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Bytes of memory that the process has; none where the system does not tell.
fn resident() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<i64>().ok().map(|kib| kib << 10)
}
