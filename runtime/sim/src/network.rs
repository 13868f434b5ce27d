//! The way to the store, and what may happen on it: a request is lost, late, or done without an answer; the store is out.

use std::collections::BTreeSet;

use flow_model::checkpoint::{CheckpointId, Head, Incarnation, Manifest, ObjectName};
use flow_protocol::head::{Answer, Version};
use flow_protocol::job::{Event as JobEvent, Failure};
use flow_protocol::restart::Kind;
use flow_protocol::retention::is_garbage;

use crate::outbox::Ticket;
use crate::plant::Plant;
use crate::store::Body;
use crate::world::{Event, World};

/// Whoever sends a request waits so long for the answer, milliseconds.
const TIMEOUT: u64 = 150;

/// What is asked of the store, and by whom.
#[derive(Clone, Debug)]
pub enum Request {
    /// Swap HEAD.
    Swap(u32, Box<Head>, Option<Version>),
    /// Read it.
    ReadHead(u32),
    /// Read a manifest.
    Load(u32, Incarnation, CheckpointId),
    /// Write one.
    Manifest(u32, Box<Manifest>),
    /// Delete objects.
    Delete(u32, BTreeSet<ObjectName>),
    /// Look for garbage and delete it.
    Sweep(Incarnation, CheckpointId, BTreeSet<ObjectName>),
    /// An attempt uploads an object.
    Put(u32, Ticket, ObjectName, Body),
}

impl World {
    /// Sends a request.
    pub(crate) fn send(&mut self, request: Request) {
        let there = self.dice.between(1, 25);
        if !self.mishap(14) {
            return self.agenda.after(there, Event::Store(request, true));
        }
        // Who sent it gives up; it arrives before that, after it, or never.
        let late = match self.dice.roll(3) {
            0 => Some(there),
            1 => Some(TIMEOUT + self.dice.between(1, 600)),
            _ => None,
        };
        self.unanswered(&request, TIMEOUT);
        if let Some(late) = late {
            self.agenda.after(late, Event::Store(request, false));
        }
    }

    /// What follows for who gets no answer.
    fn unanswered(&mut self, request: &Request, after: u64) {
        let nothing = "the store gave no answer";
        match request.clone() {
            Request::Swap(leader, ..) => {
                self.agenda.after(after, Event::Heard(leader, JobEvent::Swapped(Answer::Again)))
            }
            Request::Load(leader, incarnation, checkpoint) => {
                let failure = Failure { kind: Kind::Retryable, reason: nothing.into() };
                let loaded = JobEvent::ManifestLoaded(incarnation, checkpoint, Err(failure));
                self.agenda.after(after, Event::Heard(leader, loaded));
            }
            Request::Manifest(leader, manifest) => {
                let stored = JobEvent::ManifestStored(manifest.checkpoint, Err(nothing.into()));
                self.agenda.after(after, Event::Heard(leader, stored));
            }
            // These are sent until they are answered.
            Request::ReadHead(_) | Request::Delete(..) => self.agenda.after(after, Event::Store(request.clone(), true)),
            Request::Sweep(..) => {}
            // A client tries some times, then it tells.
            Request::Put(attempt, ticket, ..) if self.dice.one_in(4) => {
                self.agenda.after(after, Event::Uploaded(attempt, ticket, false));
            }
            Request::Put(..) => self.agenda.after(after, Event::Store(request.clone(), true)),
        }
    }

    /// A request arrives at the store.
    pub(crate) fn arrived(&mut self, request: Request, heard: bool) {
        if self.clock.now() < self.outage {
            if heard {
                self.unanswered(&request, TIMEOUT);
            }
            return;
        }
        let back = self.dice.between(1, 25);
        match request {
            Request::Swap(leader, head, expected) => {
                let answer = self.swap(*head, expected.as_ref());
                self.back(heard, back, leader, JobEvent::Swapped(answer));
            }
            Request::ReadHead(leader) => {
                let head = self.store.head().cloned();
                self.back(heard, back, leader, JobEvent::HeadRead(Box::new(head)));
            }
            Request::Load(leader, incarnation, checkpoint) => {
                let name = ObjectName::manifest(&incarnation, checkpoint);
                let missing = || Failure { kind: Kind::Fatal, reason: format!("{name} is not in the store") };
                let loaded = self.store.manifest(&name).cloned().map(Box::new).ok_or_else(missing);
                self.back(heard, back, leader, JobEvent::ManifestLoaded(incarnation, checkpoint, loaded));
            }
            Request::Manifest(leader, manifest) => {
                let checkpoint = manifest.checkpoint;
                self.store.put(manifest.name(), Body::Manifest(manifest));
                self.back(heard, back, leader, JobEvent::ManifestStored(checkpoint, Ok(())));
            }
            Request::Delete(leader, objects) => {
                self.delete(|object| objects.contains(object));
                self.back(heard, back, leader, JobEvent::Deleted);
            }
            Request::Sweep(incarnation, until, kept) => {
                let until = if self.job.plant == Plant::SweepsTheNew { CheckpointId(u64::MAX) } else { until };
                let is_its = |object: &ObjectName| object.as_str().starts_with(incarnation.as_str());
                self.delete(|object| is_its(object) && is_garbage(object, &kept, until));
            }
            Request::Put(attempt, ticket, name, body) => {
                self.store.put(name, body);
                if heard {
                    self.agenda.after(back, Event::Uploaded(attempt, ticket, true));
                }
            }
        }
    }

    fn back(&mut self, heard: bool, delay: u64, leader: u32, event: JobEvent) {
        if heard {
            self.agenda.after(delay, Event::Heard(leader, event));
        }
    }

    fn swap(&mut self, head: Head, expected: Option<&Version>) -> Answer {
        let before = self.store.head().map(|(head, _)| head.clone());
        let answer = self.store.swap(head.clone(), expected);
        if let Answer::Done(_) = &answer {
            let verdict = self.oracle.swapped(before.as_ref(), &head, &self.store, &self.broker);
            self.check(verdict);
        }
        answer
    }

    fn delete(&mut self, is_garbage: impl Fn(&ObjectName) -> bool) {
        let deleted = self.store.delete(is_garbage);
        self.note(format_args!("{deleted} objects are deleted"));
        let verdict = self.oracle.kept(&self.store);
        self.check(verdict);
    }
}
