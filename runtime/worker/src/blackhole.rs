//! A sink that counts what it drops: for measuring what comes before it.

use std::sync::Arc;

use flow_dataflow::report::{Level, Report};
use flow_dataflow::{Barrier, Batch, Error, Sink};

/// Drops all records, and logs at the end how many there were.
pub struct Blackhole {
    report: Arc<dyn Report>,
    records: u64,
    bytes: u64,
}

impl Blackhole {
    /// One that has dropped nothing.
    pub fn new(report: Arc<dyn Report>) -> Blackhole {
        Blackhole { report, records: 0, bytes: 0 }
    }
}

impl Sink for Blackhole {
    fn ready(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        self.records += batch.rows() as u64;
        self.bytes += batch.size() as u64;
        Ok(())
    }

    fn snapshot(&mut self, _barrier: Barrier) -> Result<(), Error> {
        Ok(())
    }

    fn unwritten(&self) -> usize {
        0
    }

    fn finish(&mut self) -> Result<bool, Error> {
        let Blackhole { records, bytes, .. } = self;
        self.report.log(Level::Info, &format!("dropped {records} records in {bytes} bytes of columns"));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use flow_dataflow::report::{Place, Rejected};

    use super::*;
    use crate::text_sink::tests::batch;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Report for Lines {
        fn log(&self, level: Level, message: &str) {
            assert_eq!(level, Level::Info);
            self.0.lock().expect("no test panics with it").push(message.into());
        }

        fn locate(&self, _: u32, _: i64) -> Place {
            Place::default()
        }

        fn rejected(&self, _: &Rejected) {}
    }

    #[test]
    fn counts() {
        let lines = Arc::new(Lines::default());
        let mut sink = Blackhole::new(lines.clone());
        for values in [&["a", "b"][..], &["c"]] {
            assert!(sink.ready().expect("always"));
            sink.write(batch(values)).expect("it takes a batch");
        }
        sink.snapshot(flow_dataflow::Barrier::first(flow_model::checkpoint::CheckpointId(1))).expect("nothing to do");
        assert!(sink.finish().expect("nothing to do"));
        // 1 byte of value, 4 of split and 8 of position a row; 4 bytes of offset, and one offset more a batch.
        assert_eq!(*lines.0.lock().expect("still whole"), ["dropped 3 records in 59 bytes of columns"]);
    }
}
