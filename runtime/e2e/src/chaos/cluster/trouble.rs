//! What can go wrong with a cluster, and in which order it does: by the seed, each kind by turns.

use std::fmt;

use fastrand::Rng;

use crate::chaos::trouble::{Bag, Way};

/// Places at which workers die that were all killed before, and go on.
const WORKERS: &[&str] = &[
    "part-upload=later:NTH",
    "part-uploaded=kill:NTH",
    "state-uploaded=kill:NTH",
    "state-restored=kill",
    "claimed=kill",
    "progress-read=kill:2",
    "replay=kill",
    "transaction-begun=kill:NTH",
    "mid-produce=kill:NTH",
    "progress-flushed=kill:NTH",
    "end-transaction=later:NTH",
    "committed=kill:NTH",
];
/// Places at which a coordinator dies that has taken over.
const LEADERS: &[&str] = &[
    "manifest-read=kill",
    "triggered=kill:NTH",
    "manifest-write=later:NTH",
    "manifest-written=kill:NTH",
    "head-swap=later",
    "head-swapped=kill:NTH",
    "confirmed=kill:NTH",
    "deletion=later:NTH",
];
/// A node that hangs does so for longer than others are patient, in milliseconds.
const HANGS: std::ops::Range<u64> = 3500..7000;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A worker is killed, and started again after so many milliseconds.
    Worker(u64),
    /// So is the coordinator that leads.
    Leader(u64),
    /// So are both at once.
    Both(u64),
    /// All workers are killed, and when they go on, die again at a place.
    Workers(String),
    /// The coordinator that leads is killed, and the one that takes over dies at a place.
    Leaders(String),
    /// A worker hangs for so many milliseconds, is given up, and wakes.
    Hangs(u64),
    /// So does the coordinator that leads.
    LeaderHangs(u64),
    /// A worker is cut off from all other nodes for so many milliseconds, from the store too where that is said. It reaches Kafka.
    CutOff(u64, bool),
    /// A worker is asked to end, and started again.
    Leaves,
    /// The coordinator that leads is.
    Resigns,
    /// The broker dies and comes back after so many milliseconds; a worker dies too where `both`.
    Broker(u64, bool),
    /// So does the store; the coordinator that leads dies too where `both`.
    Store(u64, bool),
    /// All ways to the store are bad for so many milliseconds; a worker dies too where `both`.
    Way(Way, u64, bool),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let too = |both: &bool, who: &'static str| if *both { who } else { "" };
        let (worker, leader) = (", a worker killed too", ", the leader killed too");
        match self {
            Trouble::Worker(ms) => write!(f, "a worker killed, back after {ms} ms"),
            Trouble::Leader(ms) => write!(f, "the leader killed, back after {ms} ms"),
            Trouble::Both(ms) => write!(f, "the leader and a worker killed, back after {ms} ms"),
            Trouble::Workers(place) => write!(f, "all workers killed, then again at {place}"),
            Trouble::Leaders(place) => write!(f, "the leader killed, the next one dies at {place}"),
            Trouble::Hangs(ms) => write!(f, "a worker hangs for {ms} ms"),
            Trouble::LeaderHangs(ms) => write!(f, "the leader hangs for {ms} ms"),
            Trouble::CutOff(ms, store) => {
                write!(f, "a worker cut off for {ms} ms{}", too(store, ", from the store too"))
            }
            Trouble::Leaves => write!(f, "a worker ends as it is asked to, and comes back"),
            Trouble::Resigns => write!(f, "the leader ends as it is asked to, and comes back"),
            Trouble::Broker(ms, both) => write!(f, "broker killed, back after {ms} ms{}", too(both, worker)),
            Trouble::Store(ms, both) => write!(f, "store killed, back after {ms} ms{}", too(both, leader)),
            Trouble::Way(way, ms, both) => write!(f, "ways to the store {way:?} for {ms} ms{}", too(both, worker)),
        }
    }
}

/// The troubles of a run.
pub struct Troubles {
    pub(super) random: Rng,
    drawn: u32,
    workers: Bag,
    leaders: Bag,
}

impl Troubles {
    /// Those of a seed.
    pub fn new(seed: u64) -> Troubles {
        Troubles { random: Rng::with_seed(seed), drawn: 0, workers: Bag::new(WORKERS), leaders: Bag::new(LEADERS) }
    }

    /// The next one: in fourteen rounds each kind comes, and in five those that are the most common.
    pub fn draw(&mut self) -> Trouble {
        self.drawn += 1;
        let random = &mut self.random;
        match self.drawn % 14 {
            1 => Trouble::Worker(random.u64(0..3000)),
            2 => Trouble::LeaderHangs(random.u64(HANGS)),
            3 => Trouble::CutOff(random.u64(HANGS), random.bool()),
            4 => Trouble::Both(random.u64(0..3000)),
            5 => Trouble::Hangs(random.u64(HANGS)),
            6 => Trouble::Workers(self.workers.next(random)),
            7 => Trouble::Leader(random.u64(0..3000)),
            8 => Trouble::Leaders(self.leaders.next(random)),
            9 => Trouble::Leaves,
            10 => Trouble::Broker(random.u64(0..1500), random.bool()),
            11 => {
                let ways = [Way::LosesAnswers, Way::Slow, Way::Stalls];
                Trouble::Way(ways[random.usize(0..ways.len())], random.u64(300..4000), random.bool())
            }
            12 => Trouble::Resigns,
            13 => Trouble::Store(random.u64(0..1500), random.bool()),
            _ => Trouble::Workers(self.workers.next(random)),
        }
    }
}
