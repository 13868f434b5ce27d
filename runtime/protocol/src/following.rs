//! A worker's side of leadership: whom it obeys, and what it does without a leader. It goes on with what it runs, for some time;
//! an isolated one would write output that is at-least-once again and again while others do its work. Must never obey a term that
//! is lower than one that it has registered with.

use flow_model::cluster::Session;

use crate::Time;

/// How a worker follows. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// From one heartbeat, or one question who leads, to the next.
    pub beat: Time,
    /// A leader that does not answer for so long is looked for anew.
    pub silence: Time,
    /// A worker that has a leader asks so often whether there is a later one: the one that it has may live, and lead no more.
    pub ask: Time,
    /// After so long without a leader it stops what it runs.
    pub alone: Time,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// A coordinator says who leads.
    Named {
        /// The leader's term.
        term: u64,
        /// Where it is reached.
        address: String,
    },
    /// A leader has taken the registration.
    Welcomed(Session),
    /// A leader has refused it, or the way to it is broken.
    Rejected {
        /// The term in which it was asked.
        term: u64,
    },
    /// A heartbeat was answered.
    Answered(Session),
    /// The leader does not know the session, or the way to it is broken.
    Ended(Session),
    /// The deadline has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask all coordinators who leads. Each answer is an [`Event::Named`].
    Ask,
    /// Register with this leader, with all that runs. Answered by [`Event::Welcomed`] or [`Event::Rejected`].
    Register {
        /// Its term.
        term: u64,
        /// Where it is reached.
        address: String,
    },
    /// Tell the leader that this worker lives. Answered by [`Event::Answered`] or [`Event::Ended`].
    Heartbeat(Session),
    /// Stop all that runs, and forget it: it was alone for too long.
    StopAll,
}

/// Somebody gave an order who does not lead, as far as this worker knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an order of term {} and registration {}, and this worker {}", .given.term, .given.number, obeys(.obeyed))]
pub struct Stale {
    /// The session of the order.
    pub given: Session,
    /// The session that counts, if there is one.
    pub obeyed: Option<Session>,
}

fn obeys(session: &Option<Session>) -> String {
    match session {
        Some(Session { term, number }) => format!("obeys term {term} and registration {number}"),
        None => "has no leader".to_owned(),
    }
}

enum State {
    /// It has no leader and asks for one.
    Looking,
    /// It has asked that leader to take it.
    Registering(u64),
    /// It obeys.
    Following(Session),
}

/// One worker.
pub struct Following {
    settings: Settings,
    state: State,
    /// The highest term that it has registered with.
    term: u64,
    /// When a leader was heard last, or it began.
    heard: Time,
    /// When it asks, or sends a heartbeat, next.
    next: Time,
    /// When it asks next though it has a leader.
    doubts: Time,
    /// It has stopped all that it ran since it heard a leader last.
    stopped: bool,
}

impl Following {
    /// A worker that begins.
    pub fn new(settings: Settings, now: Time) -> Following {
        Following { settings, state: State::Looking, term: 0, heard: now, next: now, doubts: now, stopped: true }
    }

