//! What a job begins with, as who deploys it says: nothing, a savepoint or checkpoint, and what is to become of what a former life
//! of its name left unfinished. A part of a submission, in JSON.

use serde::{Deserialize, Serialize};

use crate::checkpoint::head::Origin;
use crate::checkpoint::{CheckpointId, Incarnation};
use crate::ids::{PipelineName, SavepointName};
use crate::spec::kafka::wrong_topic;

/// What a job begins with. The default is a new life that begins with nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Start {
    /// The state and the positions that it begins with; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// The objects of what it begins with are not copied but its own from then on: the savepoint is given up. Only of a job of the
    /// same name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub claim: bool,
    /// State of the savepoint or checkpoint that is given up: `operator/state`, or an operator or source as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_state: Vec<String>,
    /// State that the pipeline has and the savepoint or checkpoint has not, and that begins empty: `operator/state`, or an operator
    /// or source as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_state: Vec<String>,
    /// Output that the former life of this name has written after the checkpoint may be written again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_repeat: bool,
    /// The life that another process ran, as the store says, is this one's: that process is known to be gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub take_over: bool,
    /// Output that the former life of this name has not written never is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abandon_output: bool,
    /// The Kafka cluster was replaced: what it says of how much output it has does not count.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reset_progress: bool,
    /// Nothing begins: the former life of this name writes the output that it has not written, and that is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Settle>,
}

/// The state and the positions that a job begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum From {
    /// A savepoint.
    Savepoint {
        /// Of which job; of the one that is deployed if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<PipelineName>,
        /// Its name.
        name: SavepointName,
    },
    /// A checkpoint that is retained.
    Checkpoint {
        /// Of which job; of the one that is deployed if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<PipelineName>,
        /// Which; the latest one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<CheckpointId>,
    },
}

/// How output is settled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settle {
    /// The topic for records that their own topic refuses; without it they keep the output from being settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
}

/// What does not go together, or is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `[JOB/]SAVEPOINT`.
    #[error("{0:?} is no savepoint: {1}; write NAME or JOB/NAME")]
    Savepoint(String, String),
    /// Not `[JOB/]ID` or `[JOB/]latest`.
    #[error("{0:?} is no checkpoint: {1}; write ID or JOB/ID, with latest for the latest one")]
    Checkpoint(String, String),
    /// Something is said of what the job begins with, and it begins with nothing.
    #[error("{0} says what is done with a savepoint or checkpoint, and none is given to begin with")]
    Nothing(&'static str),
    /// Two that do not go together.
    #[error("{0} and {1} do not go together")]
    Both(&'static str, &'static str),
    /// No topic can have the name where refused records are to go; what one may have.
    #[error("dead letters can't go to {0:?}, which is no topic name; {1}")]
    Topic(String, &'static str),
}

impl From {
    /// Of a text `[JOB/]NAME`.
    ///
    /// # Errors
    /// [`Error::Savepoint`].
    pub fn savepoint(text: &str) -> Result<From, Error> {
        let wrong = |error: crate::ids::Error| Error::Savepoint(text.to_owned(), error.to_string());
        let (job, name) = split(text);
        let job = job.map(PipelineName::new).transpose().map_err(wrong)?;
        Ok(From::Savepoint { job, name: SavepointName::new(name).map_err(wrong)? })
    }

    /// Of a text `[JOB/]ID`, with `latest` for the latest.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn checkpoint(text: &str) -> Result<From, Error> {
        let wrong = |cause: String| Error::Checkpoint(text.to_owned(), cause);
        let (job, id) = split(text);
        let job = job.map(PipelineName::new).transpose().map_err(|error| wrong(error.to_string()))?;
        let id = (id != "latest").then(|| id.parse()).transpose();
        Ok(From::Checkpoint { job, id: id.map_err(|error: crate::checkpoint::Error| wrong(error.to_string()))? })
    }

    /// The words of a command line that say it: `--from-savepoint orders/before-v2`.
    pub fn flag(&self) -> String {
        match self {
            From::Savepoint { .. } => format!("--from-savepoint {self}"),
            From::Checkpoint { .. } => format!("--from-checkpoint {self}"),
        }
    }

    /// The job that it is of, if it is not the one that is deployed.
    pub fn job(&self) -> Option<&PipelineName> {
        match self {
            From::Savepoint { job, .. } | From::Checkpoint { job, .. } => job.as_ref(),
        }
    }
}

/// As it is written on a command line.
impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(job) = self.job() {
            write!(f, "{job}/")?;
        }
        match self {
            From::Savepoint { name, .. } => write!(f, "{name}"),
            From::Checkpoint { id: Some(id), .. } => write!(f, "{id}"),
            From::Checkpoint { id: None, .. } => write!(f, "latest"),
        }
    }
}

fn split(text: &str) -> (Option<&str>, &str) {
    text.split_once('/').map_or((None, text), |(job, name)| (Some(job), name))
}

