//! `make chaos ROUNDS=n SEED=s MODE=cluster`: the proof of exactly once, as long as one wants. It ends with 0 if all went well.

use std::process::ExitCode;

use flow_e2e::chaos::{Mode, Options, run};

const USAGE: &str = "usage: chaos ROUNDS SEED [standalone | cluster | naive]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = Mode::of(arguments.get(2).map_or("", String::as_str));
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(rounds), Some(seed), Some(mode)) = (number(0).and_then(|n| n.try_into().ok()), number(1), mode) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let tally = run(Options { rounds, seed, mode }, &mut |line| println!("{line}"));
    println!("{tally}");
    if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
