//! What can go wrong in a round, and in which order it does: by the seed, each kind by turns.

use std::fmt;

use fastrand::Rng;

/// Places at which a daemon that works dies, and how: with [`NTH`] for how often they are reached before.
const DEATHS: &[&str] = &[
    "confirmed=kill:NTH",
    "manifest-written=fail:NTH,confirmed=kill:NTH",
    "head-swapped=fail:NTH,confirmed=kill:NTH",
    "progress-flushed=kill:NTH",
    "end-transaction=later:NTH",
    "committed=kill:NTH",
    "head-swapped=kill:NTH",
    "part-upload=later:NTH",
    "mid-produce=kill:NTH",
    "manifest-written=kill:NTH",
    "deletion=later:NTH",
    "triggered=kill:NTH",
    "run-saved=kill:NTH",
    "run-saved=delay:150,confirmed=kill:NTH",
    "merge-begins=later:1",
    "merged=kill:1",
    "manifest-written=fail:NTH,merged=kill:1",
    "state-upload=later:NTH",
    "state-uploaded=kill:NTH",
    "part-uploaded=kill:NTH",
    "manifest-write=later:NTH",
    "head-swap=later:NTH",
    "deleted=kill:NTH",
    "commit-order=kill:NTH",
    "transaction-begun=kill:NTH",
];
/// Places at which a daemon dies that was killed before, and is recovering.
const RECOVERIES: &[&str] = &[
    "commit-order=kill",
    "replay=kill",
    "claimed=kill",
    "state-fetch=later",
    "end-transaction=later",
    "deploy=kill",
    "manifest-read=kill",
    "state-restored=kill",
    "lane-initialised=kill",
    "lane-initialised=kill:3",
    "progress-read=kill",
    "claim=kill",
    "claimed=kill:2",
    "progress-flushed=kill",
    "mid-produce=kill",
    "committed=kill",
];
/// Places at which a daemon stops, and wakes when another one has taken over or a broker has ended its transaction.
const STOPS: &[&str] = &[
    "commit-order=stop:NTH",
    "progress-flushed=stop:NTH",
    "head-swap=stop:NTH",
    "confirmed=stop:NTH",
    "transaction-begun=stop:NTH",
    "committed=stop:NTH",
    "manifest-written=stop:NTH",
    "part-upload=stop:NTH",
    "mid-produce=stop:NTH",
    "end-transaction=stop:NTH",
    "state-uploaded=stop:NTH",
];
/// Places at which a daemon dies that begins a life of the job with what the former one left.
const BEGINNINGS: &[&str] = &["adopting=kill", "adopted=kill", "adopting=later", "adopted=later"];
/// Where a number belongs.
const NTH: &str = "NTH";

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The daemon dies after so many milliseconds.
    Kill(u64),
    /// It dies at a place, and as often again as there are others, each time it recovers. Where `lost`, without its local state.
    Deaths(Vec<String>, bool),
    /// It stops at a place for longer than its transaction may take, and goes on.
    Pause(String),
    /// It stops at a place, another one takes over, and then it wakes.
    Zombie(String),
    /// The broker dies and comes back after so many milliseconds; the daemon dies too where `both`.
    Broker(u64, bool),
    /// So does the store.
    Store(u64, bool),
    /// The way to the store is bad for so many milliseconds: answers are lost, all is slow, nothing moves.
    Way(Way, u64, bool),
    /// The job is canceled and deployed again under its name.
    Redeploy,
    /// It is canceled, and goes on from its last checkpoint as another life, at whose beginning the daemon dies at a place.
    GoOn(String),
}

