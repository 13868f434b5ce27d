//! Who leads a cluster: the coordinators swap one document. The leader swaps it again and again; a standby that has not seen it
//! change for long enough, by its own clock and by what it itself has read, swaps its own name into it, with a higher term. Must
//! never take its own word for it: it leads when its swap was accepted, and no longer than until one is refused. A leader that
//! was replaced and does not know it yet completes nothing, since HEADs of jobs are swapped too, and workers obey the higher term.

use flow_model::cluster::Leader;
use flow_model::ids::ClusterId;

use crate::Time;
use crate::head::{Answer, Outcome, Register, Step, Version};

/// How a coordinator takes part. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the cluster is called if this one is the first to lead it.
    pub cluster: ClusterId,
    /// Where other nodes reach this coordinator.
    pub address: String,
    /// From one swap of the leader to the next, and from one read of a standby to the next.
    pub beat: Time,
    /// A standby that sees no change for so long takes over.
    pub silence: Time,
    /// It waits up to so long beyond that, by chance, so that not all of them try at once.
    pub spread: Time,
}

/// The number of a question to the store.
pub type Number = u64;

/// What happens. An answer carries the number of its question; one that nobody waits for is dropped.
#[derive(Debug, Clone)]
pub enum Event {
    /// What [`Action::Read`] found; none if it is not known: it is tried again.
    Read(Number, Option<Option<(Leader, Version)>>),
    /// The store answered [`Action::Swap`].
    Swapped(Number, Answer),
    /// This coordinator is to lead no more, and not to begin to.
    Resign,
    /// The deadline has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the document. Answered by [`Event::Read`].
    Read(Number),
    /// Swap it: over this version, or where there is none. Answered by [`Event::Swapped`].
    Swap(Number, Box<Leader>, Option<Version>),
    /// This coordinator leads, in this term.
    Lead(u64),
    /// Another one leads.
    Follow(Leader),
    /// Another process leads that others reach where they reach this one, as both say.
    Twin(Leader),
    /// It leads no more in that term: whatever it was doing as a leader is another's now, and goes on.
    StepDown(u64),
    /// [`Event::Resign`] is done.
    Resigned,
}

enum State {
    /// It reads at that time.
    Waiting(Time),
    /// It is reading.
    Reading,
    /// The swap that makes it the leader is in flight.
    Claiming,
    /// It leads, and swaps again at that time.
    Leading(Time),
    /// It leads, and that swap is in flight.
    Beating,
    /// It leads, and the swap by which it gives up is to follow the one in flight, if one is.
    Resigning,
    /// It takes no part any more.
    Over,
}

/// The document as a standby has seen it.
struct Seen {
    nonce: String,
    /// It was not seen to change before that time plus what was added by chance: then it is silent.
    silent_at: Time,
}

/// One coordinator.
pub struct Leadership {
    settings: Settings,
    register: Register<Leader>,
    state: State,
    seen: Option<Seen>,
    /// The term of the leader that was told last.
    followed: Option<u64>,
    /// It has led before: whoever has its address and leads now is another process.
    has_led: bool,
    /// The highest term that it has seen.
    term: u64,
    /// How many questions the store was asked.
    asked: Number,
    /// The one whose answer is awaited.
    awaited: Option<Number>,
    actions: Vec<Action>,
}

impl Leadership {
    /// A coordinator that begins as a standby. `unique` are 128 random bits that no other process has.
    pub fn new(settings: Settings, unique: u128) -> (Leadership, Vec<Action>) {
        let register = Register::new(unique, None);
        let state = State::Reading;
        let (seen, followed, actions) = (None, None, Vec::new());
        let mut it = Leadership {
            settings,
            register,
            state,
            seen,
            followed,
            has_led: false,
            term: 0,
            asked: 0,
            awaited: None,
            actions,
        };
        it.ask(Step::Read);
        let actions = std::mem::take(&mut it.actions);
        (it, actions)
    }

    /// Takes what happened at `now` and says what is to be done, in order. `random` is a number that was drawn for this call.
    pub fn handle(&mut self, (now, random): (Time, u64), event: Event) -> Vec<Action> {
        match event {
            Event::Read(number, _) | Event::Swapped(number, _) if self.awaited != Some(number) => {}
            Event::Read(_, found) => {
                self.awaited = None;
                self.read((now, random), found);
            }
            Event::Swapped(_, answer) => {
                self.awaited = None;
                let outcome = self.register.answered(answer);
                self.settled((now, random), outcome);
            }
            Event::Resign => self.resign(),
            Event::Tick => match self.state {
                State::Waiting(due) if due <= now => {
                    self.state = State::Reading;
                    self.ask(Step::Read);
                }
                State::Leading(due) if due <= now => self.beat(),
                _ => {}
            },
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Waiting(due) | State::Leading(due) => Some(due),
            _ => None,
        }
    }

