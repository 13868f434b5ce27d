//! What librdkafka is told. The defaults are those that were measured (ADR 0004); a pipeline's `properties` go over them, but
//! for those that [`property`] refuses.

use std::sync::Arc;

use flow_model::spec::property;

use super::Error;
use super::connection::{Connection, Hidden};
use super::token::Tokens;

/// Without it the kernel keeps a small request back while an earlier one is not acknowledged.
const NO_DELAY: (&str, &str) = ("socket.nagle.disable", "true");

/// Settings of a consumer; `fetch.message.max.bytes` and `queued.min.messages` keep what waits in librdkafka's queue small
/// enough that it is still in the processor's cache when it is taken.
const READING: [(&str, &str); 14] = [
    ("client.id", "flow"),
    NO_DELAY,
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Deleted records must not be skipped silently.
    ("auto.offset.reset", "error"),
    // The only way to know that what lies behind the last record is nothing that a reader sees.
    ("enable.partition.eof", "true"),
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
const WRITING: [(&str, &str); 13] = [
    ("client.id", "flow"),
    NO_DELAY,
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("compression.type", "lz4"),
    // A batch waits for so long to fill. Batches fill by themselves while others are on their way.
    ("linger.ms", "1"),
    // Brokers that are away are waited for: a job that gave a record up would have to begin anew.
    ("message.timeout.ms", "0"),
    // The largest record. Below the queue's bytes, or such a record would wait for ever.
    ("message.max.bytes", "33554432"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("delivery.report.only.error", "true"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// What counts for the reader of a lane's progress, whatever the pipeline sets: what is not committed must not count, and that there is
/// nothing more than what was read is told when a fetch has waited so long in vain.
const STANDING: [(&str, &str); 2] = [("isolation.level", "read_committed"), ("fetch.wait.max.ms", "5")];

/// How long a transaction may take.
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// The same by default, in milliseconds.
const TRANSACTION: &str = "60000";

/// Whose transactions they are.
const TRANSACTIONAL_ID: &str = "transactional.id";

/// The bytes of all records of a batch.
const BATCH_SIZE: &str = "batch.size";
/// Its default in librdkafka.
const BATCH_BYTES: usize = 1_000_000;
/// More than a batch has beside the keys, values and headers of its records: its own head, that of the request around it, and lengths.
const BATCH_OVERHEAD: usize = 1024;

/// Settings for one client, in the order in which librdkafka gets them. They may hold secrets, so `Debug` shows names only.
#[derive(Clone)]
pub struct Settings {
    brokers: String,
    all: Vec<(String, String)>,
    pub(super) mechanism: Option<&'static str>,
    pub(super) hidden: Hidden,
    pub(super) tokens: Option<Arc<Tokens>>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(name, _)| name)).finish()
    }
}

impl Settings {
    /// For a source: `group` names the consumer group.
    pub fn reading(connection: &Connection, group: &str) -> Result<Settings, Error> {
        Self::of(connection, READING.into_iter().chain([("group.id", group)]))
    }

    /// For the progress of lanes.
    pub(super) fn standing(connection: &Connection) -> Result<Settings, Error> {
        let mut settings = Self::reading(connection, "flow-progress")?;
        settings.all.extend(STANDING.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(settings)
    }

    /// For a sink.
    pub fn writing(connection: &Connection) -> Result<Settings, Error> {
        Self::of(connection, WRITING)
    }

    /// For the transactions of this id.
    pub(super) fn transacting(connection: &Connection, id: &str) -> Result<Settings, Error> {
        let mut settings = Self::of(connection, WRITING.into_iter().chain([(TRANSACTION_TIMEOUT, TRANSACTION)]))?;
        // A transaction must not outlive its time, and no record its transaction.
        let given = settings.iter().filter(|(name, _)| *name == TRANSACTION_TIMEOUT).last();
        let timeout = given.map_or(TRANSACTION, |(_, value)| value).to_owned();
        settings.all.push(("message.timeout.ms".to_owned(), timeout));
        settings.all.push((TRANSACTIONAL_ID.to_owned(), id.to_owned()));
        Ok(settings)
    }

    fn of<'a>(
        connection: &'a Connection,
        defaults: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Settings, Error> {
        for name in connection.properties.keys() {
            if let Some(reason) = property::refused(name) {
                return Err(Error::Setting { name: name.clone(), reason: reason.to_owned() });
            }
        }
        let defaults = [("bootstrap.servers", connection.brokers())].into_iter().chain(defaults);
        let security = connection.security.iter().map(|(name, value)| (*name, value.as_str()));
        let users = connection.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(Settings {
            brokers: connection.brokers().to_owned(),
            all: defaults.chain(security).chain(users).map(owned).collect(),
            mechanism: connection.mechanism,
            hidden: connection.hidden.clone(),
            tokens: connection.tokens.clone(),
        })
    }

    /// The brokers, as configured.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Whether records of open and aborted transactions are left out.
    pub(super) fn reads_committed(&self) -> bool {
        self.iter().filter(|(name, _)| *name == "isolation.level").last() == Some(("isolation.level", "read_committed"))
    }

    /// Whether its records belong to transactions.
    pub(super) fn transacts(&self) -> bool {
        self.iter().any(|(name, _)| name == TRANSACTIONAL_ID)
    }

    /// Bytes from which on a record is sent in a batch of its own, so that what is said of the batch is said of it.
    pub(super) fn batch_size(&self) -> usize {
        let given = self.iter().filter(|(name, _)| *name == BATCH_SIZE).last();
        given.and_then(|(_, value)| value.parse().ok()).unwrap_or(BATCH_BYTES)
    }

    /// The largest batches that fit into so many bytes.
    pub(super) fn batches_within(limit: i64) -> usize {
        usize::try_from(limit).unwrap_or(0).saturating_sub(BATCH_OVERHEAD).max(1)
    }

    /// Bytes of the largest record that librdkafka takes.
    pub(super) fn record_size(&self) -> usize {
        let given = self.iter().filter(|(name, _)| *name == "message.max.bytes").last();
        given.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    }

    /// The same with batches that a broker takes which takes so many bytes in one.
    pub(super) fn with_batches_within(mut self, limit: i64) -> Settings {
        let most = Self::batches_within(limit);
        if most < self.batch_size() {
            self.all.push((BATCH_SIZE.to_owned(), most.to_string()));
        }
        self
    }

    /// Names and values; a later one counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(of: &[(&str, &str)]) -> Connection {
        Connection::to("b:1", &of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn properties_go_over_defaults() {
        let settings = Settings::writing(&connection(&[("linger.ms", "50")])).expect("allowed");
        let last = settings.iter().filter(|(name, _)| *name == "linger.ms").last();
        assert_eq!(last, Some(("linger.ms", "50")));
    }

    /// librdkafka would fail what a broker has not taken for five minutes, and the job with it.
    #[test]
    fn what_is_written_waits_for_its_broker_for_ever() {
        let told = |of: &[(&str, &str)]| {
            let settings = Settings::writing(&connection(of)).expect("allowed");
            let last = settings.iter().filter(|(name, _)| *name == "message.timeout.ms").last();
            last.map(|(_, value)| value.to_owned())
        };
        assert_eq!(told(&[]).as_deref(), Some("0"));
        assert_eq!(told(&[("message.timeout.ms", "5000")]).as_deref(), Some("5000"));
    }

    #[test]
    fn progress_is_never_read_before_it_is_committed() {
        let connection = connection(&[("isolation.level", "read_uncommitted")]);
        assert!(!Settings::reading(&connection, "g").expect("allowed").reads_committed());
        assert!(Settings::standing(&connection).expect("allowed").reads_committed());
    }

    #[test]
    fn batches_fit_what_a_broker_takes() {
        let within = |of: &[(&str, &str)], limit| {
            Settings::writing(&connection(of)).expect("allowed").with_batches_within(limit).batch_size()
        };
        assert_eq!(within(&[], 1_048_588), 1_000_000);
        assert_eq!(within(&[], 10_000), 8_976);
        assert_eq!(within(&[], 100), 1);
        assert_eq!(within(&[("batch.size", "500")], 10_000), 500);
        assert_eq!(within(&[("batch.size", "50000")], 10_000), 8_976);
    }

    #[test]
    fn settings_that_break_promises_are_refused() {
        for name in ["enable.auto.commit", "topic.acks", "ut_handle_ProduceResponse", "internal.termination.signal"] {
            let error = Settings::reading(&connection(&[(name, "x-secret")]), "g").expect_err(name);
            let text = error.to_string();
            assert!(text.contains(name) && !text.contains("x-secret"), "{text}");
        }
    }

    #[test]
    fn debug_hides_values() {
        let settings = Settings::writing(&connection(&[("sasl.password", "hunter2")])).expect("allowed");
        let text = format!("{settings:?}");
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }
}
