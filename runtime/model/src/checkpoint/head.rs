//! HEAD: the one document of a job in the store that changes, only by compare-and-swap. What it says is what counts: which
//! leader may act, which attempt runs, which checkpoint a job goes on from. It is never deleted.

use serde::{Deserialize, Serialize};

use super::{Attempt, CheckpointId, Error, Incarnation};
use crate::ids::{PipelineName, SavepointName};

/// The format that is written and read.
const FORMAT: u64 = 1;

/// So many former lives are remembered. What is left of a life is looked for at the beginning of each later one.
const FORMER: usize = 16;

/// The name of HEAD below a job's root.
pub const NAME: &str = "HEAD";

/// The revision that a life of a job begins with.
pub const FIRST: u64 = 1;

fn first() -> u64 {
    FIRST
}

fn is_first(revision: &u64) -> bool {
    *revision == FIRST
}

/// What its user wants of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// It runs.
    Running,
    /// It was stopped by a person.
    Canceled,
    /// It has processed all its input.
    Finished,
    /// It was given up: it failed in a way that starting again does not help, or too often.
    Failed,
}

/// The savepoint that a new life makes of the latest checkpoint of the former one. No user's may have this name.
pub const PREVIOUS: &str = "previous";

/// A savepoint: a checkpoint that stays until its user gives it up. All output that it carries is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Savepoint {
    /// How people name it.
    pub name: SavepointName,
    /// The life of the job that took it.
    pub incarnation: Incarnation,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Since when it is one, milliseconds since the Unix epoch.
    pub time: u64,
}

/// The checkpoint that a life of a job begins with, and what is taken of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// The job that took it.
    pub job: PipelineName,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The savepoint that it is known by, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<SavepointName>,
    /// Its objects are not copied: they are the new life's from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claim: bool,
    /// What of it is given up: `operator/state`, or an operator or source as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
}

/// What HEAD says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    format: u64,
    /// Counts up with each process that leads. No swap lowers it.
    pub term: u64,
    /// Who leads, for people: an address.
    pub leader: String,
    /// The life of the job.
    pub incarnation: Incarnation,
    /// Which deployment of it on tasks may act.
    pub attempt: Attempt,
    /// Which of the descriptions of this life counts: it counts up with each change of the job's parallelism.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub revision: u64,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// The checkpoint that it goes on from; none before the first.
    pub latest: Option<CheckpointId>,
    /// Checkpoints whose objects stay, the latest included, oldest first.
    pub retained: Vec<CheckpointId>,
    /// Checkpoints whose objects may be deleted and may not be yet.
    pub retired: Vec<CheckpointId>,
    /// Checkpoints of this life and of former ones that stay until somebody gives them up, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub savepoints: Vec<Savepoint>,
    /// The checkpoint that this life began with. As long as there is no latest one, its objects are still to be copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The job is over, and not all output of its latest checkpoint is known to be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwritten: bool,
    /// Former lives of which objects may be left, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Incarnation>,
    /// 128 random bits in hexadecimal, new with each swap: who finds its own there knows that its swap was done.
    pub nonce: String,
}

impl Head {
    /// A job's first, or that of its next life: `term` is above that of a former one.
    pub fn new(term: u64, leader: String, incarnation: Incarnation, nonce: String) -> Head {
        Head {
            format: FORMAT,
            term,
            leader,
            incarnation,
            attempt: Attempt(1),
            revision: FIRST,
            wanted: Wanted::Running,
            latest: None,
            retained: Vec::new(),
            retired: Vec::new(),
            savepoints: Vec::new(),
            origin: None,
            unwritten: false,
            former: Vec::new(),
            nonce,
        }
    }

    /// That of the job's next life. The latest checkpoint of this one becomes the savepoint [`PREVIOUS`], unless it only has what it began
    /// with, the next one does not go on from there, and there is one already; savepoints stay.
    pub fn next_life(&self, leader: String, incarnation: Incarnation, origin: Option<Origin>, now: u64) -> Head {
        let mut next = Head::new(self.term + 1, leader, incarnation, String::new());
        next.savepoints = self.savepoints.clone();
        let is_previous = |savepoint: &Savepoint| savepoint.name.as_str() == PREVIOUS;
        let goes_on =
            |origin: &Origin| (&origin.incarnation, Some(origin.checkpoint)) == (&self.incarnation, self.latest);
        let came_to_nothing = |latest| {
            latest == CheckpointId::ADOPTED
                && !origin.as_ref().is_some_and(goes_on)
                && self.savepoints.iter().any(is_previous)
        };
        if let Some(checkpoint) = self.latest.filter(|latest| !came_to_nothing(*latest)) {
            next.savepoints.retain(|savepoint| !is_previous(savepoint));
            let name = SavepointName::new(PREVIOUS).expect("it is a name");
            next.savepoints.push(Savepoint { name, incarnation: self.incarnation.clone(), checkpoint, time: now });
        }
        next.former = self.former.iter().chain([&self.incarnation]).cloned().collect();
        let surplus = next.former.len().saturating_sub(FORMER);
        next.former.drain(..surplus);
        next.origin = origin;
        next
    }

    /// The savepoint of that name.
    pub fn savepoint(&self, name: &SavepointName) -> Option<&Savepoint> {
        self.savepoints.iter().find(|savepoint| savepoint.name == *name)
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("all keys are texts")
    }

    /// From what is stored.
    ///
    /// # Errors
    /// [`Error::Format`] for one of a future version, [`Error::Document`] for what is no HEAD.
    pub fn from_bytes(bytes: &[u8]) -> Result<Head, Error> {
        super::manifest::read(bytes, "HEAD", FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_last_life_that_came_to_something_is_kept() {
        let next = |head: &Head, life| head.next_life("b".to_owned(), Incarnation::of(life), None, 1);
        let previous = |head: &Head| {
            let name = SavepointName::new(PREVIOUS).expect("it is a name");
            head.savepoint(&name).map(|savepoint| (savepoint.incarnation.clone(), savepoint.checkpoint))
        };
        let mut first = Head::new(1, "a".to_owned(), Incarnation::of(1), String::new());
        assert_eq!(previous(&next(&first, 2)), None, "it had no checkpoint");
        // What it began with is all that there is.
        first.latest = Some(CheckpointId::ADOPTED);
        assert_eq!(previous(&next(&first, 2)), Some((Incarnation::of(1), CheckpointId::ADOPTED)));
        first.latest = Some(CheckpointId(7));
        let mut second = next(&first, 2);
        assert_eq!(previous(&second), Some((Incarnation::of(1), CheckpointId(7))));
        // It began with something older, and came to nothing.
        second.latest = Some(CheckpointId::ADOPTED);
        assert_eq!(previous(&next(&second, 3)), Some((Incarnation::of(1), CheckpointId(7))));
        let adopted = (Incarnation::of(2), CheckpointId::ADOPTED);
        let (job, (incarnation, checkpoint)) = ("p".parse().expect("a name"), adopted.clone());
        let origin = Origin { job, incarnation, checkpoint, savepoint: None, claim: true, dropped: vec![] };
        let taken_over = second.next_life("b".to_owned(), Incarnation::of(3), Some(origin), 1);
        assert_eq!(previous(&taken_over), Some(adopted), "what it goes on from is kept");
        second.latest = Some(CheckpointId(9));
        assert_eq!(previous(&next(&second, 3)), Some((Incarnation::of(2), CheckpointId(9))));
    }
}
