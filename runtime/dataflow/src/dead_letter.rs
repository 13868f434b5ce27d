//! Dead letters: records that an operator, a source or a sink did not take, on their way to the sinks that read them. A dead letter
//! is the record as the operator got it (key, value, timestamp, headers), and headers that say what happened: without those whose name
//! begins with [`PREFIX`] it is that record again. Must never change or drop a record.
//!
//! | header | what it holds, as text |
//! |---|---|
//! | `flow.error.code` | a short word: the operator's own, or `trap`, `timeout`, `bad-answer`, `no-key`,
//! `memory-limit`, `output-limit`, `state-limit`; of a source `no-json`; of a sink `too-large`, `no-topic`, `other-topic`,
//! `no-partition`, `bad-headers`, and of an exactly-once one `bad-timestamp`, `no-key`, `bad-record`, `denied` |
//! | `flow.error.reason` | a sentence for people |
//! | `flow.error.backtrace` | the functions of the component when it trapped, innermost first, a line each; absent otherwise |
//! | `flow.error.attempts` | how often its call was made as `on-error` says: 1 and the retries |
//! | `flow.error.time` | when, milliseconds since the Unix epoch |
//! | `flow.error.pipeline`, `.operator`, `.subtask` | where |
//! | `flow.error.component` | `sha256:` and the digest of the component; absent for a source or sink |
//! | `flow.error.source` | the pipeline's name for the source that the record came from |
//! | `flow.error.topic`, `.partition`, `.offset` | the record's place there, of a Kafka source |
//! | `flow.error.file`, `.line` | the record's place there, of files |
//! | `flow.error.lane` | which lane did not get it written, instead of `.subtask`; only of an exactly-once sink whose brokers refuse a
//! record of a confirmed checkpoint, as the next two |
//! | `flow.error.target-topic`, `.target-partition` | where it was to go |
//! | `flow.error.target-timestamp` | its time, where that is what is refused: the dead letter has its own then |
//!
//! What a source gave is known of every record that comes of it, through chains, exchanges and flat-maps; a record that an
//! operator makes up at a barrier or at the end of input has no place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow_frame::headers;
use flow_frame::layout::id;

use crate::element::Timestamp;
use crate::output_gate::OutputGate;
use crate::report::{Place, Rejected};
use crate::{Batch, BatchBuilder, Row};

/// What the names of the headers begin with that a dead letter has beside the record's own.
pub const PREFIX: &str = "flow.error.";

/// The dead letters of one operator, source or sink in one subtask that wait for the task to pass them on. A clone is another handle.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<BatchBuilder>>);

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, BatchBuilder> {
        // Every change under the lock is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, if anything does.
    pub fn take(&self) -> Option<Batch> {
        let mut rows = self.lock();
        (rows.rows() > 0).then(|| rows.finish())
    }
}

/// Where a task passes on the dead letters of one operator.
pub struct Exit {
    /// Where they wait.
    pub outbox: Outbox,
    /// The channels to the sinks that take them.
    pub gate: OutputGate,
}

/// What all dead letters of one operator, source or sink have in common.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The pipeline's name.
    pub pipeline: String,
    /// The name of the operator, source or sink.
    pub operator: String,
    /// Digest of an operator's component, such as `sha256:…`.
    pub component: Option<String>,
    /// Which of its subtasks.
    pub subtask: u32,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
}

/// Makes dead letters of the records of one operator, source or sink.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    sender: Arc<Sender>,
    outbox: Outbox,
}

impl DeadLetters {
    /// Into this outbox.
    pub fn new(sender: Sender, outbox: Outbox) -> DeadLetters {
        DeadLetters { sender: Arc::new(sender), outbox }
    }

    /// Appends a row of a batch. `place` is where the record came from.
    pub fn send(&self, batch: &Batch, row: usize, record: &Rejected, place: Option<&Place>) {
        let of = |id| batch.bytes(id).and_then(|column| column.get(row));
        let (split, position) = batch.origin(row).unwrap_or_default();
        self.outbox.lock().push(Row {
            key: of(id::KEY),
            value: of(id::VALUE),
            timestamp: batch.i64(id::TIMESTAMP, row),
            headers: &self.headers(of(id::HEADERS).unwrap_or_default(), record, place),
            split,
            position,
        });
    }

