//! From what a pipeline file says of a source or sink to the one that runs.

use std::sync::Arc;

use flow_dataflow::build::fixed_column;
use flow_dataflow::call::Blame;
use flow_dataflow::exchange::Wake;
use flow_dataflow::report::Level;
use flow_dataflow::source::Locator;
use flow_dataflow::{Error, Polled, Sink, Source};
use flow_frame::layout::{Type, id};
use flow_model::checkpoint::snapshot::Split;
use flow_model::diagnostic::{Diagnostic, Located};
use flow_model::ids::OperatorName;
use flow_model::spec::{self, Delivery, Pipeline, SinkConnector, SourceConnector};

use crate::attempt::Attempt;
use crate::blackhole::Blackhole;
use crate::files::{FileList, FilesSource, OutputDirectory};
use crate::generator::{Generator, clock};
use crate::job::OnConfirm;
use crate::kafka::lane::{LaneSet, Laying};
use crate::kafka::{Connection, KafkaReader, KafkaWriter, Reading, Share, Splits, Warn, Writing, configured};
use crate::objects::Objects;
use crate::report::SOURCE_SHIFT;
use crate::secrets::Place;
use crate::stdout;

/// Bytes of a sink's output that wait in memory for their checkpoint; what is more is read back from the store.
const LANE_MEMORY: usize = 128 << 20;

/// Which subtask a source or sink is made for.
pub(crate) struct At {
    pub(crate) subtask: u32,
    pub(crate) parallelism: u32,
    /// Of a source that goes on from a checkpoint: where each of its splits does.
    pub(crate) restored: Option<Arc<Vec<Split>>>,
    /// Wakes the slot that steps it.
    pub(crate) wake: Wake,
    /// What happens with records that it does not take.
    pub(crate) blame: Blame,
}

impl At {
    fn share(&self) -> Share {
        Share { subtask: self.subtask, parallelism: self.parallelism }
    }

    fn warn(&self) -> Warn {
        let report = self.blame.report.clone();
        Arc::new(move |text| report.log(Level::Warn, text))
    }
}

/// A source of the pipeline, opened as far as its subtasks share it.
pub(crate) enum SharedSource<'a> {
    Files(&'a spec::FilesSource, Arc<FileList>),
    Generator(&'a spec::Generator),
    Kafka(Box<Reading>),
}

fn failed(name: &OperatorName) -> impl Fn(Error) -> crate::Error + use<'_> {
    |error| crate::Error::Connector(name.clone(), error)
}

impl<'a> SharedSource<'a> {
    /// Looks for what the subtasks share.
    pub(crate) fn open(spec: &'a spec::Source, pipeline: &Pipeline) -> Result<SharedSource<'a>, crate::Error> {
        let what = format!("source \"{}\"", spec.name);
        let place = Place { file: &pipeline.file, directory: &pipeline.directory, what: &what };
        Ok(match &spec.connector {
            SourceConnector::Files(files) => {
                let path = place.path(&files.path).map_err(|error| crate::Error::Pipeline(error.into()))?;
                let list = FileList::find(&path).map_err(failed(&spec.name))?;
                SharedSource::Files(files, Arc::new(list))
            }
            SourceConnector::Generator(generator) => SharedSource::Generator(generator),
            SourceConnector::Kafka(kafka) => {
                let reading = configured::reading(kafka, place, pipeline.name.as_str());
                SharedSource::Kafka(Box::new(reading.map_err(|error| crate::Error::Pipeline(error.into()))?))
            }
        })
    }

    /// How far its partitions were read, if it has some.
    pub(crate) fn splits(&self) -> Option<Arc<Splits>> {
        match self {
            SharedSource::Kafka(reading) => Some(reading.splits.clone()),
            SharedSource::Files(..) | SharedSource::Generator(_) => None,
        }
    }

    /// One subtask's part of the source. The splits of its rows carry `bits`, its number among the sources of the job, in their
    /// upper part, so that a place can be named wherever the row goes.
    pub(crate) fn subtask(&self, at: At, bits: u32) -> Result<Box<dyn Source>, Error> {
        let source: Box<dyn Source> = match self {
            SharedSource::Files(files, list) => {
                let source = FilesSource::new(files, list.clone(), at.subtask, at.parallelism);
                let source = source.restored(at.restored.as_deref().map_or(&[], Vec::as_slice));
                Box::new(source.refusing(at.blame, bits))
            }
            SharedSource::Generator(generator) => {
                let source = Generator::new(generator, at.subtask, at.parallelism, clock());
                match &at.restored {
                    Some(splits) if !splits.is_empty() => {
                        Box::new(source.restored(splits, (at.subtask, at.parallelism))?)
                    }
                    _ => Box::new(source),
                }
            }
            SharedSource::Kafka(reading) => {
                let reading = Reading { share: at.share(), restored: at.restored.clone(), ..(**reading).clone() };
                let warn = at.warn();
                Box::new(KafkaReader::open(reading, at.wake, warn)?)
            }
        };
        Ok(if bits == 0 { source } else { Box::new(Numbered { source, bits }) })
    }
}

/// A sink of the pipeline, opened as far as its subtasks share it.
pub(crate) enum SharedSink {
    Files(OutputDirectory),
    Stdout(spec::RecordFormat),
    Blackhole,
    Kafka(Box<Writing>),
    /// Topics, exactly once, and the lane by which the subtasks here write.
    Lanes(Arc<LaneSet>, Option<u32>),
}

impl SharedSink {
    /// What is to hear which checkpoints count, if something of it waits for them.
    pub(crate) fn on_confirm(&self) -> Option<OnConfirm> {
        match self {
            SharedSink::Lanes(lanes, _) => {
                let lanes = lanes.clone();
                Some(Box::new(move |checkpoint| lanes.confirm(checkpoint)))
            }
            SharedSink::Files(directory) => {
                let pending = directory.pending()?;
                Some(Box::new(move |checkpoint| pending.confirm(checkpoint)))
            }
            SharedSink::Stdout(_) | SharedSink::Blackhole | SharedSink::Kafka(_) => None,
        }
    }

