//! A model of the store of checkpoints: objects that are written once, and HEAD, which is swapped. When a request arrives, and
//! whether its answer does, is up to whoever drives it.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_model::checkpoint::{Head, Manifest, ObjectName};
use flow_protocol::head::{Answer, Version};

use crate::broker::Record;

/// What an object holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// A sorted run of keyed state.
    Run(Arc<[u8]>),
    /// A part of a segment: records, each with its partition.
    Part(Arc<[(u32, Record)]>),
    /// A manifest.
    Manifest(Box<Manifest>),
}

/// The store of one job.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<ObjectName, Body>,
    head: Option<(Head, Version)>,
    versions: u64,
}

impl Store {
    /// Writes an object. Its name is unique, so the same again is the same bytes.
    pub fn put(&mut self, name: ObjectName, body: Body) {
        self.objects.insert(name, body);
    }

    /// What an object holds.
    pub fn get(&self, name: &ObjectName) -> Option<&Body> {
        self.objects.get(name)
    }

    /// A manifest.
    pub fn manifest(&self, name: &ObjectName) -> Option<&Manifest> {
        match self.get(name) {
            Some(Body::Manifest(manifest)) => Some(manifest),
            _ => None,
        }
    }

    /// Deletes what is garbage.
    pub fn delete(&mut self, is_garbage: impl Fn(&ObjectName) -> bool) -> usize {
        let before = self.objects.len();
        self.objects.retain(|name, _| !is_garbage(name));
        before - self.objects.len()
    }

    /// HEAD.
    pub fn head(&self) -> Option<&(Head, Version)> {
        self.head.as_ref()
    }

    /// Swaps HEAD, if it still has the expected version.
    pub fn swap(&mut self, head: Head, expected: Option<&Version>) -> Answer {
        if self.head.as_ref().map(|(_, version)| version) != expected {
            return Answer::Conflict;
        }
        self.versions += 1;
        let version = format!("v{}", self.versions);
        self.head = Some((head, version.clone()));
        Answer::Done(version)
    }
}
