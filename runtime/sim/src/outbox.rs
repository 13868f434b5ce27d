//! What the parts of an attempt want from the world, in order. They are called in the middle of a task's step, so they leave a
//! note and go on.

use std::sync::{Arc, Mutex, PoisonError};

use flow_model::checkpoint::ObjectName;
use flow_model::checkpoint::snapshot::Segment;
use flow_protocol::job::Event;

use crate::store::Body;

/// Whose upload it is.
#[derive(Clone, Debug)]
pub enum Ticket {
    /// A run of the keyed state of a subtask.
    Run(usize, u64),
    /// A part of the output of a subtask.
    Part(usize, ObjectName),
}

/// What is wanted.
#[derive(Debug)]
pub enum Wish {
    /// An object is to be stored.
    Upload(Ticket, ObjectName, Body),
    /// The coordinator is to be told.
    Tell(Event),
    /// A subtask's segment is sealed: its lane is to be told, before the coordinator is.
    Sealed(usize, Segment),
}

/// Notes of one attempt.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<Vec<Wish>>>);

impl Outbox {
    /// Leaves a note.
    pub fn put(&self, wish: Wish) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(wish);
    }

    /// All notes, oldest first.
    pub fn take(&self) -> Vec<Wish> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Names that nobody else has.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<u128>>);

impl Names {
    /// The next.
    pub fn next(&self) -> u128 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        *last
    }
}
