//! What can go wrong with Kafka, in words for the people who run a pipeline: the object, the cause, the next step. Settings'
//! values never get in here, since they may be secrets.

/// Why a topic can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// librdkafka or Flow does not take a setting.
    #[error("the setting {name:?} of Kafka can't be used: {reason}")]
    Setting {
        /// Its name.
        name: String,
        /// Why, and what to do instead.
        reason: String,
    },
    /// No broker answers.
    #[error("Kafka at {brokers} does not answer: {cause}; check `brokers` and that it runs")]
    Unreachable {
        /// As configured.
        brokers: String,
        /// What librdkafka saw.
        cause: String,
    },
    /// The broker does not accept who we are.
    #[error("Kafka at {brokers} refused the login{}: {cause}; check `sasl`, and the user on the broker", by(.mechanism))]
    Authentication {
        /// As configured.
        brokers: String,
        /// How we said who we are; none if we did not.
        mechanism: Option<&'static str>,
        /// What the broker said.
        cause: String,
    },
    /// No encrypted connection can be made.
    #[error("Kafka at {brokers} can't be reached by TLS: {cause}; {}", .certificate.map_or(TLS, Certificate::next))]
    Tls {
        /// As configured.
        brokers: String,
        /// What was wrong with the broker's certificate, if something was.
        certificate: Option<Certificate>,
        /// What librdkafka said.
        cause: String,
    },
    /// The broker knows who we are, and that we may not.
    #[error("Kafka at {brokers} does not allow this for topic {topic:?}: {cause}; give the user the ACL")]
    Denied {
        /// As configured.
        brokers: String,
        /// The topic.
        topic: String,
        /// What the broker said.
        cause: String,
    },
    /// There is no such topic.
    #[error("Kafka at {brokers} has no topic {topic:?}: create it, or correct `topic`")]
    UnknownTopic {
        /// As configured.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// Another topic took the place of the one that was read.
    #[error(
        "the topic {topic:?} of Kafka at {brokers} was deleted and made anew: what the old one had was not read to its end; \
         start the job again to read the new one"
    )]
    Recreated {
        /// As configured.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// The records that reading should go on with were deleted.
    #[error(
        "{topic}[{partition}] has no offset {offset}: {cause}; the topic was made anew, its retention is shorter than the \
         pause was, or `start` names an offset that is not there yet"
    )]
    OffsetGone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
        /// What librdkafka said.
        cause: String,
    },
    /// A record that is larger than somebody takes.
    #[error("{origin} of {bytes} bytes is too large for topic {topic:?}: {limit}")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Bytes of key, value and headers.
        bytes: usize,
        /// Where it came from.
        origin: Origin,
        /// Who does not take it.
        limit: Limit,
    },
    /// A record for a topic that the sink does not write.
    #[error(
        "{origin} is for topic {topic:?}, which this sink does not write; add it to `topics` of the sink, or a `pattern` that \
         it matches"
    )]
    OtherTopic {
        /// The topic.
        topic: String,
        /// Where it came from.
        origin: Origin,
    },
    /// A record for a partition that does not exist.
    #[error(
        "{origin} is for partition {partition} of topic {topic:?}, which has {partitions}: from 0 to {}; add partitions to \
         the topic, or correct the operator", .partitions.saturating_sub(1)
    )]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// How many there are.
        partitions: u32,
        /// Where it came from.
        origin: Origin,
    },
    /// A topic with fewer partitions than the pipeline asks for.
    #[error(
        "the topic {topic:?} has {partitions} partitions, and `partitions` of the sink asks for {wanted}; add them with \
         kafka-topics --alter --topic {topic} --partitions {wanted}, or lower `partitions`"
    )]
    TooFewPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: u32,
        /// How many are asked for.
        wanted: u32,
    },
    /// A row whose headers are no headers.
    #[error("a row for topic {topic:?} has a headers column that can't be read, or a header's name with a NUL in it")]
    Headers {
        /// The topic.
        topic: String,
    },
    /// Records that were taken and that the broker did not store.
    #[error("{failed} records were not written; the first one, {origin}, to {topic}[{partition}]: {cause}")]
    Delivery {
        /// The topic.
        topic: String,
        /// Where the first was to go.
        partition: i32,
        /// Where the first came from.
        origin: Origin,
        /// Why the first was not stored.
        cause: String,
        /// How many so far.
        failed: u64,
    },
    /// Anything else that librdkafka reports.
    #[error("Kafka can't {what}: {cause}")]
    Call {
        /// What we wanted.
        what: String,
        /// What librdkafka said.
        cause: String,
        /// Whether the same may work later.
        retryable: bool,
    },
}