    /// Prepares what the subtasks share; `attempt` is there if there are checkpoints.
    pub(crate) fn open(
        spec: &spec::Sink,
        pipeline: &Pipeline,
        attempt: Option<&Attempt>,
        warn: Warn,
    ) -> Result<SharedSink, crate::Error> {
        let what = format!("sink \"{}\"", spec.name);
        let place = Place { file: &pipeline.file, directory: &pipeline.directory, what: &what };
        Ok(match &spec.connector {
            SinkConnector::Files(files) => {
                let value = place.path(&files.path).map_err(|error| crate::Error::Pipeline(error.into()))?;
                let files = spec::FilesSink { path: Located { value, ..files.path.clone() }, ..files.clone() };
                let directory = match attempt {
                    Some(attempt) => OutputDirectory::of_attempt(&files, &spec.name, attempt, &warn),
                    None => OutputDirectory::prepare(&files),
                };
                SharedSink::Files(directory.map_err(failed(&spec.name))?)
            }
            SinkConnector::Stdout(format) => SharedSink::Stdout(*format),
            SinkConnector::Blackhole => SharedSink::Blackhole,
            SinkConnector::Kafka(kafka) => {
                let wrong = |error: Diagnostic| crate::Error::Pipeline(error.into());
                let writing = configured::writing(kafka, place).map_err(wrong)?;
                match attempt {
                    Some(attempt) if kafka.delivery.value == Delivery::ExactlyOnce => {
                        let connection = Connection::open(&kafka.cluster, place).map_err(wrong)?;
                        let laying = laying(&spec.name, pipeline, attempt, connection, writing);
                        let store = Arc::new(Objects(attempt.store.clone()));
                        let lanes = LaneSet::open(laying, store, attempt.lane_listener(&spec.name), warn);
                        let lanes = lanes.map_err(|error| failed(&spec.name)(error.into()))?;
                        SharedSink::Lanes(Arc::new(lanes), attempt.part.lane(&spec.name))
                    }
                    _ => SharedSink::Kafka(Box::new(writing)),
                }
            }
        })
    }

    /// One subtask's part of the sink.
    pub(crate) fn subtask(&self, at: At) -> Result<Box<dyn Sink>, Error> {
        Ok(match self {
            SharedSink::Files(directory) => Box::new(directory.part(at.subtask, at.wake)?),
            SharedSink::Stdout(format) => Box::new(stdout::open(*format, at.wake)?),
            SharedSink::Blackhole => Box::new(Blackhole::new(at.blame.report)),
            SharedSink::Lanes(lanes, lane) => {
                let (share, warn) = (at.share(), at.warn());
                let lane = lane.ok_or_else(|| Error::Fatal("the assignment gives it no lane".to_owned()))?;
                Box::new(lanes.sink(share, lane, at.blame, at.wake, warn)?)
            }
            SharedSink::Kafka(writing) => {
                let writing = Writing { share: at.share(), ..(**writing).clone() };
                let warn = at.warn();
                Box::new(KafkaWriter::open(writing, at.blame, at.wake, warn)?)
            }
        })
    }
}

/// What lanes of a sink go on from.
fn laying(
    sink: &OperatorName,
    pipeline: &Pipeline,
    attempt: &Attempt,
    connection: Connection,
    writing: Writing,
) -> Laying {
    let node = attempt.node(sink);
    let lanes = attempt.part.lanes(sink, &node);
    Laying {
        connection,
        writing,
        pipeline: pipeline.name.clone(),
        sink: sink.clone(),
        incarnation: attempt.incarnation.clone(),
        anew: attempt.anew,
        attempt: attempt.attempt,
        restored: attempt.confirmed(),
        node,
        lanes: lanes.into_iter().collect(),
        dead_letter: attempt.dead_letter.clone(),
        memory: LANE_MEMORY,
    }
}

// The number of each source fits above the splits of any.
const _: () = assert!(spec::SOURCES_MAX <= 1 << (u32::BITS - SOURCE_SHIFT));

/// A source whose splits carry bits of their own.
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

    fn open(&mut self) -> Result<bool, Error> {
        self.source.open()
    }

    fn splits(&self) -> Vec<Split> {
        self.source.splits()
    }

    fn locator(&self) -> Locator {
        let (locator, bits) = (self.source.locator(), self.bits);
        Arc::new(move |split, position| locator(split & !bits, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_which_of_several_sources_they_come_from() {
        let spec = spec::Generator { count: Some(2), rate: None, keys: 1, value: "x".parse().expect("a template") };
        let last = spec::SOURCES_MAX as u32 - 1;
        for number in [0, 1, last] {
            let bits = number << SOURCE_SHIFT;
            let source: Box<dyn Source> = Box::new(Generator::new(&spec, 1, 2, clock()));
            let mut source: Box<dyn Source> = Box::new(Numbered { source, bits });
            let Polled::Batch(batch) = source.poll(10, 1000).expect("it never fails") else { panic!("a row") };
            let (split, position) = batch.origin(0).expect("rows of a source have an origin");
            assert_eq!((split >> SOURCE_SHIFT, position), (number, 1));
            assert_eq!(source.locator()(split, position).text, "generator[1]@1");
            assert_eq!(source.positions(), [(split, 3)]);
        }
    }
}
