//! What a lane writes beside its output, into a partition of its own of the progress topic: in each transaction, last of all, how
//! far it came; and once an attempt, which one that is. The two have keys of their own, so that compaction keeps the
//! newest of each. Keys name the incarnation: a job that is deployed anew finds nothing of its former life.

use flow_model::checkpoint::snapshot::Progress;
use flow_model::checkpoint::{Attempt, Incarnation};
use flow_model::ids::OperatorName;
use serde::{Deserialize, Serialize};

/// The format that is written and read.
const FORMAT: u64 = 1;

/// Which lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The life of its job.
    pub incarnation: Incarnation,
    /// Its sink.
    pub sink: OperatorName,
    /// Its number among the lanes of the sink; its partition in the progress topic.
    pub index: u32,
}

impl Identity {
    /// Under which it makes transactions.
    pub fn transactional_id(&self) -> String {
        format!("flow-{}-{}-{}", self.incarnation, self.sink, self.index)
    }

    fn key(&self, kind: Kind) -> String {
        let kind = match kind {
            Kind::Progress => "progress",
            Kind::Attempt => "attempt",
        };
        format!("{kind}/{}/{}/{}", self.incarnation, self.sink, self.index)
    }

    /// Key and value of the record that says how far it came.
    pub fn progress(&self, progress: Progress) -> (String, String) {
        (self.key(Kind::Progress), Document { format: FORMAT, says: progress }.to_text())
    }

    /// Key and value of the record that says which attempt owns it.
    pub fn attempt(&self, attempt: Attempt) -> (String, String) {
        (self.key(Kind::Attempt), Document { format: FORMAT, says: Owner { attempt } }.to_text())
    }

    /// Takes a record of the progress topic into what is known of this lane; those of other lanes change nothing.
    ///
    /// # Errors
    /// What is wrong with a record of this lane.
    pub fn read(&self, standing: &mut Standing, key: &[u8], value: &[u8]) -> Result<(), String> {
        if key == self.key(Kind::Progress).as_bytes() {
            standing.progress = Some(document(value)?);
        } else if key == self.key(Kind::Attempt).as_bytes() {
            let Owner { attempt } = document(value)?;
            standing.attempt = Some(attempt);
        }
        Ok(())
    }
}

enum Kind {
    Progress,
    Attempt,
}

/// What stands in the progress topic of a lane: the last record of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How far it came.
    pub progress: Option<Progress>,
    /// Who owns it.
    pub attempt: Option<Attempt>,
}

#[derive(Serialize, Deserialize)]
struct Document<T> {
    format: u64,
    #[serde(flatten)]
    says: T,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    attempt: Attempt,
}

#[derive(Deserialize)]
struct Any {
    format: u64,
}

impl<T: Serialize> Document<T> {
    fn to_text(&self) -> String {
        serde_json::to_string(self).expect("all keys are texts")
    }
}

fn document<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Result<T, String> {
    let wrong = |error: serde_json::Error| error.to_string();
    let found = serde_json::from_slice::<Any>(value).map_err(wrong)?.format;
    if found != FORMAT {
        return Err(format!(
            "it has format {found}, and this program reads format {FORMAT}; use a newer version of Flow"
        ));
    }
    serde_json::from_slice::<Document<T>>(value).map(|document| document.says).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use flow_model::checkpoint::CheckpointId;

    use super::*;

    fn lane(incarnation: u128, index: u32) -> Identity {
        let sink = OperatorName::new("out").expect("a name");
        Identity { incarnation: Incarnation::of(incarnation), sink, index }
    }

    #[test]
    fn the_last_record_of_each_kind_counts_and_those_of_others_do_not() {
        let progress = |counter, part| Progress { checkpoint: CheckpointId::new(Attempt(2), counter), part };
        let mine = lane(1, 0);
        let records = [
            mine.progress(progress(1, 1)),
            lane(2, 0).progress(progress(9, 9)),
            mine.attempt(Attempt(2)),
            lane(1, 1).attempt(Attempt(7)),
            mine.progress(progress(1, 2)),
        ];
        let mut standing = Standing::default();
        for (key, value) in &records {
            mine.read(&mut standing, key.as_bytes(), value.as_bytes()).expect("readable");
        }
        assert_eq!(standing, Standing { progress: Some(progress(1, 2)), attempt: Some(Attempt(2)) });
        assert_eq!(records[0].1, r#"{"format":1,"checkpoint":"0000000200000001","part":1}"#);
        assert_eq!(records[2].1, r#"{"format":1,"attempt":2}"#);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let mine = lane(1, 0);
        let (key, _) = mine.attempt(Attempt(1));
        let check = |value: &str, expect: &str| {
            let wrong = mine.read(&mut Standing::default(), key.as_bytes(), value.as_bytes()).expect_err(value);
            assert!(wrong.contains(expect), "{wrong}");
        };
        check(r#"{"format":2,"attempt":1}"#, "format 2");
        check("x", "expected value");
        check("", "EOF");
    }
}