    /// The record's own headers and what happened. A dead letter that is one for the second time tells the second.
    fn headers(&self, own: &[u8], record: &Rejected, place: Option<&Place>) -> Vec<u8> {
        let Sender { pipeline, operator, component, subtask, clock } = &*self.sender;
        let backtrace = (!record.backtrace.is_empty()).then(|| ("backtrace", record.backtrace.join("\n")));
        let place = place.map(|place| place.fields.as_slice()).unwrap_or_default();
        let told = [("code", record.code.clone()), ("reason", record.message.clone())]
            .into_iter()
            .chain(backtrace)
            .chain([
                ("attempts", record.attempts.to_string()),
                ("time", clock().to_string()),
                ("pipeline", pipeline.clone()),
                ("operator", operator.clone()),
                ("subtask", subtask.to_string()),
            ])
            .chain(component.iter().map(|component| ("component", component.clone())))
            .chain(place.iter().cloned());
        with_headers(own, told)
    }
}

/// A record's own headers without those of a former dead letter, and what is told of this one, by names without [`PREFIX`].
pub fn with_headers(own: &[u8], told: impl IntoIterator<Item = (&'static str, String)>) -> Vec<u8> {
    let told: Vec<(String, String)> =
        told.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)).collect();
    let kept = headers::decode(own).filter(|(name, _)| !name.starts_with(PREFIX.as_bytes()));
    let all: Vec<(&[u8], Option<&[u8]>)> =
        kept.chain(told.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))).collect();
    let mut blob = Vec::new();
    headers::encode(all.into_iter(), &mut blob);
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(batch: &Batch) -> Vec<String> {
        let blob = batch.bytes(id::HEADERS).and_then(|column| column.get(0)).expect("headers");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers::decode(blob)
            .map(|(name, value)| format!("{}={}", text(name), value.map_or("-".into(), text)))
            .collect()
    }

    #[test]
    fn a_dead_letter_is_the_record_and_what_happened() {
        let mut own = Vec::new();
        let pairs: [(&[u8], Option<&[u8]>); 3] =
            [(b"trace", Some(b"7")), (b"flow.error.code", Some(b"old")), (b"none", None)];
        headers::encode(pairs.into_iter(), &mut own);
        let mut rows = BatchBuilder::default();
        rows.push(Row::default());
        rows.push(Row { key: Some(b"k"), value: None, timestamp: Some(5), headers: &own, split: 3, position: 1042 });
        let sender = Sender {
            pipeline: "orders".into(),
            operator: "enrich".into(),
            component: Some("sha256:0a".into()),
            subtask: 1,
            clock: || 1_700_000_000_000,
        };
        let outbox = Outbox::default();
        let letters = DeadLetters::new(sender, outbox.clone());
        assert!(outbox.take().is_none());
        let record = Rejected {
            origin: Some((3, 1042)),
            code: "trap".into(),
            message: "it panicked".into(),
            backtrace: vec!["inner".into(), "outer".into()],
            attempts: 3,
        };
        let place = Place {
            text: "orders[3]@1042".into(),
            fields: vec![("topic", "orders".into()), ("partition", "3".into()), ("offset", "1042".into())],
        };
        letters.send(&rows.finish(), 1, &record, Some(&place));
        let batch = outbox.take().expect("one waits");
        assert_eq!((batch.rows(), batch.i64(id::TIMESTAMP, 0), batch.origin(0)), (1, Some(5), Some((3, 1042))));
        let of = |id| batch.bytes(id).and_then(|column| column.get(0));
        assert_eq!((of(id::KEY), of(id::VALUE)), (Some(&b"k"[..]), None));
        assert_eq!(
            shown(&batch),
            [
                "trace=7",
                "none=-",
                "flow.error.code=trap",
                "flow.error.reason=it panicked",
                "flow.error.backtrace=inner\nouter",
                "flow.error.attempts=3",
                "flow.error.time=1700000000000",
                "flow.error.pipeline=orders",
                "flow.error.operator=enrich",
                "flow.error.subtask=1",
                "flow.error.component=sha256:0a",
                "flow.error.topic=orders",
                "flow.error.partition=3",
                "flow.error.offset=1042",
            ]
        );
        assert!(outbox.take().is_none(), "each leaves once");
    }
}
