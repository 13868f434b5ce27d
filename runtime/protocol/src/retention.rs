//! Which checkpoints stay, and which objects nobody needs any more.
//!
//! An object may be deleted when no checkpoint that stays names it and no snapshot on its way can: a snapshot names only objects
//! of the manifest of the checkpoint that was confirmed when its barrier was sent (so that one stays while a barrier that
//! carries it is on its way), or objects begun after it. A checkpoint is retired in HEAD before any of its objects is deleted.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::head::Head;
use flow_model::checkpoint::{CheckpointId, Manifest, ObjectName};

/// The objects of the checkpoints that HEAD names.
#[derive(Debug, Default)]
pub struct Retention {
    /// How many complete checkpoints stay beside savepoints, at least 1.
    keep: usize,
    objects: BTreeMap<CheckpointId, BTreeSet<ObjectName>>,
}

impl Retention {
    /// Of a job that keeps so many of its last checkpoints.
    pub fn new(keep: usize) -> Retention {
        Retention { keep: keep.max(1), objects: BTreeMap::new() }
    }

    /// A checkpoint is named by HEAD, and its manifest is known.
    pub fn add(&mut self, manifest: &Manifest) {
        let objects = manifest.objects().cloned().chain([manifest.name()]).collect();
        self.objects.insert(manifest.checkpoint, objects);
    }

    /// Whether what a checkpoint names is known.
    pub fn knows(&self, checkpoint: CheckpointId) -> bool {
        self.objects.contains_key(&checkpoint)
    }

    /// HEAD with what need not stay moved to the retired ones. `oldest` is the least checkpoint that a barrier on its way
    /// carries as confirmed.
    pub fn retire(&self, head: &mut Head, oldest: CheckpointId) {
        let savepoints: BTreeSet<CheckpointId> = head.savepoints.iter().map(|s| s.checkpoint).collect();
        let mut plain: Vec<CheckpointId> = head.retained.iter().copied().filter(|c| !savepoints.contains(c)).collect();
        plain.sort_unstable();
        let surplus = plain.len().saturating_sub(self.keep);
        let retired: Vec<CheckpointId> =
            plain[..surplus].iter().copied().filter(|c| *c < oldest && Some(*c) != head.latest).collect();
        head.retained.retain(|checkpoint| !retired.contains(checkpoint));
        head.retired.extend(retired);
    }

    /// What can be deleted of retired checkpoints, as HEAD says it: objects that no retained one names. None while it is not
    /// known what one that stays names.
    pub fn garbage(&self, head: &Head) -> Option<BTreeSet<ObjectName>> {
        let kept = self.kept(head)?;
        let of_retired = head.retired.iter().filter_map(|checkpoint| self.objects.get(checkpoint)).flatten();
        Some(of_retired.filter(|object| !kept.contains(*object)).cloned().collect())
    }

    /// All that stays; none while it is not known what one of them names.
    pub fn kept(&self, head: &Head) -> Option<BTreeSet<&ObjectName>> {
        let mut kept = BTreeSet::new();
        for checkpoint in &head.retained {
            kept.extend(self.objects.get(checkpoint)?);
        }
        Some(kept)
    }

    /// Forgets checkpoints that HEAD does not name any more.
    pub fn forget(&mut self, head: &Head) {
        self.objects.retain(|checkpoint, _| head.retained.contains(checkpoint) || head.retired.contains(checkpoint));
    }
}

/// Whether an object that was found in the store is garbage: begun no later than `oldest`, the least checkpoint that a snapshot
/// on its way builds on, and named by nothing that stays.
pub fn is_garbage(object: &ObjectName, kept: &BTreeSet<ObjectName>, oldest: CheckpointId) -> bool {
    object.checkpoint() <= oldest && !kept.contains(object)
}
