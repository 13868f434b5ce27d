//! A document that is changed by compare-and-swap alone, as who changes it sees it: HEAD of a job, or the one that names a
//! cluster's leader. One swap in flight, a fresh nonce each, and what an answer to it means. Must never take an answer to a read
//! for the outcome of a swap whose own answer is missing: the write may land after the read.

use flow_model::checkpoint::{Head, head::Wanted};
use flow_model::cluster::Leader;

/// What a store names a version of an object by.
pub type Version = String;

/// A document that one leader changes, as long as it leads.
pub trait Document: Clone {
    /// What nobody else has written.
    fn nonce(&self) -> &str;
    /// Makes it another version of it.
    fn set_nonce(&mut self, nonce: String);
    /// Who has written it, in its own words, and in which term.
    fn writer(&self) -> (&str, u64);
}

impl Document for Head {
    fn nonce(&self) -> &str {
        &self.nonce
    }

    fn set_nonce(&mut self, nonce: String) {
        self.nonce = nonce;
    }

    fn writer(&self) -> (&str, u64) {
        (&self.leader, self.term)
    }
}

impl Document for Leader {
    fn nonce(&self) -> &str {
        &self.nonce
    }

    fn set_nonce(&mut self, nonce: String) {
        self.nonce = nonce;
    }

    fn writer(&self) -> (&str, u64) {
        (&self.address, self.term)
    }
}

/// How a store answered a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is what was proposed; its new version.
    Done(Version),
    /// It was not what was expected: it has to be read.
    Conflict,
    /// The same swap may be tried again, or: nobody knows what came of it.
    Again,
}

/// What is to be done next about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<D = Head> {
    /// Swap it in: over this version, or where there is none.
    Swap(Box<D>, Option<Version>),
    /// Read it.
    Read,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<D = Head> {
    /// It is what counts now.
    Accepted,
    /// Ask the store this.
    Ask(Step<D>),
    /// Another leader's is.
    Deposed(Writer),
    /// What a leader of an earlier term had sent landed in between: the proposal is to be made anew of what it says now.
    Outdated(Writer),
    /// There is none any more. No leader deletes it: whoever did, did it to all that there was.
    Gone,
}

/// Who has written a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Where that one is, in its own words.
    pub leader: String,
    /// Its term.
    pub term: u64,
}

struct Proposal<D> {
    document: D,
    expected: Option<Version>,
}

/// One such document.
pub struct Register<D = Head> {
    /// 128 random bits of this process's, in hexadecimal: nonces of two processes never meet.
    unique: String,
    swaps: u64,
    current: Option<(D, Version)>,
    proposal: Option<Proposal<D>>,
}

impl<D: Document> Register<D> {
    /// With what was read from the store. `unique` are random bits that no other process has.
    pub fn new(unique: u128, read: Option<(D, Version)>) -> Register<D> {
        Register { unique: format!("{unique:032x}"), swaps: 0, current: read, proposal: None }
    }

    /// What it is known to say.
    pub fn current(&self) -> Option<&D> {
        self.current.as_ref().map(|(document, _)| document)
    }

    /// It was read, by who proposes nothing at the time.
    pub fn saw(&mut self, found: Option<(D, Version)>) {
        debug_assert!(!self.is_busy(), "what is read while a swap is in flight is its answer");
        self.current = found;
    }

    /// Whether a swap is in flight: nothing can be proposed until it is settled.
    pub fn is_busy(&self) -> bool {
        self.proposal.is_some()
    }

    /// A nonce that nobody has used.
    fn nonce(&mut self) -> String {
        self.swaps += 1;
        format!("{}-{}", self.unique, self.swaps)
    }

    /// Proposes a change, or the first one. Only while it is not busy. The nonce is set here.
    pub fn propose(&mut self, mut document: D) -> Step<D> {
        debug_assert!(!self.is_busy(), "one swap at a time");
        document.set_nonce(self.nonce());
        let expected = self.current.as_ref().map(|(_, version)| version.clone());
        let proposal = self.proposal.insert(Proposal { document, expected });
        Step::Swap(Box::new(proposal.document.clone()), proposal.expected.clone())
    }

    /// The swap in flight once more, as it was.
    fn again(&self) -> Outcome<D> {
        match &self.proposal {
            Some(proposal) => Outcome::Ask(Step::Swap(Box::new(proposal.document.clone()), proposal.expected.clone())),
            None => Outcome::Ask(Step::Read),
        }
    }

    /// The store answered the swap in flight.
    pub fn answered(&mut self, answer: Answer) -> Outcome<D> {
        match answer {
            Answer::Done(version) => self.accept(version),
            Answer::Conflict => Outcome::Ask(Step::Read),
            Answer::Again => self.again(),
        }
    }

    fn accept(&mut self, version: Version) -> Outcome<D> {
        if let Some(proposal) = self.proposal.take() {
            self.current = Some((proposal.document, version));
        }
        Outcome::Accepted
    }

    /// It was read because the swap in flight met a conflict. Where another's was found, that is what it says from now on.
    pub fn read(&mut self, found: Option<(D, Version)>) -> Outcome<D> {
        let Some(proposal) = &self.proposal else { return Outcome::Accepted };
        if let Some((document, version)) = &found
            && document.nonce() == proposal.document.nonce()
        {
            // An earlier sending of the same swap was done.
            let version = version.clone();
            return self.accept(version);
        }
        let (_, proposed) = proposal.document.writer();
        self.proposal = None;
        self.current = found;
        match self.current().map(Document::writer) {
            Some((leader, term)) => {
                let writer = Writer { leader: leader.to_owned(), term };
                if term < proposed { Outcome::Outdated(writer) } else { Outcome::Deposed(writer) }
            }
            None => Outcome::Gone,
        }
    }

    /// It can't be read: nothing comes of the swap in flight.
    pub fn give_up(&mut self) {
        self.proposal = None;
    }
}

/// Whether a job of this HEAD may be led by who did not lead it: nobody wants it to run.
pub fn is_free(head: &Head) -> bool {
    head.wanted != Wanted::Running
}
