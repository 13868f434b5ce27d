//! What librdkafka is told. The defaults are those that were measured (ADR 0004); a pipeline's `properties` go over them, but
//! for those that [`property`] refuses.

use std::collections::BTreeMap;

use flow_model::spec::property;

use super::Error;

/// Settings of a consumer; `fetch.message.max.bytes` and `queued.min.messages` keep what waits in librdkafka's queue small
/// enough that it is still in the processor's cache when it is taken.
const READING: [(&str, &str); 12] = [
    ("client.id", "flow"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Deleted records must not be skipped silently.
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    // How long fetching pauses when the queue is full. The default of a second stalls every reader that is slower.
    ("fetch.queue.backoff.ms", "10"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "32768"),
    ("fetch.message.max.bytes", "262144"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Settings of a producer. Idempotence keeps the order of a key's records over a retry, and a retry from writing twice.
const WRITING: [(&str, &str); 11] = [
    ("client.id", "flow"),
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // The largest record. Below the queue's bytes, or such a record would wait for ever.
    ("message.max.bytes", "33554432"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("delivery.report.only.error", "true"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Settings for one client, in the order in which librdkafka gets them. They may hold secrets, so `Debug` shows names only.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    brokers: String,
    all: Vec<(String, String)>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(name, _)| name)).finish()
    }
}

impl Settings {
    /// For a source: `group` names the consumer group, `bounded` says whether the reader asks for the ends of partitions.
    pub fn reading(
        brokers: &str,
        group: &str,
        bounded: bool,
        properties: &BTreeMap<String, String>,
    ) -> Result<Settings, Error> {
        let own = [("group.id", group), ("enable.partition.eof", if bounded { "true" } else { "false" })];
        Self::of(brokers, READING.into_iter().chain(own), properties)
    }

    /// For a sink.
    pub fn writing(brokers: &str, properties: &BTreeMap<String, String>) -> Result<Settings, Error> {
        Self::of(brokers, WRITING, properties)
    }

    fn of<'a>(
        brokers: &'a str,
        defaults: impl IntoIterator<Item = (&'a str, &'a str)>,
        properties: &BTreeMap<String, String>,
    ) -> Result<Settings, Error> {
        for name in properties.keys() {
            if let Some(reason) = property::refused(name) {
                return Err(Error::Setting { name: name.clone(), reason: reason.to_owned() });
            }
        }
        let defaults = [("bootstrap.servers", brokers)].into_iter().chain(defaults);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let users = properties.iter().map(|(name, value)| (name.clone(), value.clone()));
        Ok(Settings { brokers: brokers.to_owned(), all: defaults.map(owned).chain(users).collect() })
    }

    /// The brokers, as configured.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Names and values; a later one counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn properties_go_over_defaults() {
        let settings = Settings::writing("b:1", &properties(&[("linger.ms", "50")])).expect("allowed");
        let last = settings.iter().filter(|(name, _)| *name == "linger.ms").last();
        assert_eq!(last, Some(("linger.ms", "50")));
    }

    #[test]
    fn settings_that_break_promises_are_refused() {
        for name in ["enable.auto.commit", "topic.acks", "ut_handle_ProduceResponse", "internal.termination.signal"] {
            let error = Settings::reading("b:1", "g", false, &properties(&[(name, "x-secret")])).expect_err(name);
            let text = error.to_string();
            assert!(text.contains(name) && !text.contains("x-secret"), "{text}");
        }
    }

    #[test]
    fn debug_hides_values() {
        let settings = Settings::writing("b:1", &properties(&[("sasl.password", "hunter2")])).expect("allowed");
        let text = format!("{settings:?}");
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }
}
