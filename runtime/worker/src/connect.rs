//! From what a pipeline file says of a source or sink to the one that runs.

use std::sync::Arc;

use flow_dataflow::build::fixed_column;
use flow_dataflow::exchange::Wake;
use flow_dataflow::report::Report;
use flow_dataflow::source::Locator;
use flow_dataflow::{Error, Polled, Sink, Source};
use flow_frame::layout::{Type, id};
use flow_model::spec;

/// Which subtask a source or sink is made for.
pub(crate) struct At {
    pub(crate) subtask: u32,
    pub(crate) parallelism: u32,
    /// Wakes the slot that steps it.
    pub(crate) wake: Wake,
    pub(crate) report: Arc<dyn Report>,
}

/// Makes one subtask's part of a source.
pub(crate) fn source(spec: &spec::Source, at: At) -> Result<Box<dyn Source>, Error> {
    Err(Error::Fatal(format!("{} {} {} {:?}", spec.name, at.subtask, at.parallelism, at.report.locate(0, 0))))
}

/// Makes one subtask's part of a sink.
pub(crate) fn sink(spec: &spec::Sink, at: At) -> Result<Box<dyn Sink>, Error> {
    (at.wake)();
    Err(Error::Fatal(format!("{}", spec.name)))
}

/// A source whose splits carry its number among the sources of the job in their upper bits, so that a place can be named
/// wherever the row goes.
pub(crate) fn numbered(source: Box<dyn Source>, bits: u32) -> Box<dyn Source> {
    if bits == 0 { source } else { Box::new(Numbered { source, bits }) }
}

struct Numbered {
    source: Box<dyn Source>,
    bits: u32,
}

impl Source for Numbered {
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Polled, Error> {
        let mut batch = match self.source.poll(max_rows, max_bytes)? {
            Polled::Batch(batch) => batch,
            other => return Ok(other),
        };
        if let Some(splits) = batch.u32s(id::SPLIT) {
            let data = splits.iter().flat_map(|b| (u32::from_le_bytes(*b) | self.bits).to_le_bytes()).collect();
            batch.set(fixed_column(id::SPLIT, Type::U32, data, None));
        }
        Ok(Polled::Batch(batch))
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        self.source.positions().into_iter().map(|(split, position)| (split | self.bits, position)).collect()
    }

    fn locator(&self) -> Locator {
        let (locator, bits) = (self.source.locator(), self.bits);
        Arc::new(move |split, position| locator(split & !bits, position))
    }
}
