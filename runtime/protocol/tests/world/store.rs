//! What lies in the store, and what has to hold of it whenever it changes.

use flow_model::checkpoint::head::{Origin, PREVIOUS, Savepoint, Wanted};
use flow_model::checkpoint::{CheckpointId, Head, Incarnation, Manifest, ObjectName};
use flow_model::ids::SavepointName;
use flow_protocol::head::Answer;
use flow_protocol::job::{End, Failure, State};
use flow_protocol::restart::Kind;
use flow_protocol::retention;

use super::attempt::owed;
use super::{Plant, World, leader_name};

impl World {
    /// The manifest of a life that begins with a checkpoint of another one.
    pub(super) fn adopt(&mut self, incarnation: &Incarnation, origin: &Origin) -> Result<Manifest, Failure> {
        // One that was deposed and does not know it may find nothing any more.
        let is_mine = |(head, _): &(Head, String)| head.incarnation == *incarnation && head.latest.is_none();
        let is_mine = self.head.as_ref().is_some_and(is_mine);
        let from = self.manifests.get(&ObjectName::manifest(&origin.incarnation, origin.checkpoint)).cloned();
        assert!(from.is_some() || !is_mine, "the origin is gone:\n{}", self.story());
        let gone = || Failure { kind: Kind::Fatal, reason: "gone".into() };
        let mut manifest = from.ok_or_else(gone)?;
        for snapshot in manifest.nodes.values_mut().flat_map(|node| &mut node.subtasks) {
            snapshot.output = None;
            for run in snapshot.state.iter_mut().flat_map(|chain| &mut chain.runs) {
                let is_there = self.objects.contains(&run.chunk.object);
                assert!(is_there || !is_mine, "{} of the origin is gone:\n{}", run.chunk.object, self.story());
                if !is_there {
                    return Err(gone());
                }
                if !origin.claim {
                    // Who does it twice does the same.
                    let unique = u128::from_str_radix(run.chunk.object.unique(), 16).expect("hexadecimal");
                    run.chunk.object = ObjectName::new(incarnation, CheckpointId::ADOPTED, unique);
                    self.objects.insert(run.chunk.object.clone());
                }
            }
        }
        manifest.nodes.values_mut().for_each(|node| node.lanes.clear());
        (manifest.incarnation, manifest.checkpoint) = (incarnation.clone(), CheckpointId::ADOPTED);
        self.objects.insert(manifest.name());
        self.manifests.insert(manifest.name(), manifest.clone());
        self.counts.adopted += 1;
        Ok(manifest)
    }

    pub(super) fn swap(&mut self, head: Head, expected: Option<String>) -> Answer {
        let is_expected = self.head.as_ref().map(|(_, version)| version.clone()) == expected;
        if !is_expected && self.plant != Plant::IgnoresConditions {
            return Answer::Conflict;
        }
        let is_abandoned = self.may_abandon.contains(&head.incarnation);
        if let Some((before, _)) = &self.head {
            assert!(head.term >= before.term, "the term falls:\n{}", self.story());
            if head.incarnation == before.incarnation {
                assert!(head.latest >= before.latest, "a checkpoint is taken back:\n{}", self.story());
                assert!(head.attempt >= before.attempt, "an attempt is taken back:\n{}", self.story());
                assert!(head.revision >= before.revision, "a description is taken back:\n{}", self.story());
                let is_new = head.revision > before.revision;
                assert!(!is_new || head.attempt > before.attempt, "an attempt has two descriptions:\n{}", self.story());
            } else {
                let is_over = before.wanted != Wanted::Running;
                assert!(is_over || self.may_take_over.contains(&head.incarnation), "cut off:\n{}", self.story());
                let is_written = self.is_written(before);
                assert!(is_written || is_abandoned, "a life ends and owes output:\n{}", self.story());
                let origin = head.origin.as_ref().map(|origin| (origin.incarnation.clone(), origin.checkpoint));
                let last = before.latest.map(|latest| (before.incarnation.clone(), latest));
                let goes_on = origin == last || !self.repeats_nothing.contains(&head.incarnation);
                assert!(goes_on, "what was read is read again:\n{}", self.story());
                self.counts.taken_over += u64::from(!is_over);
                self.counts.abandoned += u64::from(!is_written);
            }
            if head.wanted != Wanted::Running && !head.unwritten {
                assert!(self.is_written(&head), "HEAD says that all is written:\n{}", self.story());
            }
            for savepoint in head.savepoints.iter().filter(|new| !before.savepoints.contains(new)) {
                let is_whole = self.is_all_written(&savepoint.incarnation, savepoint.checkpoint)
                    || is_abandoned && savepoint.name.as_str() == PREVIOUS;
                assert!(is_whole, "a savepoint carries output that is not written:\n{}", self.story());
            }
        }
        self.version += 1;
        let version = self.version.to_string();
        self.head = Some((head, version.clone()));
        Answer::Done(version)
    }

    /// Whether all that a checkpoint carries stands where it was to go.
    pub(super) fn is_all_written(&self, incarnation: &Incarnation, checkpoint: CheckpointId) -> bool {
        let Some(manifest) = self.manifests.get(&ObjectName::manifest(incarnation, checkpoint)) else { return true };
        let is_written = |(lane, checkpoint)| self.written.contains(&(incarnation.clone(), lane, checkpoint));
        owed(manifest).all(is_written)
    }

    /// A job that ends with a savepoint has taken no checkpoint behind it: who begins with it repeats nothing.
    pub(super) fn is_last(&self, leader: u64, name: &SavepointName, checkpoint: CheckpointId) {
        // Where another leads by now, the job goes on.
        let Some((head, _)) = self.head.as_ref().filter(|(head, _)| head.leader == leader_name(leader)) else { return };
        let is_it = |kept: &Savepoint| kept.checkpoint == checkpoint && kept.incarnation == head.incarnation;
        if head.savepoint(name).is_some_and(is_it) {
            assert_eq!(head.latest, Some(checkpoint), "behind {name}:\n{}", self.story());
        }
    }

    fn is_written(&self, head: &Head) -> bool {
        head.latest.is_none_or(|latest| self.is_all_written(&head.incarnation, latest))
    }

    pub(super) fn delete(&mut self, is_garbage: impl Fn(&ObjectName) -> bool) {
        self.objects.retain(|object| !is_garbage(object));
        let objects = &self.objects;
        self.manifests.retain(|_, manifest| objects.contains(&manifest.name()));
    }

    /// What HEAD names is there.
    pub(super) fn check(&self) {
        let Some((head, _)) = &self.head else { return };
        for (incarnation, checkpoint) in retention::named(head) {
            let manifest = self.manifests.get(&ObjectName::manifest(&incarnation, checkpoint));
            assert!(manifest.is_some(), "{checkpoint:?} is retained and gone:\n{}", self.story());
            for object in manifest.into_iter().flat_map(Manifest::objects) {
                assert!(self.objects.contains(object), "{object} of {checkpoint:?} is gone:\n{}", self.story());
            }
        }
        let over = self.leaders.iter().filter(|leader| leader.job.state() == State::Over(End::Finished)).count();
        assert!(over <= 1 || head.wanted == Wanted::Finished);
    }
}
