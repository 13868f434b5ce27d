//! What became of a job's checkpoints, for people. Nothing is decided by it.

use std::collections::VecDeque;

use flow_model::api::{Checkpoint, CheckpointState, CheckpointSummary};
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Manifest, ObjectName};

/// So many that are not retained are remembered.
const KEPT: usize = 50;

/// The checkpoints that are known, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    known: VecDeque<Checkpoint>,
    summary: CheckpointSummary,
    /// Why the attempt that HEAD names ends, once it does.
    ends: Option<String>,
}

impl History {
    /// In short.
    pub(super) fn summary(&self) -> CheckpointSummary {
        self.summary.clone()
    }

    /// All that are known, newest first.
    pub(super) fn newest_first(&self) -> Vec<Checkpoint> {
        self.known.iter().rev().cloned().collect()
    }

    fn entry(&mut self, id: CheckpointId) -> &mut Checkpoint {
        let at = self.known.partition_point(|known| known.id < id);
        if self.known.get(at).is_none_or(|known| known.id != id) {
            let state = CheckpointState::InProgress;
            let (begun, ended, bytes, new_bytes, reason) = (None, None, None, None, None);
            let new = Checkpoint { id, state, begun, ended, bytes, new_bytes, retained: false, reason };
            self.known.insert(at, new);
        }
        &mut self.known[at]
    }

    /// Its barriers are sent.
    pub(super) fn begun(&mut self, id: CheckpointId, now: u64) {
        self.entry(id).begun = Some(now);
    }

    /// It is complete and its manifest is on its way; `before` is the one that counts.
    pub(super) fn sized(&mut self, manifest: &Manifest, before: CheckpointId) {
        let entry = self.entry(manifest.checkpoint);
        entry.bytes = Some(bytes(manifest, |_| true));
        entry.new_bytes = Some(bytes(manifest, |object| object.checkpoint() > before));
    }

    /// It was found in the store. Who wrote it may have had another clock: what has not come yet by this one's is now.
    pub(super) fn found(&mut self, manifest: &Manifest, now: u64) {
        let entry = self.entry(manifest.checkpoint);
        if entry.ended.is_none() {
            (entry.state, entry.ended) = (CheckpointState::Completed, Some(manifest.time.min(now)));
            entry.bytes = Some(bytes(manifest, |_| true));
        }
        if self.summary.latest.as_ref().is_none_or(|latest| latest.id < manifest.checkpoint) {
            self.summary.latest = Some(self.entry(manifest.checkpoint).clone());
        }
    }

    /// HEAD names it, and it can't be read.
    pub(super) fn unread(&mut self, id: CheckpointId, reason: String) {
        let entry = self.entry(id);
        (entry.state, entry.reason) = (CheckpointState::Completed, Some(reason));
        let entry = entry.clone();
        if self.summary.latest.as_ref().is_none_or(|latest| latest.id < id) {
            self.summary.latest = Some(entry);
        }
    }

    /// An attempt goes on from it.
    pub(super) fn restored(&mut self, id: Option<CheckpointId>) {
        self.summary.restored = id;
    }

    /// HEAD names this attempt.
    pub(super) fn attempt(&mut self, attempt: Attempt) {
        if self.summary.attempt != attempt.0 {
            (self.summary.attempt, self.summary.previous_ended) = (attempt.0, self.ends.take());
        }
    }

    /// An attempt ends: why. What follows from that says nothing more.
    pub(super) fn attempt_ends(&mut self, attempt: Attempt, why: &str) {
        if self.summary.attempt == attempt.0 {
            self.ends.get_or_insert_with(|| why.to_owned());
        }
    }

    /// It counts.
    pub(super) fn completed(&mut self, id: CheckpointId, now: u64) {
        let entry = self.entry(id);
        (entry.state, entry.ended, entry.retained) = (CheckpointState::Completed, Some(now), true);
        self.summary.latest = Some(entry.clone());
        self.summary.completed += 1;
        for earlier in self.known.iter_mut().filter(|known| known.id < id) {
            if earlier.state == CheckpointState::InProgress {
                (earlier.state, earlier.ended) = (CheckpointState::Subsumed, Some(now));
            }
        }
    }

    /// It was given up.
    pub(super) fn failed(&mut self, id: CheckpointId, now: u64, reason: &str) {
        let entry = self.entry(id);
        (entry.state, entry.ended, entry.reason) = (CheckpointState::Failed, Some(now), Some(reason.to_owned()));
        self.summary.failed += 1;
    }

