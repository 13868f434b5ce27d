//! The proof of exactly once: a job that is harmed in every way that there is, round by round, while it is fed, and a judge who
//! counts what is missing and what stands there twice. One broker, one store and one seed for all rounds.
//!
//! - `trouble`: what goes wrong with a daemon that is coordinator and worker in one, by the seed; `rounds`: doing it
//! - `cluster`: the same of a cluster of coordinators and workers
//! - `job`: who has to survive it; `input`: what it is fed; `oracle`: who judges

mod cluster;
pub mod input;
mod job;
pub mod oracle;
mod rounds;
mod trouble;

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

pub use trouble::places;

/// Who is harmed, and whether he would survive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A daemon that is coordinator and worker in one.
    Standalone,
    /// Coordinators and workers.
    Cluster,
    /// Recovered lanes of a daemon forget what the checkpoint has for them, as a sink does that leaves its transaction open across the
    /// commit point: the judge has to find that.
    Naive,
}

impl Mode {
    /// As it is called: `cluster`.
    pub fn of(name: &str) -> Option<Mode> {
        match name {
            "" | "standalone" => Some(Mode::Standalone),
            "cluster" => Some(Mode::Cluster),
            "naive" => Some(Mode::Naive),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Cluster => "cluster",
            Mode::Naive => "naive",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many rounds.
    pub rounds: u32,
    /// The same one draws the same troubles.
    pub seed: u64,
    /// Who is harmed.
    pub mode: Mode,
}

/// What takes part, and what it has to bear.
trait Arena {
    /// Feeds the job, does it the next harm, and waits until all that it was fed has come out. Says what harm that was.
    fn round(&mut self) -> (String, Result<(), String>);
    /// Ends the job.
    fn close(&mut self) -> Result<(), String>;
    /// What was found so far.
    fn tally(&self, rounds: u32, wrong: Option<&String>) -> Tally;
    /// Keeps the logs.
    fn keep(&self) -> PathBuf;
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Rounds that were played.
    pub rounds: u32,
    /// Records that were fed.
    pub records: u64,
    /// Records or updates that did not come out.
    pub missing: u64,
    /// Those that came out again.
    pub duplicated: u64,
    /// What else was wrong, and in which round.
    pub wrong: Option<String>,
}

impl Tally {
    /// Whether everything is as it should be.
    pub fn is_good(&self) -> bool {
        self.missing == 0 && self.duplicated == 0 && self.wrong.is_none()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { rounds, records, missing, duplicated, .. } = self;
        write!(f, "chaos: {rounds} rounds, {records} records, {missing} missing, {duplicated} duplicated")
    }
}

/// Plays the rounds, up to the first one in which something is wrong. Tells of each.
pub fn run(options: Options, tell: &mut dyn FnMut(&str)) -> Tally {
    let Options { rounds, seed, mode } = options;
    let mut arena: Box<dyn Arena> = match mode {
        Mode::Cluster => Box::new(cluster::Nodes::open(seed)),
        Mode::Standalone | Mode::Naive => Box::new(rounds::Daemon::open(seed, mode == Mode::Naive)),
    };
    for round in 1..=rounds {
        let begun = Instant::now();
        let (trouble, done) = arena.round();
        let last = round == rounds;
        let done = if last && done.is_ok() { arena.close() } else { done };
        let tally = arena.tally(round, done.as_ref().err());
        let (seconds, records) = (begun.elapsed().as_secs_f32(), tally.records);
        tell(&format!("round {round} of seed {seed}: {trouble} ({seconds:.1} s, {records} records)"));
        if !tally.is_good() {
            let what = tally.wrong.as_deref().unwrap_or("output is missing or stands there twice");
            tell(&format!("round {round} went wrong: {what}"));
        }
        // A naive sink is to go wrong.
        if !tally.is_good() && mode != Mode::Naive {
            let (logs, mode) = (arena.keep(), mode.as_str());
            let again = format!("make chaos ROUNDS={round} SEED={seed} MODE={mode}");
            tell(&format!("logs are in {}; to repeat: {again}", logs.display()));
        }
        if last || !tally.is_good() {
            return tally;
        }
    }
    Tally::default()
}
