//! What the engine tells and emits, gathered for the test.

use std::sync::{Mutex, MutexGuard, PoisonError};

use flow_dataflow::Batch;
use flow_dataflow::report::{self, Place, Report};
use flow_frame::{headers, id};
use flow_sdk::log::Level;

use crate::{Emitted, Output, Rejected};

/// Takes lines and refusals, from whatever thread.
#[derive(Debug, Default)]
pub(crate) struct Collector(Mutex<Output>);

impl Collector {
    fn gathered(&self) -> MutexGuard<'_, Output> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything since the last time, with these batches. `asked` says that rows belong to inputs.
    pub(crate) fn output(&self, batches: &[Batch], asked: bool) -> Output {
        let mut output = std::mem::take(&mut *self.gathered());
        output.records = batches.iter().flat_map(|b| (0..b.rows()).map(move |row| emitted(b, row, asked))).collect();
        output
    }
}

fn emitted(batch: &Batch, row: usize, asked: bool) -> Emitted {
    let bytes = |id| batch.bytes(id).and_then(|c| c.get(row)).map(<[u8]>::to_vec);
    let input = batch.origin(row).map(|(_, number)| number as usize);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let blob = batch.bytes(id::HEADERS).map_or(&[][..], |c| c.raw(row));
    Emitted {
        port: "main".into(),
        input: input.filter(|_| asked),
        key: bytes(id::KEY),
        value: bytes(id::VALUE),
        timestamp: batch.i64(id::TIMESTAMP, row),
        headers: headers::decode(blob).map(|(k, v)| (text(k), v.map(<[u8]>::to_vec))).collect(),
        topic: bytes(id::TO_TOPIC).map(|topic| text(&topic)),
        partition: batch.u32(id::TO_PARTITION, row),
    }
}

impl Report for Collector {
    fn log(&self, level: report::Level, message: &str) {
        let level = match level {
            report::Level::Trace => Level::Trace,
            report::Level::Debug => Level::Debug,
            report::Level::Info => Level::Info,
            report::Level::Warn => Level::Warn,
            report::Level::Error => Level::Error,
        };
        self.gathered().logs.push((level, message.into()));
    }

    fn locate(&self, _split: u32, position: i64) -> Place {
        format!("input {position}").into()
    }

    fn rejected(&self, record: &report::Rejected) {
        let input = record.origin.map_or(0, |(_, number)| number as usize);
        let (code, message) = (record.code.clone(), record.message.clone());
        self.gathered().rejected.push(Rejected { input, code, message });
    }
}
