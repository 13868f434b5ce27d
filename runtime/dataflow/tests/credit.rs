//! Credit against a model of senders, readers and a network that is slow: whatever the order of things, the sum stays bounded, both
//! sides agree, and no channel waits for another one. Faults are planted in the model, and found.

use std::collections::VecDeque;

use flow_dataflow::credit::{Allowance, Books, Entry, Terms};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The largest batch.
const LARGEST: usize = 900;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    Nothing,
    /// A sender sends without credit.
    Overdraws,
    /// A message with credit is lost.
    LosesCredit,
    /// A reader's bytes are told twice.
    TellsTwice,
    /// A sender gives back what it then uses.
    GivesBackAndKeeps,
}

#[derive(Clone, Debug)]
enum Step {
    /// A batch is to go out, if it may.
    Send(usize, usize),
    /// The oldest message of a channel arrives, data and credit alike.
    Arrive(usize),
    /// A channel's reader takes what is there, unless it is blocked.
    Read(usize),
    /// An alignment blocks a channel, or ends.
    Block(usize, bool),
    /// A turn is over, on both sides.
    Turn,
    /// A channel ends and another one takes its place.
    Renew(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0usize..64;
    prop_oneof![
        30 => (channel.clone(), 1..=LARGEST).prop_map(|(c, bytes)| Step::Send(c, bytes)),
        30 => channel.clone().prop_map(Step::Arrive),
        20 => channel.clone().prop_map(Step::Read),
        4 => (channel.clone(), any::<bool>()).prop_map(|(c, blocked)| Step::Block(c, blocked)),
        4 => Just(Step::Turn),
        1 => channel.prop_map(Step::Renew),
    ]
}

enum ToReceiver {
    Batch(usize),
    GaveBack(u64),
}

struct Channel {
    entry: Entry,
    allowance: Option<Allowance>,
    to_receiver: VecDeque<ToReceiver>,
    to_sender: VecDeque<u64>,
    /// Batches that were not read.
    inlet: VecDeque<usize>,
    blocked: bool,
    /// What its window was when it was blocked and what it was given since then.
    given_since: u64,
}

struct World {
    terms: Terms,
    books: Books,
    channels: Vec<Channel>,
    plant: Plant,
}

impl World {
    fn new(channels: usize, terms: Terms, plant: Plant) -> World {
        let mut world = World { terms, books: Books::new(terms), channels: Vec::new(), plant };
        for _ in 0..channels {
            let channel = world.channel();
            world.channels.push(channel);
        }
        world
    }

