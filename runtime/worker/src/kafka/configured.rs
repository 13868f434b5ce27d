//! What a pipeline file says of a Kafka source or sink, its references looked up → what a reader or writer is made of.

use flow_model::diagnostic::{Code, Diagnostic, Located};
use flow_model::spec::kafka::{self as spec, KafkaSink, KafkaSource, pattern, wrong_topic};
use flow_model::spec::secret::Text;

use super::{Connection, Reading, Settings, Topics, Writing};
use crate::secrets::Place;

/// A source as its only subtask would read it; `job` names the consumer group of one that names none.
pub(crate) fn reading(source: &KafkaSource, place: Place<'_>, job: &str) -> Result<Reading, Diagnostic> {
    let connection = Connection::open(&source.cluster, place)?;
    let group = source.group.as_ref().map(|group| place.resolve(group)).transpose()?;
    let group = group.as_ref().map_or(job, |group| group.expose());
    let settings = Settings::reading(&connection, group).map_err(|error| of_cluster(&source.cluster, place, &error))?;
    Ok(Reading {
        topics: topics(&source.topics, place)?,
        start: source.start.clone(),
        stop: source.stop.clone(),
        discover: source.discover,
        ..Reading::whole(String::new(), settings)
    })
}

/// A sink as its only subtask would write it.
pub(crate) fn writing(sink: &KafkaSink, place: Place<'_>) -> Result<Writing, Diagnostic> {
    let connection = Connection::open(&sink.cluster, place)?;
    let settings = Settings::writing(&connection).map_err(|error| of_cluster(&sink.cluster, place, &error))?;
    Ok(Writing {
        others: sink.others.as_ref().map(|others| topics(others, place)).transpose()?,
        partitions: sink.partitions.as_ref().map(|partitions| partitions.value),
        ..Writing::whole(topic(&sink.topic, place)?, settings)
    })
}

fn of_cluster(cluster: &spec::KafkaCluster, place: Place<'_>, error: &super::Error) -> Diagnostic {
    place.error(&cluster.brokers, Code::InvalidValue, &error.to_string())
}

/// Topics with all that their names refer to.
pub(crate) fn topics(topics: &spec::Topics, place: Place<'_>) -> Result<Topics, Diagnostic> {
    match topics {
        spec::Topics::Named(names) => {
            names.iter().map(|name| topic(name, place)).collect::<Result<_, _>>().map(Topics::Named)
        }
        spec::Topics::Pattern(text) => match pattern(place.resolve(text)?.expose()) {
            Ok(pattern) => Ok(Topics::Pattern(pattern)),
            Err(why) => {
                Err(place.error(text, Code::InvalidValue, &format!("the pattern is no regular expression: {why}")))
            }
        },
    }
}

/// A topic's name, which is shown from here on: it is no secret.
fn topic(text: &Located<Text>, place: Place<'_>) -> Result<String, Diagnostic> {
    let name = place.resolve(text)?;
    match wrong_topic(name.expose()) {
        None => Ok(name.expose().to_owned()),
        Some(hint) => {
            Err(place.error(text, Code::InvalidValue, "what the topic refers to is no topic name").hint(hint))
        }
    }
}
