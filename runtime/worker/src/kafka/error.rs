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
    #[error(
        "Kafka at {brokers} refused the login: {cause}; check the `sasl.` and `security.` settings in `properties`"
    )]
    Authentication {
        /// As configured.
        brokers: String,
        /// What the broker said.
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
    /// The records that reading should go on with were deleted.
    #[error("{topic}[{partition}] no longer has offset {offset}: {cause}; its retention is shorter than the pause was")]
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
    /// A record that librdkafka does not take.
    #[error(
        "a record of {bytes} bytes for topic {topic:?} is larger than `message.max.bytes` or \
         `queue.buffering.max.kbytes` in `properties` of the sink allows"
    )]
    TooLarge {
        /// The topic.
        topic: String,
        /// Bytes of key, value and headers.
        bytes: usize,
    },
    /// A row whose headers are no headers.
    #[error("a row for topic {topic:?} has a headers column that can't be read, or a header's name with a NUL in it")]
    Headers {
        /// The topic.
        topic: String,
    },
    /// Records that were taken and that the broker did not store.
    #[error("{failed} records were not written to {topic}[{partition}] or other partitions; the first one: {cause}")]
    Delivery {
        /// The topic.
        topic: String,
        /// Where the first was to go.
        partition: i32,
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

impl From<Error> for flow_dataflow::Error {
    fn from(error: Error) -> Self {
        let retryable = match &error {
            Error::Unreachable { .. } | Error::Delivery { .. } => true,
            Error::Call { retryable, .. } => *retryable,
            _ => false,
        };
        match error {
            Error::Headers { .. } => Self::Plugin(error.to_string()),
            _ if retryable => Self::Retryable(error.to_string()),
            _ => Self::Fatal(error.to_string()),
        }
    }
}
