//! Kafka as a source and a sink: which cluster, who we are there, which topics, from where to where. Only nouns; the worker
//! looks references up and opens them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::secret::Text;
use crate::diagnostic::{Located, Position};

/// A cluster, and who we are there.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaCluster {
    /// Bootstrap servers: `host:port`, separated by commas.
    pub brokers: Located<Text>,
    /// `tls:`; none for a connection that anybody can read.
    pub tls: Option<Tls>,
    /// `sasl:`; none for nobody in particular.
    pub sasl: Option<Sasl>,
    /// Further settings of librdkafka, which go over all of the above.
    pub properties: Properties,
}

/// How a connection is encrypted. Each text is the path of a PEM file, or the PEM itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// Where it stands in the file.
    pub position: Position,
    /// Certificates of those who may sign a broker's; the system's if absent.
    pub ca: Option<Located<Text>>,
    /// Our own certificate, with the key that belongs to it.
    pub certificate: Option<Located<Text>>,
    /// The key of our own certificate.
    pub key: Option<Located<Text>>,
    /// What the key is encrypted with.
    pub key_password: Option<Located<Text>>,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq)]
pub struct Sasl {
    /// Where it stands in the file.
    pub position: Position,
    /// How that is shown to the broker.
    pub mechanism: Mechanism,
}

/// How a broker is shown who we are.
#[derive(Debug, Clone, PartialEq)]
pub enum Mechanism {
    /// `PLAIN`: user and password as they are.
    Plain(Login),
    /// `SCRAM-SHA-256`: the password stays here.
    ScramSha256(Login),
    /// `SCRAM-SHA-512`: likewise.
    ScramSha512(Login),
    /// `OAUTHBEARER`: a token that somebody else gave us. A reference in it is looked up again before the token expires.
    OauthBearer(Located<Text>),
}

impl Mechanism {
    /// Its name in Kafka and in the pipeline file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Plain(_) => "PLAIN",
            Self::ScramSha256(_) => "SCRAM-SHA-256",
            Self::ScramSha512(_) => "SCRAM-SHA-512",
            Self::OauthBearer(_) => "OAUTHBEARER",
        }
    }

    /// The text of the field that is a secret.
    pub fn secret(&self) -> &Located<Text> {
        match self {
            Self::Plain(login) | Self::ScramSha256(login) | Self::ScramSha512(login) => &login.password,
            Self::OauthBearer(token) => token,
        }
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The name.
    pub username: Located<Text>,
    /// The password.
    pub password: Located<Text>,
}

/// Which topics, by name or by pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Topics {
    /// `topic` or `topics`: these, at least one.
    Named(Vec<Located<Text>>),
    /// `pattern`: all whose whole names match the regular expression, those made later too. Not Kafka's own, whose names
    /// begin with `__`.
    Pattern(Located<Text>),
}

/// Reads Kafka topics: the partitions that they have, and those that are added while the source runs.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaSource {
    /// Where, and as whom.
    pub cluster: KafkaCluster,
    /// The topics.
    pub topics: Topics,
    /// Where reading starts.
    pub start: KafkaStart,
    /// Where reading stops.
    pub stop: KafkaStop,
    /// `discover`: how often the source asks for new partitions and topics, and whether a topic was made anew.
    pub discover: Duration,
    /// The consumer group as the broker knows it, for its access rules and quotas; the pipeline's name if absent. Nothing is
    /// committed to it: a start reads from `start`.
    pub group: Option<Located<Text>>,
}

/// Where a Kafka source starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaStart {
    /// At the oldest record that a partition still has.
    Earliest,
    /// At what is written after the source has started.
    Latest,
    /// At the first record of each partition with this timestamp or a later one, in milliseconds since the Unix epoch; at
    /// the end of a partition that has none.
    Timestamp(i64),
    /// At these offsets; at the oldest record of a partition that is not named.
    Offsets(Offsets),
}

/// Where a Kafka source stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaStop {
    /// Nowhere: the source is unbounded.
    Never,
    /// At the high watermarks of the moment of its start: the source is bounded.
    Latest,
    /// Before the first record of each partition with this timestamp or a later one, in milliseconds since the Unix epoch;
    /// at the high watermark of the start of a partition that has none.
    Timestamp(i64),
    /// Before these offsets; at the high watermark of the start of a partition that is not named.
    Offsets(Offsets),
}