    fn channel(&mut self) -> Channel {
        let (entry, first) = self.books.open();
        let (to_receiver, inlet) = (VecDeque::new(), VecDeque::new());
        Channel {
            entry,
            allowance: None,
            to_receiver,
            to_sender: [first].into(),
            inlet,
            blocked: false,
            given_since: 0,
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        let width = self.channels.len();
        let at = |channel: &usize| channel % width;
        match step {
            Step::Send(c, bytes) => {
                let channel = &mut self.channels[at(c)];
                let Some(allowance) = &mut channel.allowance else { return Ok(()) };
                if allowance.may_send() || self.plant == Plant::Overdraws {
                    allowance.sent(*bytes);
                    channel.to_receiver.push_back(ToReceiver::Batch(*bytes));
                }
            }
            Step::Arrive(c) => return self.arrive(at(c)),
            Step::Read(c) => self.read(at(c)),
            Step::Block(c, blocked) => {
                let channel = &mut self.channels[at(c)];
                (channel.blocked, channel.given_since) = (*blocked, 0);
            }
            Step::Turn => {
                let channels = &mut self.channels;
                self.books.turn(|entry, bytes| {
                    let channel = channels.iter_mut().find(|channel| channel.entry == entry).expect("it is open");
                    channel.to_sender.push_back(bytes);
                    channel.given_since += bytes;
                });
                for channel in channels {
                    let Some(allowance) = &mut channel.allowance else { continue };
                    let back = allowance.turn();
                    if self.plant == Plant::GivesBackAndKeeps {
                        allowance.grant(back);
                    }
                    if back > 0 {
                        channel.to_receiver.push_back(ToReceiver::GaveBack(back));
                    }
                }
            }
            Step::Renew(c) => {
                self.books.close(self.channels[at(c)].entry);
                self.channels[at(c)] = self.channel();
            }
        }
        Ok(())
    }

    fn arrive(&mut self, c: usize) -> Result<(), String> {
        let channel = &mut self.channels[c];
        match channel.to_receiver.pop_front() {
            Some(ToReceiver::Batch(bytes)) => {
                if !self.books.received(channel.entry, bytes) {
                    return Err("a batch came without credit".into());
                }
                channel.inlet.push_back(bytes);
            }
            Some(ToReceiver::GaveBack(bytes)) if !self.books.gave_back(channel.entry, bytes) => {
                return Err("a sender gave back what it did not have".into());
            }
            Some(ToReceiver::GaveBack(_)) | None => {}
        }
        if let Some(bytes) = channel.to_sender.pop_front() {
            match &mut channel.allowance {
                None => channel.allowance = Some(Allowance::open(bytes)),
                Some(_) if self.plant == Plant::LosesCredit => {}
                Some(allowance) => allowance.grant(bytes),
            }
        }
        Ok(())
    }

    fn read(&mut self, c: usize) {
        let channel = &mut self.channels[c];
        if channel.blocked {
            return;
        }
        let Some(bytes) = channel.inlet.pop_front() else { return };
        let told = if self.plant == Plant::TellsTwice { bytes * 2 } else { bytes };
        let credit = self.books.taken(channel.entry, told as u64);
        if credit > 0 {
            channel.to_sender.push_back(credit);
        }
    }

    fn invariants(&self) -> Result<(), String> {
        self.invariant_the_pool_is_never_overdrawn()?;
        for channel in &self.channels {
            self.invariant_a_window_is_kept(channel)?;
            self.invariant_both_sides_agree(channel)?;
            self.invariant_unread_bytes_are_bounded(channel)?;
        }
        Ok(())
    }

    fn invariant_the_pool_is_never_overdrawn(&self) -> Result<(), String> {
        let lent = self.books.lent();
        if lent > self.terms.pool {
            Err(format!("{lent} bytes are lent out of a pool of {}", self.terms.pool))
        } else {
            Ok(())
        }
    }

    fn invariant_a_window_is_kept(&self, channel: &Channel) -> Result<(), String> {
        let standing = self.books.standing(channel.entry);
        if standing.granted + standing.unread as i64 > standing.window as i64 {
            return Err(format!("more is promised than the window has: {standing:?}"));
        }
        Ok(())
    }

    fn invariant_both_sides_agree(&self, channel: &Channel) -> Result<(), String> {
        let credit = channel.allowance.as_ref().map_or(0, Allowance::credit);
        let under_way = |message: &ToReceiver| match message {
            ToReceiver::Batch(bytes) => *bytes as i64,
            ToReceiver::GaveBack(bytes) => *bytes as i64,
        };
        let data: i64 = channel.to_receiver.iter().map(under_way).sum();
        let credits: u64 = channel.to_sender.iter().sum();
        let standing = self.books.standing(channel.entry);
        let unread: usize = channel.inlet.iter().sum();
        if standing.granted != credit + data + credits as i64 || standing.unread != unread as u64 {
            return Err(format!(
                "{standing:?}, but the sender has {credit}, {data} and {credits} are under way, {unread} unread"
            ));
        }
        Ok(())
    }

    fn invariant_unread_bytes_are_bounded(&self, channel: &Channel) -> Result<(), String> {
        // Without its share of the pool, which may have shrunk since.
        let most = self.terms.minimum + self.terms.pool + LARGEST as u64;
        let unread = self.books.standing(channel.entry).unread;
        if unread > most { Err(format!("{unread} bytes are unread, more than {most}")) } else { Ok(()) }
    }

    /// With all messages delivered and all read, each channel may send, but for those that are blocked.
    fn invariant_no_channel_starves(&mut self) -> Result<(), String> {
        for c in 0..self.channels.len() {
            // A reader that reads on gives credit while it does.
            while !self.channels[c].to_receiver.is_empty() || !self.channels[c].to_sender.is_empty() {
                self.arrive(c)?;
                self.read(c);
            }
            while !self.channels[c].blocked && !self.channels[c].inlet.is_empty() {
                self.read(c);
            }
            while !self.channels[c].to_sender.is_empty() {
                self.arrive(c)?;
            }
            let channel = &self.channels[c];
            if !channel.blocked && !channel.allowance.as_ref().is_some_and(Allowance::may_send) {
                return Err(format!("channel {c} waits for nothing: {:?}", channel.allowance));
            }
        }
        Ok(())
    }

    /// While it is blocked a channel gets the room that it had, and not a byte more each turn.
    fn invariant_a_blocked_channel_gets_nothing(&mut self) -> Result<(), String> {
        for channel in &mut self.channels {
            channel.given_since = 0;
        }
        // What was read before it was blocked counts once.
        self.take(&Step::Turn)?;
        let before: Vec<u64> = self.channels.iter().map(|channel| channel.given_since).collect();
        for _ in 0..5 {
            self.take(&Step::Turn)?;
        }
        for (channel, before) in self.channels.iter().zip(before) {
            if channel.blocked && channel.given_since > before {
                return Err(format!("a blocked channel got {} bytes", channel.given_since - before));
            }
        }
        Ok(())
    }
}

fn play(steps: &[Step], channels: usize, terms: Terms, plant: Plant) -> Result<(), String> {
    let mut world = World::new(channels, terms, plant);
    for step in steps {
        world.take(step)?;
        world.invariants()?;
    }
    world.invariant_a_blocked_channel_gets_nothing()?;
    world.invariant_no_channel_starves()?;
    world.invariants()
}

fn run(plant: Plant) -> Result<(), String> {
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let terms = (1u64..500, prop_oneof![Just(0u64), 0u64..5000], 0.05f64..1.0)
        .prop_map(|(minimum, pool, lead)| Terms { minimum, pool, lead });
    let plays = (prop::collection::vec(step(), 1..600), 1usize..9, terms);
    let result = runner
        .run(&plays, |(steps, channels, terms)| play(&steps, channels, terms, plant).map_err(TestCaseError::fail));
    result.map_err(|error| error.to_string())
}

#[test]
fn credit_is_bounded_and_never_runs_out() {
    run(Plant::Nothing).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn planted_faults_are_found() {
    for plant in [Plant::Overdraws, Plant::LosesCredit, Plant::TellsTwice, Plant::GivesBackAndKeeps] {
        assert!(run(plant).is_err(), "{plant:?} was not found");
    }
}

#[test]
fn a_fast_reader_gets_more_of_the_pool_than_a_slow_one_and_an_idle_sender_gives_its_part_back() {
    let mut books = Books::new(Terms { minimum: 100, pool: 10_000, lead: 0.5 });
    let ((fast, first), (slow, _)) = (books.open(), books.open());
    let mut allowance = Allowance::open(first);
    for (entry, bytes) in [(fast, 100), (slow, 10)] {
        for _ in 0..50 {
            assert!(books.received(entry, bytes));
            let credit = books.taken(entry, bytes as u64);
            if entry == fast {
                allowance.sent(bytes);
                allowance.grant(credit);
            }
        }
    }
    books.turn(|entry, bytes| {
        if entry == fast {
            allowance.grant(bytes);
        }
    });
    assert_eq!(books.standing(fast).window, 100 + 2500, "half of what was read in a turn");
    assert_eq!(books.standing(slow).window, 100 + 250);
    assert_eq!(allowance.credit(), 2600);
    assert_eq!(allowance.turn(), 0, "it has sent in this turn");
    let back = allowance.turn();
    assert_eq!((back, allowance.credit()), (2500, 100));
    assert!(books.gave_back(fast, back));
    books.turn(|_, _| panic!("nobody has read"));
    assert_eq!((books.standing(fast).window, books.standing(slow).window), (100, 350), "its sender has it still");
}
