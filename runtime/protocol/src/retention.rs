//! Which checkpoints stay, and which objects nobody needs any more.
//!
//! An object may be deleted when no checkpoint that stays names it and no snapshot on its way can: a snapshot names only objects
//! of the manifest of the checkpoint that was confirmed when its barrier was sent (so that one stays while a barrier that
//! carries it is on its way), or objects begun after it. A checkpoint is retired in HEAD before any of its objects is deleted.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::head::Head;
use flow_model::checkpoint::{CheckpointId, Incarnation, Manifest, ObjectName};

/// The objects of the checkpoints that HEAD names, and of those whose garbage is still to be deleted.
#[derive(Debug, Default)]
pub struct Retention {
    /// How many complete checkpoints stay, savepoints or not, at least 1.
    keep: usize,
    objects: BTreeMap<(Incarnation, CheckpointId), BTreeSet<ObjectName>>,
}

impl Retention {
    /// Of a job that keeps so many of its last checkpoints.
    pub fn new(keep: usize) -> Retention {
        Retention { keep: keep.max(1), objects: BTreeMap::new() }
    }

    /// A checkpoint is named by HEAD, and its manifest is known.
    pub fn add(&mut self, manifest: &Manifest) {
        let objects = manifest.objects().cloned().chain([manifest.name()]).collect();
        self.objects.insert((manifest.incarnation.clone(), manifest.checkpoint), objects);
    }

    /// Whether what a checkpoint names is known.
    pub fn knows(&self, checkpoint: &(Incarnation, CheckpointId)) -> bool {
        self.objects.contains_key(checkpoint)
    }

    /// HEAD with what need not stay moved to the retired ones; none from `oldest` on, the least checkpoint that a barrier on its
    /// way carries as confirmed, or that is to become a savepoint.
    pub fn retire(&self, head: &mut Head, oldest: CheckpointId) {
        head.retained.sort_unstable();
        let surplus = head.retained.len().saturating_sub(self.keep);
        let is_due = |checkpoint: &CheckpointId| *checkpoint < oldest && Some(*checkpoint) != head.latest;
        let retired: Vec<CheckpointId> = head.retained[..surplus].iter().copied().filter(is_due).collect();
        head.retained.retain(|checkpoint| !retired.contains(checkpoint));
        head.retired.extend(retired);
    }

    /// What can be deleted of checkpoints that HEAD retires or does not name any more: objects that nothing that stays names.
    /// None while it is not known what one that stays names.
    pub fn garbage(&self, head: &Head) -> Option<BTreeSet<ObjectName>> {
        let kept = self.kept(head)?;
        let objects: BTreeSet<&ObjectName> = self.objects.values().flatten().collect();
        Some(objects.into_iter().filter(|object| !kept.contains(*object)).cloned().collect())
    }

    /// All that stays; none while it is not known what one of them names.
    pub fn kept(&self, head: &Head) -> Option<BTreeSet<&ObjectName>> {
        let mut kept = BTreeSet::new();
        for checkpoint in named(head) {
            kept.extend(self.objects.get(&checkpoint)?);
        }
        Some(kept)
    }

    /// Forgets checkpoints that do not stay, once what only they name is being deleted.
    pub fn forget(&mut self, head: &Head) {
        let named: BTreeSet<(Incarnation, CheckpointId)> = named(head).collect();
        self.objects.retain(|checkpoint, _| named.contains(checkpoint));
    }
}

/// The checkpoints that stay: those retained of this life, and savepoints of all.
pub fn named(head: &Head) -> impl Iterator<Item = (Incarnation, CheckpointId)> + '_ {
    let retained = head.retained.iter().map(|checkpoint| (head.incarnation.clone(), *checkpoint));
    let savepoints = head.savepoints.iter().map(|savepoint| (savepoint.incarnation.clone(), savepoint.checkpoint));
    retained.chain(savepoints)
}

/// Whether an object that was found in the store is garbage: begun no later than `oldest`, the least checkpoint that a snapshot
/// on its way builds on, and named by nothing that stays.
pub fn is_garbage(object: &ObjectName, kept: &BTreeSet<ObjectName>, oldest: CheckpointId) -> bool {
    object.checkpoint() <= oldest && !kept.contains(object)
}
