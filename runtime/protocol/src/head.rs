//! HEAD as its leader sees it: one swap in flight, a fresh nonce each, and what an answer to it means. Must never take an
//! answer to a read for the outcome of a swap whose own answer is missing: the write may land after the read.

use flow_model::checkpoint::{Head, head::Wanted};

/// What a store names a version of an object by.
pub type Version = String;

/// How a store answered a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// HEAD is what was proposed; its new version.
    Done(Version),
    /// HEAD was not what was expected: it has to be read.
    Conflict,
    /// The same swap may be tried again, or: nobody knows what came of it.
    Again,
}

/// What is to be done next about HEAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Swap it in: over this version, or where there is none.
    Swap(Box<Head>, Option<Version>),
    /// Read it.
    Read,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is HEAD now.
    Accepted,
    /// Ask the store this.
    Ask(Step),
    /// Another leader's is.
    Deposed {
        /// Where that one is, in its own words.
        leader: String,
        /// Its term.
        term: u64,
    },
}

struct Proposal {
    head: Head,
    expected: Option<Version>,
}

/// HEAD of one job.
pub struct Register {
    /// 128 random bits of this leader's, in hexadecimal: nonces of two processes never meet.
    leader: String,
    swaps: u64,
    current: Option<(Head, Version)>,
    proposal: Option<Proposal>,
}

impl Register {
    /// With what was read from the store. `unique` are random bits that no other process has.
    pub fn new(unique: u128, read: Option<(Head, Version)>) -> Register {
        Register { leader: format!("{unique:032x}"), swaps: 0, current: read, proposal: None }
    }

    /// What HEAD is known to say.
    pub fn current(&self) -> Option<&Head> {
        self.current.as_ref().map(|(head, _)| head)
    }

    /// Whether a swap is in flight: nothing can be proposed until it is settled.
    pub fn is_busy(&self) -> bool {
        self.proposal.is_some()
    }

    /// A nonce that nobody has used.
    pub fn nonce(&mut self) -> String {
        self.swaps += 1;
        format!("{}-{}", self.leader, self.swaps)
    }

    /// Proposes a change of HEAD, or the first one. Only while it is not busy. The nonce is set here.
    pub fn propose(&mut self, mut head: Head) -> Step {
        debug_assert!(!self.is_busy(), "one swap at a time");
        head.nonce = self.nonce();
        let expected = self.current.as_ref().map(|(_, version)| version.clone());
        let proposal = self.proposal.insert(Proposal { head, expected });
        Step::Swap(Box::new(proposal.head.clone()), proposal.expected.clone())
    }

    /// The swap in flight once more, as it was.
    fn again(&self) -> Outcome {
        match &self.proposal {
            Some(proposal) => Outcome::Ask(Step::Swap(Box::new(proposal.head.clone()), proposal.expected.clone())),
            None => Outcome::Ask(Step::Read),
        }
    }

    /// The store answered the swap in flight.
    pub fn answered(&mut self, answer: Answer) -> Outcome {
        match answer {
            Answer::Done(version) => self.accept(version),
            Answer::Conflict => Outcome::Ask(Step::Read),
            Answer::Again => self.again(),
        }
    }

    fn accept(&mut self, version: Version) -> Outcome {
        if let Some(proposal) = self.proposal.take() {
            self.current = Some((proposal.head, version));
        }
        Outcome::Accepted
    }

    /// HEAD was read because the swap in flight met a conflict.
    pub fn read(&mut self, found: Option<(Head, Version)>) -> Outcome {
        let Some(proposal) = &self.proposal else { return Outcome::Accepted };
        match found {
            // An earlier sending of the same swap was done.
            Some((head, version)) if head.nonce == proposal.head.nonce => self.accept(version),
            Some((head, _)) => {
                self.proposal = None;
                Outcome::Deposed { leader: head.leader, term: head.term }
            }
            // HEAD is never deleted, so whoever did, did it to all of the job.
            None => {
                self.proposal = None;
                Outcome::Deposed { leader: "nobody: HEAD was deleted".to_owned(), term: 0 }
            }
        }
    }
}

/// Whether a job of this HEAD may be led by who did not lead it: nobody wants it to run.
pub fn is_free(head: &Head) -> bool {
    head.wanted != Wanted::Running
}