    /// The attempt that took them is over.
    pub(super) fn attempt_over(&mut self, now: u64) {
        let open = self.known.iter().filter(|known| known.state == CheckpointState::InProgress);
        for id in open.map(|known| known.id).collect::<Vec<_>>() {
            self.failed(id, now, "the job stopped or started again before it was complete");
        }
    }

    /// HEAD says which ones stay; of the others the oldest are forgotten.
    pub(super) fn retained(&mut self, head: &Head) {
        for known in &mut self.known {
            known.retained = head.retained.contains(&known.id);
        }
        let surplus = self.known.iter().filter(|known| !known.retained).count().saturating_sub(KEPT);
        let mut forgotten = 0;
        self.known.retain(|known| {
            let stays = known.retained || known.state == CheckpointState::InProgress || forgotten == surplus;
            forgotten += usize::from(!stays);
            stays
        });
    }
}

/// The bytes that a manifest names of some objects.
fn bytes(manifest: &Manifest, counts: impl Fn(&ObjectName) -> bool) -> u64 {
    let snapshots = manifest.nodes.values().flat_map(|node| &node.subtasks);
    let chunks = snapshots.flat_map(|snapshot| {
        let runs = snapshot.state.iter().flat_map(|chain| chain.runs.iter().map(|run| &run.chunk));
        let segments = snapshot.output.iter().flat_map(|output| &output.segments);
        runs.chain(segments.flat_map(|segment| segment.parts.iter().map(|part| &part.chunk)))
    });
    chunks.filter(|chunk| counts(&chunk.object)).map(|chunk| chunk.length).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flow_model::checkpoint::{Attempt, Incarnation};
    use flow_model::key_group::KeyGroups;

    use super::*;

    fn id(counter: u32) -> CheckpointId {
        CheckpointId::new(Attempt(1), counter)
    }

    #[test]
    fn what_became_of_each() {
        let mut history = History::default();
        (1..=4).for_each(|counter| history.begun(id(counter), u64::from(counter) * 10));
        history.failed(id(1), 15, "no room");
        history.completed(id(3), 35);
        history.attempt_over(50);
        let states: Vec<_> = history.newest_first().iter().map(|known| (known.id.counter(), known.state)).collect();
        use CheckpointState::{Completed, Failed, Subsumed};
        assert_eq!(states, [(4, Failed), (3, Completed), (2, Subsumed), (1, Failed)]);
        let summary = history.summary();
        assert_eq!((summary.completed, summary.failed), (1, 2));
        let latest = summary.latest.expect("one counts");
        assert_eq!((latest.id, latest.took()), (id(3), Some(5)));
    }

    #[test]
    fn a_time_that_has_not_come_yet_is_now() {
        let mut history = History::default();
        let of = (Incarnation::of(1), id(1));
        let pipeline = "clocks".parse().expect("a name");
        let mut manifest = Manifest::new(pipeline, of, 5_000, KeyGroups::default(), BTreeMap::new());
        history.found(&manifest, 2_000);
        assert_eq!(history.summary().latest.and_then(|latest| latest.ended), Some(2_000), "of a clock that is ahead");
        manifest.checkpoint = id(2);
        history.found(&manifest, 6_000);
        assert_eq!(history.summary().latest.and_then(|latest| latest.ended), Some(5_000));
    }

    #[test]
    fn why_the_attempt_before_ended() {
        let mut history = History::default();
        let previous = |history: &History| history.summary().previous_ended;
        history.attempt(Attempt(3));
        assert_eq!(previous(&history), None, "an earlier process saw it");
        history.attempt_ends(Attempt(3), "a worker is lost");
        history.attempt_ends(Attempt(3), "so it was canceled");
        assert_eq!(previous(&history), None, "it is the one that HEAD names still");
        history.attempt(Attempt(4));
        assert_eq!(previous(&history).as_deref(), Some("a worker is lost"));
        history.attempt_ends(Attempt(3), "told late");
        history.attempt(Attempt(4));
        history.attempt(Attempt(5));
        assert_eq!(previous(&history), None, "nobody said");
    }

    #[test]
    fn what_is_retained_is_not_forgotten() {
        let mut history = History::default();
        let mut head = Head::new(1, "here".into(), Incarnation::of(1), String::new());
        head.retained = vec![id(1)];
        for counter in 1..=KEPT as u32 + 20 {
            history.begun(id(counter), 0);
            history.completed(id(counter), 1);
        }
        history.retained(&head);
        let known = history.newest_first();
        assert_eq!(known.len(), KEPT + 1);
        assert_eq!(known.last().map(|oldest| (oldest.id, oldest.retained)), Some((id(1), true)));
        assert_eq!(known.first().map(|newest| newest.id), Some(id(KEPT as u32 + 20)));
    }
}