/// How the way to the store is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Requests arrive, their answers don't.
    LosesAnswers,
    /// All is late.
    Slow,
    /// Nothing moves.
    Stalls,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let too = |both: &bool| if *both { ", the daemon killed too" } else { "" };
        match self {
            Trouble::Kill(after) => write!(f, "killed after {after} ms"),
            Trouble::Deaths(places, lost) => {
                let lost = if *lost { ", its local state lost" } else { "" };
                write!(f, "dies at {}{lost}", places.join(", then at "))
            }
            Trouble::Pause(place) => write!(f, "{place}, longer than a transaction may take"),
            Trouble::Zombie(place) => write!(f, "{place}, another takes over, then it wakes"),
            Trouble::Broker(ms, both) => write!(f, "broker killed, back after {ms} ms{}", too(both)),
            Trouble::Store(ms, both) => write!(f, "store killed, back after {ms} ms{}", too(both)),
            Trouble::Way(way, ms, both) => write!(f, "way to the store {way:?} for {ms} ms{}", too(both)),
            Trouble::Redeploy => write!(f, "canceled and deployed again under the same name"),
            Trouble::GoOn(place) => write!(f, "canceled, goes on in another life, which dies at {place}"),
        }
    }
}

/// Places by turns, in an order of the seed, all of them before one comes again.
pub(super) struct Bag {
    all: &'static [&'static str],
    left: Vec<&'static str>,
}

impl Bag {
    pub(super) fn new(all: &'static [&'static str]) -> Bag {
        Bag { all, left: Vec::new() }
    }

    pub(super) fn next(&mut self, random: &mut Rng) -> String {
        if self.left.is_empty() {
            self.left = self.all.to_vec();
            random.shuffle(&mut self.left);
        }
        let place = self.left.pop().expect("it was filled");
        place.replace(NTH, &random.u32(1..=4).to_string())
    }
}

/// The troubles of a run.
pub struct Troubles {
    pub(super) random: Rng,
    drawn: u32,
    deaths: Bag,
    recoveries: Bag,
    stops: Bag,
    beginnings: Bag,
}

impl Troubles {
    /// Those of a seed.
    pub fn new(seed: u64) -> Troubles {
        let (deaths, recoveries) = (Bag::new(DEATHS), Bag::new(RECOVERIES));
        let (stops, beginnings) = (Bag::new(STOPS), Bag::new(BEGINNINGS));
        Troubles { random: Rng::with_seed(seed), drawn: 0, deaths, recoveries, stops, beginnings }
    }

    /// The next one: in twenty rounds each kind comes.
    pub fn draw(&mut self) -> Trouble {
        let first = (self.drawn / 10).is_multiple_of(2);
        self.drawn += 1;
        let random = &mut self.random;
        match self.drawn % 10 {
            1 | 7 => {
                let place = self.deaths.next(random);
                Trouble::Deaths(vec![place], random.bool())
            }
            2 | 6 => {
                let place = self.recoveries.next(random);
                let lost = random.bool() || place.starts_with("state-fetch");
                Trouble::Deaths(vec!["confirmed=kill:2".to_owned(), place], lost)
            }
            3 => Trouble::Zombie(self.stops.next(random)),
            4 => Trouble::Redeploy,
            0 => Trouble::GoOn(self.beginnings.next(random)),
            5 if !first => Trouble::Store(random.u64(0..1500), random.bool()),
            5 => {
                let ways = [Way::LosesAnswers, Way::Slow, Way::Stalls];
                Trouble::Way(ways[random.usize(0..ways.len())], random.u64(300..1500), random.bool())
            }
            8 if first => Trouble::Kill(random.u64(50..1500)),
            8 => Trouble::Pause(self.stops.next(random)),
            _ => Trouble::Broker(random.u64(0..1500), !first),
        }
    }
}

/// The names of all places at which a daemon can be told to do something, as they are used here.
pub fn places() -> impl Iterator<Item = &'static str> {
    let all = DEATHS.iter().chain(RECOVERIES).chain(STOPS).chain(BEGINNINGS).flat_map(|places| places.split(','));
    all.map(|place| place.split_once('=').map_or(place, |(name, _)| name))
}
