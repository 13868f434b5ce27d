//! Puts the name that the pipeline gives a source or sink in front of its errors, as operators' errors have theirs. Must
//! change nothing else of them.

use flow_dataflow::element::Barrier;
use flow_dataflow::sink::Refused;
use flow_dataflow::source::Locator;
use flow_dataflow::{Batch, Error, Polled, Sink, Source};
use flow_model::checkpoint::snapshot::Split;

/// A source or sink with its name.
pub(crate) struct Named<T: ?Sized> {
    pub(crate) name: String,
    pub(crate) inner: Box<T>,
}

impl Source for Named<dyn Source> {
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Polled, Error> {
        self.inner.poll(max_rows, max_bytes).map_err(|e| e.at(&self.name))
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        self.inner.positions()
    }

    fn open(&mut self) -> Result<bool, Error> {
        self.inner.open().map_err(|e| e.at(&self.name))
    }

    fn splits(&self) -> Vec<Split> {
        self.inner.splits()
    }

    fn locator(&self) -> Locator {
        self.inner.locator()
    }
}

impl Sink for Named<dyn Sink> {
    fn ready(&mut self) -> Result<bool, Error> {
        self.inner.ready().map_err(|e| e.at(&self.name))
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        self.inner.write(batch).map_err(|e| e.at(&self.name))
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.inner.snapshot(barrier).map_err(|e| e.at(&self.name))
    }

    fn unwritten(&self) -> usize {
        self.inner.unwritten()
    }

    fn refused(&self) -> Refused {
        self.inner.refused()
    }

    fn finish(&mut self) -> Result<bool, Error> {
        self.inner.finish().map_err(|e| e.at(&self.name))
    }
}
