//! The proof of exactly once: a job that is harmed in every way that there is, round by round, while it is fed, and a judge who
//! counts what is missing and what stands there twice. One broker, one store and one seed for all rounds.
//!
//! - `trouble`: what goes wrong, by the seed; `rounds`: doing it
//! - `job`: who has to survive it; `input`: what it is fed; `oracle`: who judges

mod input;
mod job;
pub mod oracle;
mod rounds;
mod trouble;

use std::fmt;
use std::time::Instant;

pub use trouble::places;

use rounds::Arena;
use trouble::{Trouble, Troubles};

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many rounds.
    pub rounds: u32,
    /// The same one draws the same troubles.
    pub seed: u64,
    /// Recovered lanes forget what the checkpoint has for them, as a sink does that leaves its transaction open across the commit
    /// point: the judge has to find that.
    pub naive: bool,
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
    let mut troubles = Troubles::new(options.seed);
    let mut arena = Arena::open(options.naive, &mut troubles.random);
    for round in 1..=options.rounds {
        let begun = Instant::now();
        let trouble =
            if options.naive { Trouble::Deaths(vec!["confirmed=kill:3".to_owned()], false) } else { troubles.draw() };
        let done = arena.round(&trouble, &mut troubles.random);
        let last = round == options.rounds;
        let done = if last && done.is_ok() { arena.close() } else { done };
        let tally = arena.tally(round, done.as_ref().err());
        let (seconds, records) = (begun.elapsed().as_secs_f32(), tally.records);
        let missed = if arena.missed > 0 { ", not reached" } else { "" };
        let what = format!("{trouble}{missed} ({seconds:.1} s, {records} records)");
        tell(&format!("round {round} of seed {}: {what}", options.seed));
        if !tally.is_good() {
            let what = tally.wrong.as_deref().unwrap_or("output is missing or stands there twice");
            tell(&format!("round {round} went wrong: {what}"));
        }
        // A naive sink is to go wrong.
        if !tally.is_good() && !options.naive {
            let (logs, seed) = (arena.keep(), options.seed);
            tell(&format!("logs are in {}; to repeat: make chaos ROUNDS={round} SEED={seed}", logs.display()));
        }
        if last || !tally.is_good() {
            return tally;
        }
    }
    Tally::default()
}
