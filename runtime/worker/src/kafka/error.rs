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
    /// Records that were taken and that the broker did not store.
    #[error("{failed} records were not written; the first one, from {place}, to {topic}[{partition}]: {cause}")]
    Delivery {
        /// The topic.
        topic: String,
        /// Where the first was to go.
        partition: i32,
        /// Where the first came from.
        place: String,
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
        if retryable { Self::Retryable(error.to_string()) } else { Self::Fatal(error.to_string()) }
    }
}
