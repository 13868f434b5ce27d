//! What became of a job's savepoints, for people. Nothing is decided by it.

use std::collections::BTreeMap;

use flow_model::api::{Savepoint, SavepointState};
use flow_model::checkpoint::{CheckpointId, Head, Incarnation, Manifest, head};
use flow_model::ids::{PipelineName, SavepointName};

/// So many that came to nothing are remembered.
const KEPT: usize = 20;

/// Those that are kept, and those that were asked for.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    kept: Vec<head::Savepoint>,
    asked: Vec<Asked>,
    bytes: BTreeMap<(Incarnation, CheckpointId), u64>,
}

#[derive(Debug)]
struct Asked {
    name: SavepointName,
    time: u64,
    /// Why none came.
    failed: Option<String>,
}

impl Savepoints {
    /// Somebody asks for one.
    pub(super) fn asked(&mut self, name: &SavepointName, now: u64) {
        self.asked.retain(|asked| asked.name != *name || asked.failed.is_none());
        if !self.asked.iter().any(|asked| asked.name == *name) {
            self.asked.push(Asked { name: name.clone(), time: now, failed: None });
        }
        let surplus = self.asked.len().saturating_sub(KEPT);
        let mut forgotten = 0;
        self.asked.retain(|asked| {
            let goes = asked.failed.is_some() && forgotten < surplus;
            forgotten += usize::from(goes);
            !goes
        });
    }

    /// It is one, or none came.
    pub(super) fn over(&mut self, name: &SavepointName, failed: Option<String>) {
        match failed {
            None => self.asked.retain(|asked| asked.name != *name),
            Some(_) => {
                let mine = self.asked.iter_mut().filter(|asked| asked.name == *name);
                mine.for_each(|asked| asked.failed.clone_from(&failed));
            }
        }
    }

    /// A manifest is known.
    pub(super) fn found(&mut self, manifest: &Manifest) {
        let of = (manifest.incarnation.clone(), manifest.checkpoint);
        self.bytes.insert(of, manifest.state_bytes());
    }

    /// HEAD says which ones there are.
    pub(super) fn kept(&mut self, head: &Head) {
        if self.kept != head.savepoints {
            self.kept.clone_from(&head.savepoints);
        }
        let stays = |of: &(Incarnation, CheckpointId)| {
            let is_it = |savepoint: &head::Savepoint| (&savepoint.incarnation, savepoint.checkpoint) == (&of.0, of.1);
            // One that is about to count is not named yet.
            let is_mine = of.0 == head.incarnation && (head.retained.contains(&of.1) || head.latest < Some(of.1));
            is_mine || head.savepoints.iter().any(is_it)
        };
        self.bytes.retain(|of, _| stays(of));
    }

    /// All that are known, newest first.
    pub(super) fn newest_first(&self, job: &PipelineName) -> Vec<Savepoint> {
        let asked = self.asked.iter().rev().map(|asked| Savepoint {
            name: asked.name.clone(),
            job: job.clone(),
            state: if asked.failed.is_some() { SavepointState::Failed } else { SavepointState::InProgress },
            checkpoint: None,
            time: Some(asked.time),
            bytes: None,
            reason: asked.failed.clone(),
        });
        let is_kept = |asked: &Savepoint| self.kept.iter().any(|kept| kept.name == asked.name);
        let of = |kept: &head::Savepoint| (kept.incarnation.clone(), kept.checkpoint);
        let kept = self.kept.iter().rev().map(|kept| completed(job, kept, self.bytes.get(&of(kept)).copied()));
        let mut all: Vec<Savepoint> = asked.filter(|asked| !is_kept(asked)).chain(kept).collect();
        all.sort_by_key(|savepoint| std::cmp::Reverse(savepoint.time));
        all
    }
}

/// One that HEAD names.
pub(crate) fn completed(job: &PipelineName, kept: &head::Savepoint, bytes: Option<u64>) -> Savepoint {
    Savepoint {
        name: kept.name.clone(),
        job: job.clone(),
        state: SavepointState::Completed,
        checkpoint: Some(kept.checkpoint),
        time: Some(kept.time),
        bytes,
        reason: None,
    }
}

#[cfg(test)]
mod tests {
    use flow_model::checkpoint::Attempt;

    use super::*;

    #[test]
    fn what_became_of_each() {
        let name = |text: &str| text.parse::<SavepointName>().expect("a name");
        let (job, incarnation) = ("p".parse().expect("a name"), Incarnation::of(1));
        let mut savepoints = Savepoints::default();
        for (at, text) in ["a", "b", "c"].into_iter().enumerate() {
            savepoints.asked(&name(text), at as u64);
        }
        savepoints.over(&name("a"), None);
        savepoints.over(&name("b"), Some("the job ended".to_owned()));
        let mut head = Head::new(1, "here".into(), incarnation.clone(), String::new());
        let checkpoint = CheckpointId::new(Attempt(1), 4);
        head.savepoints = vec![head::Savepoint { name: name("a"), incarnation, checkpoint, time: 10 }];
        savepoints.kept(&head);
        let all = savepoints.newest_first(&job);
        let found: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.state, s.checkpoint)).collect();
        use SavepointState::{Completed, Failed, InProgress};
        assert_eq!(found, [("a", Completed, Some(checkpoint)), ("c", InProgress, None), ("b", Failed, None)]);
        (0..2 * KEPT).for_each(|n| {
            savepoints.asked(&name(&format!("s{n}")), 20);
            savepoints.over(&name(&format!("s{n}")), Some("again".to_owned()));
        });
        let all = savepoints.newest_first(&job);
        assert!(all.len() <= KEPT + 3, "{}", all.len());
        assert!(all.iter().any(|s| s.name == name("c")), "one under way is not forgotten");
    }
}