/// Offsets by partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Those of the source's only topic.
    pub of_only_topic: BTreeMap<i32, i64>,
    /// Those of named topics.
    pub by_topic: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Offsets {
    /// The offsets of a topic's partitions.
    pub fn of(&self, topic: &str) -> &BTreeMap<i32, i64> {
        self.by_topic.get(topic).unwrap_or(&self.of_only_topic)
    }
}

/// Writes Kafka topics, at least once.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaSink {
    /// Where, and as whom.
    pub cluster: KafkaCluster,
    /// The topic of records that name none.
    pub topic: Located<Text>,
    /// Other topics that an operator may send a record to.
    pub others: Option<Topics>,
    /// How many partitions `topic` must have at least.
    pub partitions: Option<Located<u32>>,
    /// What is promised.
    pub delivery: Located<Delivery>,
}

/// What a sink promises of each record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delivery {
    /// It is written, and after a failure perhaps again.
    #[default]
    AtLeastOnce,
    /// It is written once, when its checkpoint is complete.
    ExactlyOnce,
}

/// Settings of librdkafka by name. They may hold secrets, so `Debug` shows names only and nothing serializes them.
#[derive(Clone, Default, PartialEq)]
pub struct Properties(pub BTreeMap<String, Located<Text>>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl KafkaCluster {
    /// Makes paths of references relative to `base`. Paths in `tls` are, once references in them are looked up.
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        let tls = self.tls.iter_mut();
        let tls = tls.flat_map(|tls| [&mut tls.ca, &mut tls.certificate, &mut tls.key, &mut tls.key_password]);
        let sasl = self.sasl.iter_mut().flat_map(|sasl| match &mut sasl.mechanism {
            Mechanism::Plain(login) | Mechanism::ScramSha256(login) | Mechanism::ScramSha512(login) => {
                vec![&mut login.username, &mut login.password]
            }
            Mechanism::OauthBearer(token) => vec![token],
        });
        let texts = tls.flatten().chain(sasl).chain(self.properties.0.values_mut()).chain([&mut self.brokers]);
        texts.for_each(|text| text.value.resolve_paths(base));
    }
}

impl Topics {
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        match self {
            Self::Named(all) => all.iter_mut().for_each(|topic| topic.value.resolve_paths(base)),
            Self::Pattern(pattern) => pattern.value.resolve_paths(base),
        }
    }
}

impl KafkaSource {
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        self.cluster.resolve_paths(base);
        self.topics.resolve_paths(base);
        self.group.iter_mut().for_each(|group| group.value.resolve_paths(base));
    }
}

impl KafkaSink {
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        self.cluster.resolve_paths(base);
        self.topic.value.resolve_paths(base);
        self.others.iter_mut().for_each(|topics| topics.resolve_paths(base));
    }
}

/// Why a text can't name a topic, by Kafka's own rule; none for one that can.
pub fn wrong_topic(name: &str) -> Option<&'static str> {
    let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let wrong = !legal || name.is_empty() || name.len() > 249 || matches!(name, "." | "..");
    wrong.then_some("use letters, digits, \".\", \"_\" and \"-\", at most 249")
}

/// The regular expression of a `pattern`, which must match a whole name.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn pattern(text: &str) -> Result<regex::Regex, String> {
    let one_line = |error: regex::Error| match &error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // The last line says what is wrong, those before it show where.
        _ => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    // Alone first: what is in front of it in the message must be the user's.
    regex::Regex::new(text).and_then(|_| regex::Regex::new(&format!("^(?:{text})$"))).map_err(one_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let check = |text: &str, name: &str, expect: bool| {
            assert_eq!(pattern(text).expect("a good pattern").is_match(name), expect, "{text} {name}");
        };
        check("orders-.*", "orders-eu", true);
        check("orders-.*", "old-orders-eu", false);
        check("a|b", "b", true);
        check("a|b", "bc", false);
        assert_eq!(pattern("a(").expect_err("no pattern"), "unclosed group");
    }

    #[test]
    fn topics_are_named_as_kafka_wants() {
        for (name, good) in [("orders.v1_x-Y", true), ("", false), ("a b", false), (".", false), ("ü", false)] {
            assert_eq!(wrong_topic(name).is_none(), good, "{name:?}");
        }
        assert!(wrong_topic(&"a".repeat(250)).is_some());
    }
}
