//! Runs seeds: `sim seeds N [FROM]` or `sim seed S`. Where FLOW_PLUGINS names the directory of the components, each of so many runs
//! the user code is one of them. The last line says what came of them; exit 1 if something was wrong. A run in
//! which it was leaves its trace in a file; that of a single seed always does.

#[path = "../tests/fuelled/mod.rs"]
mod fuelled;

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use flow_sim::plant::Plant;
use flow_sim::{Outcome, world};
use fuelled::Fuelled;

/// Of so many seeds one has a component as user code: that takes longer.
const COMPONENT: u64 = 20;
/// From one line of progress to the next.
const PROGRESS: Duration = Duration::from_secs(2);

fn seeds() -> anyhow::Result<(Range<u64>, bool)> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} is no number"));
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["seed", seed] => number(seed).map(|seed| (seed..seed + 1, true)),
        ["seeds", count] => number(count).map(|count| (0..count, false)),
        ["seeds", count, from] => Ok((number(from)?..number(from)? + number(count)?, false)),
        _ => bail!("usage: sim seeds N [FROM] | sim seed S"),
    }
}

fn run(seed: u64, component: Option<&Fuelled>, keep: bool) -> anyhow::Result<Outcome> {
    let mut world = match component.filter(|_| seed.is_multiple_of(COMPONENT)) {
        Some(component) => component.world(seed, Plant::Nothing),
        None => world::native(seed, Plant::Nothing),
    };
    let outcome = world.run();
    if keep || outcome.wrong.is_some() {
        let trace = std::env::temp_dir().join(format!("flow-sim-{seed}.trace"));
        std::fs::write(&trace, world.trace()).with_context(|| format!("writing {}", trace.display()))?;
        println!("seed {seed}: trace in {}", trace.display());
    }
    if let Some(wrong) = &outcome.wrong {
        println!("seed {seed}: {wrong}\n  again: make sim SEED={seed}");
    }
    Ok(outcome)
}

fn main() -> anyhow::Result<ExitCode> {
    let (seeds, keep) = seeds()?;
    let components = std::env::var_os("FLOW_PLUGINS").map(PathBuf::from);
    let component = components.as_deref().map(Fuelled::load).transpose()?;
    let (mut records, mut missing, mut duplicated, mut wrong) = (0, 0, 0, 0);
    let mut told = Instant::now();
    for seed in seeds.clone() {
        let outcome = run(seed, component.as_ref(), keep)?;
        records += outcome.records;
        missing += outcome.missing;
        duplicated += outcome.duplicated;
        wrong += u64::from(outcome.wrong.is_some());
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            eprintln!("sim: {} of {} seeds, {wrong} wrong", seed + 1 - seeds.start, seeds.end - seeds.start);
        }
    }
    let count = seeds.end - seeds.start;
    let suffix = if wrong > 0 { format!("; {wrong} seeds went wrong") } else { String::new() };
    println!("sim: {count} seeds, {records} records, {missing} missing, {duplicated} duplicated{suffix}");
    std::io::stdout().flush()?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
