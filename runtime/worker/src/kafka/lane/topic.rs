//! The progress topic: made if it is not there, refused if its settings could lose what it says.

use std::collections::HashMap;
use std::ffi::CStr;

use crate::kafka::opening::QUESTION;
use crate::kafka::raw::{Client, is_denied, is_unknown_topic};

/// A partition for each lane, and some for lanes to come.
const PARTITIONS: u32 = 16;
/// As many replicas, if there are as many brokers.
const REPLICAS: u32 = 3;

/// Why it can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// Trying again may help.
    #[error("the progress topic {topic:?}: {cause}")]
    Passing { topic: String, cause: String },
    /// We may not make it.
    #[error("the progress topic {topic:?} can't be made: {cause}; give the user the ACL, or make it with {command}")]
    Denied { topic: String, cause: String, command: String },
    /// Its settings may lose what it says.
    #[error(
        "the progress topic {topic:?} has {name}={found:?}, which would break exactly-once: set {name}={wanted} with \
         kafka-configs --alter --entity-type topics --entity-name {topic} --add-config {name}={wanted}"
    )]
    Setting { topic: String, name: &'static str, found: String, wanted: String },
    /// It has no room for a lane.
    #[error(
        "the progress topic {topic:?} has {partitions} partitions, and the sink has {wanted} lanes: add them with kafka-topics \
         --alter --topic {topic} --partitions {wanted}"
    )]
    Partitions { topic: String, partitions: u32, wanted: u32 },
}

/// Sees to it that the topic is there, for so many lanes, as it has to be.
pub(super) fn ensure(client: &Client, topic: &CStr, lanes: u32) -> Result<(), Error> {
    let name = topic.to_string_lossy().into_owned();
    let passing = |code: i32| Error::Passing { topic: name.clone(), cause: crate::kafka::raw::describe(code) };
    let names = [topic.to_owned()];
    let described = client.describe(&names, QUESTION).map_err(passing)?;
    let found = described.first().filter(|topic| !is_unknown_topic(topic.code));
    let Some(found) = found else {
        let brokers = client.brokers_there(QUESTION).map_err(passing)?;
        let (partitions, replicas) = (lanes.max(PARTITIONS), brokers.clamp(1, REPLICAS));
        let insync = if replicas > 2 { "2" } else { "1" };
        let settings = [
            ("cleanup.policy", "compact"),
            ("unclean.leader.election.enable", "false"),
            ("min.insync.replicas", insync),
            // Whatever the clock of a worker says: of a time that is far from the broker's own it takes no record.
            ("message.timestamp.type", "LogAppendTime"),
            // Small, so that compaction gets at it, and a new attempt reads little.
            ("segment.bytes", "1048576"),
            ("segment.ms", "600000"),
            ("max.compaction.lag.ms", "3600000"),
        ];
        let made = client.create(topic, (partitions, replicas), &settings, QUESTION);
        return made.map_err(|(code, cause)| {
            let topic = name.clone();
            if !is_denied(code) {
                return Error::Passing { topic, cause };
            }
            let settings: Vec<String> =
                settings.iter().map(|(name, value)| format!("--config {name}={value}")).collect();
            let command = format!(
                "kafka-topics --create --topic {topic} --partitions {partitions} --replication-factor {replicas} {}",
                settings.join(" ")
            );
            Error::Denied { topic, cause, command }
        });
    };
    if found.code != 0 {
        return Err(passing(found.code));
    }
    if found.partitions() < lanes {
        return Err(Error::Partitions { topic: name, partitions: found.partitions(), wanted: lanes });
    }
    let all = client.topic_settings(&names, QUESTION).map_err(passing)?;
    let settings = all.get(&name).ok_or_else(|| passing(crate::kafka::raw::UNKNOWN_TOPIC))?;
    check(&name, settings)
}

fn check(topic: &str, settings: &HashMap<String, String>) -> Result<(), Error> {
    for (name, wanted) in [("cleanup.policy", "compact"), ("unclean.leader.election.enable", "false")] {
        let found = settings.get(name).map_or("", String::as_str);
        if found != wanted {
            let (topic, found, wanted) = (topic.to_owned(), found.to_owned(), wanted.to_owned());
            return Err(Error::Setting { topic, name, found, wanted });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_lose_progress_are_refused() {
        let check = |policy: &str, unclean: &str| {
            let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let settings = [of("cleanup.policy", policy), of("unclean.leader.election.enable", unclean)];
            check("p", &settings.into()).err().map(|error| error.to_string())
        };
        assert_eq!(check("compact", "false"), None);
        let deleting = check("compact,delete", "false").expect("records would be deleted by their age");
        assert!(
            deleting.contains("cleanup.policy=compact") && deleting.contains("kafka-configs --alter"),
            "{deleting}"
        );
        assert!(check("compact", "true").is_some());
    }
}