impl Start {
    /// Whether all that it says goes together.
    ///
    /// # Errors
    /// The first pair that does not, or what is no name.
    pub fn check(&self) -> Result<(), Error> {
        let of_origin = [
            (self.claim, "--claim"),
            (!self.drop_state.is_empty(), "--drop-state"),
            (!self.new_state.is_empty(), "--new-state"),
            (self.allow_repeat, "--allow-repeat"),
        ];
        if self.from.is_none()
            && let Some((_, said)) = of_origin.into_iter().find(|(is_said, _)| *is_said)
        {
            return Err(Error::Nothing(said));
        }
        if self.abandon_output && self.reset_progress {
            return Err(Error::Both("--abandon-output", "--reset-progress"));
        }
        let begins = [
            (self.from.is_some(), "a savepoint or checkpoint"),
            (self.abandon_output, "--abandon-output"),
            (self.take_over, "--take-over"),
        ];
        let Some(settle) = &self.settle else { return Ok(()) };
        if let Some((_, said)) = begins.into_iter().find(|(is_said, _)| *is_said) {
            return Err(Error::Both("settle", said));
        }
        let Some(topic) = &settle.dead_letter else { return Ok(()) };
        match wrong_topic(topic) {
            Some(hint) => Err(Error::Topic(topic.clone(), hint)),
            None => Ok(()),
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What a life of a job began with, as it was when it was deployed: what a process that comes after has to know beside HEAD.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Begun {
    /// The life; none if the job only writes what a former one owes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The life that was HEAD's then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Incarnation>,
    /// The checkpoint that was HEAD's latest then, zeros if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<CheckpointId>,
    /// What that life begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_begins_with_is_written_so() {
        let check = |read: fn(&str) -> Result<From, Error>, text: &str, json: &str| {
            let from = read(text).expect(text);
            assert_eq!(from.to_string(), text);
            assert_eq!(serde_json::to_string(&from).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<From>(json).expect(json), from);
        };
        check(From::savepoint, "before-v2", r#"{"savepoint":{"name":"before-v2"}}"#);
        check(From::savepoint, "orders/before-v2", r#"{"savepoint":{"job":"orders","name":"before-v2"}}"#);
        check(From::checkpoint, "latest", r#"{"checkpoint":{}}"#);
        check(From::checkpoint, "orders/latest", r#"{"checkpoint":{"job":"orders"}}"#);
        check(From::checkpoint, "0000000100000002", r#"{"checkpoint":{"id":"0000000100000002"}}"#);
    }

    #[test]
    fn what_is_none_says_why() {
        let check = |read: fn(&str) -> Result<From, Error>, text: &str, part: &str| {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("JOB/"), "{error}");
        };
        for text in ["", "/", "a/", "/b", "A", "a/b/c"] {
            check(From::savepoint, text, "is no valid name");
        }
        for text in ["", "7", "a/7", "newest"] {
            check(From::checkpoint, text, "16 lower-case hexadecimal digits");
        }
    }

    #[test]
    fn what_goes_together() {
        let from = Some(From::savepoint("a").expect("a name"));
        let settle = Some(Settle::default());
        let check = |start: Start, expect: Option<&str>| {
            assert_eq!(start.check().err().map(|error| error.to_string()).as_deref(), expect, "{start:?}");
            let json = serde_json::to_string(&start).expect("JSON");
            assert_eq!(serde_json::from_str::<Start>(&json).expect(&json), start);
        };
        check(Start::default(), None);
        check(Start { from: from.clone(), claim: true, drop_state: vec!["a/b".into()], ..Start::default() }, None);
        check(Start { take_over: true, reset_progress: true, ..Start::default() }, None);
        check(Start { from: from.clone(), take_over: true, abandon_output: true, ..Start::default() }, None);
        check(Start { settle: settle.clone(), reset_progress: true, ..Start::default() }, None);
        let nothing = "--claim says what is done with a savepoint or checkpoint, and none is given to begin with";
        check(Start { claim: true, ..Start::default() }, Some(nothing));
        let both = "settle and a savepoint or checkpoint do not go together";
        check(Start { from, settle: settle.clone(), ..Start::default() }, Some(both));
        let (take_over, reset_progress, abandon_output) = (true, true, true);
        let both = "settle and --take-over do not go together";
        check(Start { settle: settle.clone(), take_over, ..Start::default() }, Some(both));
        let both = "--abandon-output and --reset-progress do not go together";
        check(Start { abandon_output, reset_progress, ..Start::default() }, Some(both));
        let both = "settle and --abandon-output do not go together";
        check(Start { settle, abandon_output: true, ..Start::default() }, Some(both));
    }

    #[test]
    fn dead_letters_go_to_what_can_be_a_topic() {
        let check = |name: &str, expect: bool| {
            let settle = Some(Settle { dead_letter: Some(name.to_owned()) });
            let checked = Start { settle, ..Start::default() }.check();
            assert_eq!(checked.is_ok(), expect, "{checked:?}");
        };
        check("orders.refused_2-a", true);
        for name in ["", ".", "..", "a b", "a/b", "\u{e4}", &"a".repeat(250)] {
            check(name, false);
        }
        let wrong = Start { settle: Some(Settle { dead_letter: Some("a b".to_owned()) }), ..Start::default() }.check();
        let text = "dead letters can't go to \"a b\", which is no topic name; use letters, digits, \".\", \"_\" and \"-\", at most 249";
        assert_eq!(wrong.expect_err("it is none").to_string(), text);
    }
}