    /// The term in which it leads.
    pub fn leads(&self) -> Option<u64> {
        let leads = matches!(self.state, State::Leading(_) | State::Beating | State::Resigning);
        self.register.current().filter(|_| leads).map(|leader| leader.term)
    }

    /// The document as it is known.
    pub fn current(&self) -> Option<&Leader> {
        self.register.current()
    }

    fn ask(&mut self, step: Step<Leader>) {
        self.asked += 1;
        self.awaited = Some(self.asked);
        self.actions.push(match step {
            Step::Read => Action::Read(self.asked),
            Step::Swap(leader, expected) => Action::Swap(self.asked, leader, expected),
        });
    }

    fn propose(&mut self, leader: Leader) {
        let step = self.register.propose(leader);
        self.ask(step);
    }

    fn read(&mut self, (now, random): (Time, u64), found: Option<Option<(Leader, Version)>>) {
        match (found, &self.state) {
            (found, State::Reading) => match found {
                Some(found) => {
                    self.register.saw(found);
                    self.watch((now, random));
                }
                None => {
                    // Who could not read has seen no silence.
                    self.seen = None;
                    self.state = State::Waiting(now.saturating_add(self.settings.beat));
                }
            },
            (Some(found), _) => {
                let outcome = self.register.read(found);
                self.settled((now, random), outcome);
            }
            (None, _) => self.ask(Step::Read),
        }
    }

    /// The document was read by a standby.
    fn watch(&mut self, (now, random): (Time, u64)) {
        let Some(leader) = self.register.current().cloned() else { return self.claim() };
        let is_other = self.followed != Some(leader.term);
        self.term = self.term.max(leader.term);
        // Whoever had this address before is gone: it is this process that listens there. But where that has led already, another one does.
        let is_own = leader.address == self.settings.address;
        if leader.resigned || is_own && !self.has_led {
            return self.claim();
        }
        if is_other {
            self.followed = Some(leader.term);
            let leader = leader.clone();
            self.actions.push(if is_own { Action::Twin(leader) } else { Action::Follow(leader) });
        }
        match &self.seen {
            Some(seen) if seen.nonce == leader.nonce && seen.silent_at <= now => {
                return self.claim();
            }
            Some(seen) if seen.nonce == leader.nonce => {}
            _ => {
                let by_chance = random % self.settings.spread.max(1);
                let silent_at = now.saturating_add(self.settings.silence).saturating_add(by_chance);
                self.seen = Some(Seen { nonce: leader.nonce, silent_at });
            }
        }
        let silent_at = self.seen.as_ref().map_or(now, |seen| seen.silent_at);
        self.state = State::Waiting(now.saturating_add(self.settings.beat).min(silent_at.max(now)));
    }

    fn claim(&mut self) {
        let cluster = self.register.current().map_or(&self.settings.cluster, |leader| &leader.cluster).clone();
        let leader = Leader::new(cluster, self.term.saturating_add(1), self.settings.address.clone());
        self.state = State::Claiming;
        (self.seen, self.followed) = (None, None);
        self.propose(leader);
    }

    fn beat(&mut self) {
        let Some(mut leader) = self.register.current().cloned() else { return };
        leader.beat += 1;
        self.state = State::Beating;
        self.propose(leader);
    }

    fn resign(&mut self) {
        match self.state {
            State::Leading(_) => self.give_up(),
            State::Beating => self.state = State::Resigning,
            State::Resigning | State::Over => {}
            State::Waiting(_) | State::Reading | State::Claiming => self.over(),
        }
    }

    fn give_up(&mut self) {
        let Some(mut leader) = self.register.current().cloned() else { return };
        leader.resigned = true;
        self.state = State::Resigning;
        self.propose(leader);
    }

    fn over(&mut self) {
        // What comes of a swap in flight is nothing to it any more.
        self.awaited = None;
        self.state = State::Over;
        self.actions.push(Action::Resigned);
    }

    fn settled(&mut self, (now, random): (Time, u64), outcome: Outcome<Leader>) {
        match outcome {
            Outcome::Ask(step) => self.ask(step),
            Outcome::Accepted => {
                let (term, resigned) = self.register.current().map_or((0, false), |it| (it.term, it.resigned));
                match self.state {
                    State::Resigning if !resigned => self.give_up(),
                    State::Resigning => {
                        self.actions.push(Action::StepDown(term));
                        self.over();
                    }
                    _ => {
                        if matches!(self.state, State::Claiming) {
                            (self.term, self.has_led) = (term, true);
                            self.actions.push(Action::Lead(term));
                        }
                        self.state = State::Leading(now.saturating_add(self.settings.beat));
                    }
                }
            }
            // One of an earlier term is still there: that is watched, too.
            Outcome::Deposed(_) | Outcome::Outdated(_) | Outcome::Gone => {
                let was_resigning = matches!(self.state, State::Resigning);
                if !matches!(self.state, State::Claiming) {
                    self.actions.push(Action::StepDown(self.term));
                }
                if was_resigning {
                    return self.over();
                }
                self.watch((now, random));
            }
        }
    }
}