/// The next step where nothing better is known.
const TLS: &str = "check `tls`, that the broker's port is one for TLS, and whether it asks for a `certificate`";

fn by(mechanism: &Option<&str>) -> String {
    mechanism.map_or_else(String::new, |mechanism| format!(" by {mechanism}"))
}

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Split and position, which nobody has named yet.
    Numbers(u32, i64),
    /// The name of the place.
    Named(String),
    /// It is not known.
    Unknown,
}

impl From<Option<(u32, i64)>> for Origin {
    fn from(origin: Option<(u32, i64)>) -> Origin {
        origin.map_or(Origin::Unknown, |(split, position)| Origin::Numbers(split, position))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Numbers(split, position) => write!(f, "the record from split {split}, position {position}"),
            Origin::Named(name) => write!(f, "the record from {name}"),
            Origin::Unknown => f.write_str("a record"),
        }
    }
}

/// Who does not take a record of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// librdkafka.
    Client,
    /// The broker, for this topic, with its limit in bytes as far as it tells us.
    Topic(Option<i64>),
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Client => {
                f.write_str("raise `message.max.bytes` or `queue.buffering.max.kbytes` in `properties` of the sink")
            }
            Limit::Topic(bytes) => {
                let is = bytes.map_or_else(String::new, |bytes| format!(", which is {bytes}"));
                write!(f, "raise `max.message.bytes` of the topic{is}, with kafka-configs, or write smaller records")
            }
        }
    }
}

impl Error {
    /// The same with the name of the place where the record came from.
    pub(super) fn placed(mut self, locate: &dyn Fn(u32, i64) -> String) -> Error {
        if let Error::TooLarge { origin, .. }
        | Error::OtherTopic { origin, .. }
        | Error::NoPartition { origin, .. }
        | Error::Delivery { origin, .. } = &mut self
            && let Origin::Numbers(split, position) = *origin
        {
            *origin = Origin::Named(locate(split, position));
        }
        self
    }
}

/// Why a broker's certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Its time is over, or that of one that signed it.
    Expired,
    /// Its time has not come yet.
    NotYetValid,
    /// It is for another name.
    WrongHost,
    /// Nobody signed it whom we trust.
    Untrusted,
    /// Another reason, by OpenSSL's number.
    Other(i32),
}

impl Certificate {
    /// By OpenSSL's number, which is 0 for one that is accepted.
    pub(super) fn of(error: i32) -> Option<Certificate> {
        Some(match error {
            0 => return None,
            9 => Certificate::NotYetValid,
            10 => Certificate::Expired,
            18..=21 | 27 => Certificate::Untrusted,
            62..=64 => Certificate::WrongHost,
            other => Certificate::Other(other),
        })
    }

    /// What is wrong.
    pub(super) fn wrong(self) -> String {
        match self {
            Certificate::Expired => "the broker's certificate has expired".to_owned(),
            Certificate::NotYetValid => "the broker's certificate is not valid yet".to_owned(),
            Certificate::WrongHost => "the broker's certificate is for another host".to_owned(),
            Certificate::Untrusted => "the broker's certificate is signed by nobody whom we trust".to_owned(),
            Certificate::Other(number) => format!("the broker's certificate is not accepted (X.509 error {number})"),
        }
    }

    /// The next step.
    fn next(self) -> &'static str {
        match self {
            Certificate::Expired => "renew it on the broker",
            Certificate::NotYetValid => "check the clocks of the broker and of this machine",
            Certificate::WrongHost => "write `brokers` with a name that the certificate has",
            Certificate::Untrusted => "check that `ca` of `tls` is the authority that signed it",
            Certificate::Other(_) => TLS,
        }
    }
}

impl From<Error> for flow_dataflow::Error {
    fn from(error: Error) -> Self {
        let retryable = match &error {
            Error::Unreachable { .. } | Error::Delivery { .. } => true,
            Error::Call { retryable, .. } => *retryable,
            _ => false,
        };
        match error {
            Error::Headers { .. } | Error::OtherTopic { .. } | Error::NoPartition { .. } => {
                Self::Plugin(error.to_string())
            }
            _ if retryable => Self::Retryable(error.to_string()),
            _ => Self::Fatal(error.to_string()),
        }
    }
}
