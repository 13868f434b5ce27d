//! Which settings of librdkafka a pipeline may not make, and what to do instead: those that Flow makes itself, that would
//! break what it promises, or that reach out of Kafka into the process. Everything else is librdkafka's to judge.

/// Settings by name.
const REFUSED: [(&str, &str); 22] = [
    ("bootstrap.servers", "write it as `brokers`"),
    ("metadata.broker.list", "write it as `brokers`"),
    ("group.id", "write it as `group`"),
    ("auto.offset.reset", "write `start`"),
    ("enable.auto.commit", "remove it; Flow keeps the offsets"),
    ("auto.commit.enable", "remove it; Flow keeps the offsets"),
    ("enable.auto.offset.store", "remove it; Flow keeps the offsets"),
    ("offset.store.method", "remove it; Flow keeps the offsets"),
    ("offset.store.path", "remove it; Flow keeps the offsets"),
    ("enable.partition.eof", "remove it; write `stop: latest` for a bounded source"),
    ("transactional.id", "remove it; transactions are Flow's"),
    ("acks", "remove it; Flow waits until all replicas have a record"),
    ("request.required.acks", "remove it; Flow waits until all replicas have a record"),
    ("delivery.report.only.error", "remove it; Flow counts what is delivered"),
    ("partitioner", "remove it; Flow partitions as Kafka's Java client does"),
    ("log.queue", "remove it; Flow writes librdkafka's log"),
    ("opaque", "remove it; it is for programs"),
    ("interceptors", "remove it; it is for programs"),
    ("plugin.library.paths", "remove it; a pipeline must not load native code"),
    ("ssl.engine.location", "remove it; a pipeline must not load native code"),
    ("ssl.providers", "remove it; a pipeline must not load native code"),
    ("sasl.kerberos.kinit.cmd", "remove it; a pipeline must not run commands"),
];

/// Settings by what their names begin with: a signal handler of the process, a broker that keeps nothing.
const REFUSED_BELOW: [(&str, &str); 2] = [
    ("internal.", "remove it; librdkafka's internals are Flow's business"),
    ("test.", "remove it; it is for librdkafka's own tests"),
];

/// Why a setting of this name is refused, and what to do instead; none for one that librdkafka may judge.
pub fn refused(name: &str) -> Option<&'static str> {
    // librdkafka takes each setting of a topic with this in front too.
    let bare = name.strip_prefix("topic.").unwrap_or(name);
    let by_name = REFUSED.iter().find(|(refused, _)| *refused == bare);
    let below = || REFUSED_BELOW.iter().find(|(start, _)| bare.starts_with(start));
    match by_name.or_else(below) {
        Some((_, instead)) => Some(instead),
        // Names with an underscore take addresses of functions and data, one of its tests among them, which it then calls.
        None if bare.contains('_') && bare != "log_level" => Some("remove it; it is for programs"),
        None => None,
    }
}

/// Whether a setting holds a secret, whatever it is set to.
pub fn is_secret(name: &str) -> bool {
    let name = name.strip_prefix("topic.").unwrap_or(name);
    ["password", "secret", "pem", "jaas", "oauthbearer.config", "assertion"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_promises_or_the_process_is_refused() {
        for name in [
            "enable.auto.commit",
            "topic.auto.offset.reset",
            "acks",
            "topic.acks",
            "request.required.acks",
            "offset.store.path",
            "plugin.library.paths",
            "internal.termination.signal",
            "test.mock.num.brokers",
            "ut_handle_ProduceResponse",
            "dr_msg_cb",
            "enabled_events",
            "default_topic_conf",
        ] {
            assert!(refused(name).is_some(), "{name}");
        }
        for name in ["linger.ms", "topic.metadata.refresh.interval.ms", "sasl.password", "log_level", "lingr"] {
            assert_eq!(refused(name), None, "{name}");
        }
    }
}