    /// Takes what happened at `now` and says what is to be done, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Named { term, address } => {
                let is_better = match self.state {
                    State::Looking => term >= self.term,
                    State::Registering(asked) => term > asked,
                    State::Following(session) => term > session.term,
                };
                if is_better {
                    (self.state, self.next) = (State::Registering(term), now.saturating_add(self.settings.silence));
                    actions.push(Action::Register { term, address });
                }
            }
            Event::Welcomed(session) => {
                if matches!(self.state, State::Registering(term) if term == session.term) && session.term >= self.term {
                    self.state = State::Following(session);
                    self.term = session.term;
                    (self.heard, self.next, self.stopped) = (now, now.saturating_add(self.settings.beat), false);
                    self.doubts = now.saturating_add(self.settings.ask);
                }
            }
            Event::Rejected { term } => {
                if matches!(self.state, State::Registering(asked) if asked == term) {
                    (self.state, self.next) = (State::Looking, now.saturating_add(self.settings.beat));
                }
            }
            Event::Answered(session) => {
                if self.obeys(session).is_ok() {
                    self.heard = now;
                }
            }
            Event::Ended(session) => {
                if self.obeys(session).is_ok() {
                    (self.state, self.next) = (State::Looking, now);
                }
            }
            Event::Tick => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    fn advance(&mut self, now: Time, actions: &mut Vec<Action>) {
        let silent = now.saturating_sub(self.heard);
        if !self.stopped && silent >= self.settings.alone {
            // What it runs is given up elsewhere by now; it would be told so should it come back.
            self.stopped = true;
            actions.push(Action::StopAll);
        }
        if self.next > now {
            return;
        }
        self.next = now.saturating_add(self.settings.beat);
        match self.state {
            State::Following(session) if silent < self.settings.silence => {
                actions.push(Action::Heartbeat(session));
                if self.doubts <= now {
                    self.doubts = now.saturating_add(self.settings.ask);
                    actions.push(Action::Ask);
                }
            }
            _ => {
                self.state = State::Looking;
                actions.push(Action::Ask);
            }
        }
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub fn next_deadline(&self) -> Time {
        let alone = self.heard.saturating_add(self.settings.alone);
        if self.stopped { self.next } else { self.next.min(alone) }
    }

    /// Whether an order of a session is obeyed.
    ///
    /// # Errors
    /// It is another one than that which counts.
    pub fn obeys(&self, given: Session) -> Result<(), Stale> {
        let obeyed = self.session();
        if obeyed == Some(given) { Ok(()) } else { Err(Stale { given, obeyed }) }
    }

    /// The session that counts.
    pub fn session(&self) -> Option<Session> {
        if let State::Following(session) = self.state { Some(session) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { beat: 10, silence: 50, ask: 1000, alone: 200 };

    fn named(term: u64) -> Event {
        Event::Named { term, address: format!("c{term}:9000") }
    }

    fn session(term: u64, number: u64) -> Session {
        Session { term, number }
    }

    fn following() -> Following {
        let mut worker = Following::new(SETTINGS, 0);
        assert_eq!(worker.handle(0, Event::Tick), [Action::Ask]);
        assert_eq!(worker.handle(1, named(2)), [Action::Register { term: 2, address: "c2:9000".into() }]);
        assert_eq!(worker.handle(2, Event::Welcomed(session(2, 7))), []);
        worker
    }

    #[test]
    fn it_obeys_the_highest_term_alone() {
        let mut worker = following();
        assert!(worker.obeys(session(2, 7)).is_ok());
        assert!(worker.obeys(session(2, 6)).is_err());
        // Of a lower term nothing is heard, even when another coordinator still believes in it.
        assert_eq!(worker.handle(3, named(1)), []);
        assert_eq!(worker.handle(4, named(3)), [Action::Register { term: 3, address: "c3:9000".into() }]);
        // The old one is not obeyed from the moment at which the new one was told what runs.
        assert!(worker.obeys(session(2, 7)).is_err());
        assert_eq!(worker.handle(5, Event::Welcomed(session(2, 8))), []);
        worker.handle(6, Event::Welcomed(session(3, 1)));
        assert!(worker.obeys(session(3, 1)).is_ok());
        worker.handle(7, Event::Ended(session(3, 1)));
        assert_eq!(worker.handle(8, named(2)), [], "it would go back to a lower term");
        let text = worker.obeys(session(2, 7)).expect_err("it is stale").to_string();
        assert_eq!(text, "an order of term 2 and registration 7, and this worker has no leader");
    }

    #[test]
    fn it_finds_a_later_leader_though_the_one_that_it_has_lives() {
        let mut worker = following();
        let (mut now, mut asked) = (2, Vec::new());
        while asked.len() < 2 {
            now = worker.next_deadline();
            for action in worker.handle(now, Event::Tick) {
                match action {
                    Action::Ask => asked.push(now),
                    Action::Heartbeat(session) => assert!(worker.handle(now, Event::Answered(session)).is_empty()),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(asked, [1002, 2002]);
        assert_eq!(worker.handle(now, named(2)), [], "it has that one");
        assert_eq!(worker.handle(now, named(3)), [Action::Register { term: 3, address: "c3:9000".into() }]);
    }

    #[test]
    fn it_looks_for_a_silent_leader_and_stops_when_none_comes() {
        let mut worker = following();
        let (mut asked, mut stopped) = (Vec::new(), Vec::new());
        while worker.next_deadline() < 500 {
            let now = worker.next_deadline();
            for action in worker.handle(now, Event::Tick) {
                match action {
                    Action::Ask => asked.push(now),
                    Action::StopAll => stopped.push(now),
                    Action::Heartbeat(_) => assert!(now < 2 + SETTINGS.silence),
                    Action::Register { .. } => panic!("with whom?"),
                }
            }
        }
        assert_eq!((asked[0], stopped), (52, vec![202]), "{asked:?}");
        worker.handle(500, named(2));
        worker.handle(501, Event::Welcomed(session(2, 9)));
        assert_eq!(worker.handle(511, Event::Tick), [Action::Heartbeat(session(2, 9))]);
    }
}
