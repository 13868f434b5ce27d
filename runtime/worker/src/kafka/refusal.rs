//! Records that Kafka does not take for their own sake, and what happens with them. What would meet every record, such as a
//! broker that is away or a topic that may not be written, is no refusal but an error of the sink.

use flow_dataflow::call::Blame;
use flow_dataflow::report::Rejected;
use flow_dataflow::sink::Refused;
use flow_dataflow::{Batch, Error};
use flow_frame::layout::id;

/// Why a record is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Somebody takes no record of that size.
    #[error("its {bytes} bytes are too many for topic {topic:?}: {limit}")]
    TooLarge {
        topic: String,
        /// Of key, value and headers.
        bytes: usize,
        limit: Limit,
    },
    /// It is for a topic that the sink does not write.
    #[error(
        "it is for topic {topic:?}, which this sink does not write; add it to `topics` of the sink, or a `pattern` that it \
         matches"
    )]
    OtherTopic { topic: String },
    /// It is for a topic that its operator named and that does not exist.
    #[error("it is for topic {topic:?}, which Kafka at {brokers} does not have: create it, or correct the operator")]
    NoTopic { topic: String, brokers: String },
    /// It is for a partition that does not exist.
    #[error(
        "it is for partition {partition} of topic {topic:?}, which has {partitions}: from 0 to {}; add partitions to the \
         topic, or correct the operator", .partitions.saturating_sub(1)
    )]
    NoPartition { topic: String, partition: u32, partitions: u32 },
    /// A compacted topic takes no record without a key.
    #[error(
        "it has no key, and topic {topic:?} is compacted; give it one, or remove compact from `cleanup.policy` of the topic"
    )]
    NoKey { topic: String },
    /// The topic takes no record of that time.
    #[error(
        "its timestamp {timestamp} is too far from the time now for topic {topic:?}, by the clock of this machine; correct the one \
         that is wrong, or raise `message.timestamp.{side}.max.ms` of the topic"
    )]
    Timestamp { topic: String, timestamp: i64, side: &'static str },
    /// Its headers are none.
    #[error("for topic {topic:?} its headers can't be read, or the name of one has a NUL in it")]
    Headers { topic: String },
}

impl Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::OtherTopic { .. } => "other-topic",
            Self::NoTopic { .. } => "no-topic",
            Self::NoPartition { .. } => "no-partition",
            Self::NoKey { .. } => "no-key",
            Self::Timestamp { .. } => "bad-timestamp",
            Self::Headers { .. } => "bad-headers",
        }
    }
}

/// Who does not take a record of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
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

/// Treats what is refused as `on-error` of the sink says, and counts it.
pub(super) struct Refusing {
    pub(super) blame: Blame,
    pub(super) refused: Refused,
}

impl Refusing {
    /// A row of a batch is not written. The place is that of its record, as far as it is known.
    pub(super) fn refuse(
        &mut self,
        batch: &Batch,
        row: usize,
        origin: Option<(u32, i64)>,
        why: &Refusal,
    ) -> Result<(), Error> {
        self.refused.rows += 1;
        self.refused.bytes +=
            batch.bytes(id::VALUE).and_then(|value| value.get(row)).map_or(0, |value| value.len() as u64);
        let (code, message) = (why.code().to_owned(), why.to_string());
        self.blame.reject(batch, row, Rejected { origin, code, message, backtrace: Vec::new(), attempts: 1 })
    }
}
