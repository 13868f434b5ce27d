//! The calls into librdkafka. All unsafe code of this module's parent is here; outside, misuse does not compile.
//!
//! What the safety arguments lean on:
//! - librdkafka's handles (`rd_kafka_t`, queues, topics) may be used by many threads at once (its INTRODUCTION.md, "Threads
//!   and callbacks"). Each is owned by one of [`Client`], [`Consumer`], [`Producer`] and destroyed once, by its `Drop`.
//! - Order of destruction: messages, then queues and topics, then the client, then what its callbacks point to.
//! - Error codes of messages and callbacks are read as numbers, never as the bindings' enum: a newer broker may send one that
//!   the enum does not know. Codes that calls return can't be: the bindings declare those as the enum. librdkafka 2.12 returns
//!   a broker's code from one call that is used here, for offsets, and knows all that brokers of its time send.
//!
//! rdkafka's own consumer and producer are not used: they make one call a message (ADR 0004).

mod callback;
mod client;
mod consumer;
mod create;
mod list;
mod origin;
mod producer;
mod question;
mod transaction;

pub(super) use callback::{TooLarge, Undelivered};
pub(super) use client::Client;
pub(super) use consumer::{Consumer, Message, Of, Taken};
pub(super) use producer::{Producer, Record, Unfit};
pub(super) use question::{Described, EARLIEST, LATEST, Offset, TopicLimits};
pub(super) use transaction::{Failed, How};

use rdkafka::bindings as rd;
use rdkafka::types::RDKafkaRespErr as Code;

/// The code of a message, as the number that it is.
///
/// # Safety
/// The message is live.
unsafe fn code_of(message: *const rd::rd_kafka_message_t) -> i32 {
    // SAFETY: the field is a C enum as wide as an i32. It is read in place, since a reference to it or to the whole message
    // would claim that its code is one that the bindings know.
    unsafe { (&raw const (*message).err).cast::<i32>().read() }
}

/// The name that librdkafka gives to a code.
pub(super) fn describe(code: i32) -> String {
    match Code::try_from(code) {
        // SAFETY: takes any known code and returns a string that lives as long as the process.
        Ok(known) => unsafe { std::ffi::CStr::from_ptr(rd::rd_kafka_err2str(known)) }.to_string_lossy().into_owned(),
        Err(_) => format!("error {code}"),
    }
}

/// Whether a code is this known one.
pub(super) fn is(code: i32, known: Code) -> bool {
    code == known as i32
}

/// Whether a record is larger than somebody takes.
pub(super) fn is_too_large(code: i32) -> bool {
    is(code, Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
}

/// Whether a topic does not take the timestamp of a record.
pub(super) fn is_untimely(code: i32) -> bool {
    is(code, Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP)
}

/// The code for a topic that may not be written.
pub(super) const DENIED: i32 = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32;

/// The code for a topic that does not exist.
pub(super) const UNKNOWN_TOPIC: i32 = Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32;

/// Whether the broker says that a topic (or a partition) does not exist.
pub(super) fn is_unknown_topic(code: i32) -> bool {
    use Code::*;
    [RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART]
        .iter()
        .any(|known| is(code, *known))
}

/// Whether nobody answered in time.
pub(super) fn is_unanswered(code: i32) -> bool {
    use Code::*;
    let codes = [RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT];
    codes.iter().any(|known| is(code, *known))
}

/// Whether a partition has no leader for now.
pub(super) fn is_leaderless(code: i32) -> bool {
    use Code::*;
    [
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    ]
    .iter()
    .any(|known| is(code, *known))
}

/// Whether a broker will never store a record, or nothing in this topic: it was alone, or nobody may write it.
pub(super) fn is_never(code: i32) -> bool {
    use Code::*;
    let codes =
        [RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, RD_KAFKA_RESP_ERR_POLICY_VIOLATION];
    is_too_large(code) || is_denied(code) || codes.iter().any(|known| is(code, *known))
}

/// Whether the broker says that we may not.
pub(super) fn is_denied(code: i32) -> bool {
    use Code::*;
    [RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED]
        .iter()
        .any(|known| is(code, *known))
}

/// Whether the broker does not accept who we are.
pub(super) fn is_authentication(code: i32) -> bool {
    use Code::*;
    [
        RD_KAFKA_RESP_ERR__AUTHENTICATION,
        RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
        RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM,
    ]
    .iter()
    .any(|known| is(code, *known))
}

/// Whether no encrypted connection can be made.
pub(super) fn is_tls(code: i32) -> bool {
    is(code, Code::RD_KAFKA_RESP_ERR__SSL)
}
