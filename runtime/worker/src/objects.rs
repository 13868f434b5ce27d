//! What a job's checkpoints are made of, on its way to the store and back.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use flow_dataflow::Error;
use flow_model::checkpoint::snapshot::{Chain, Piece};
use flow_model::checkpoint::{CheckpointId, Chunk, ObjectName};
use flow_model::ids::OperatorName;
use flow_store::Store;

use crate::attempt::{Attempt, Told};
use crate::failpoint::{self, Point};
use crate::kafka::lane::{Got, PartStore, Stored};
use crate::rocks::runs::{Acks, Fetch, Uploaded, Uploads};

/// Bytes that are read of an object at once.
const PIECE: u64 = 8 << 20;

/// The job's root in the store.
#[derive(Clone)]
pub(crate) struct Objects(pub(crate) Store);

fn failure(error: &flow_store::Error) -> Error {
    let message = error.to_string();
    if error.is_retryable() { Error::Retryable(message) } else { Error::Fatal(message) }
}

impl Uploads for Objects {
    fn upload(&self, name: &ObjectName, file: &Path, uploaded: Uploaded) {
        let (store, name, file) = (self.0.clone(), name.clone(), file.to_owned());
        self.0.spawn(async move {
            failpoint::reach(Point::StateUpload);
            let result = store.put_file(name.as_str(), &file).await;
            failpoint::reach(Point::StateUploaded);
            uploaded(result.map(drop).map_err(|error| failure(&error)));
        });
    }
}

impl Fetch for Objects {
    fn fetch(&self, object: &ObjectName, range: Range<u64>, into: &mut dyn Write) -> Result<(), Error> {
        failpoint::reach(Point::StateFetch);
        let mut from = range.start;
        while from < range.end {
            let to = range.end.min(from + PIECE);
            let bytes = self.0.block_on(self.0.get_range(object.as_str(), from..to));
            let bytes = bytes.map_err(|error| failure(&error))?;
            into.write_all(&bytes)
                .map_err(|error| Error::Retryable(format!("writing what {object} holds: {error}")))?;
            from = to;
        }
        Ok(())
    }
}

impl PartStore for Objects {
    fn put(&self, name: ObjectName, bytes: Bytes, done: Stored) {
        let store = self.0.clone();
        self.0.spawn(async move {
            failpoint::reach(Point::PartUpload);
            let result = store.put(name.as_str(), bytes).await;
            failpoint::reach(Point::PartUploaded);
            done(result.map_err(|error| failure(&error)));
        });
    }

    fn get(&self, chunk: Chunk, done: Got) {
        let store = self.0.clone();
        self.0.spawn(async move {
            let range = chunk.offset..chunk.offset.saturating_add(chunk.length);
            let result = store.get_range(chunk.object.as_str(), range).await;
            done(result.map_err(|error| failure(&error)));
        });
    }
}

/// A subtask of a keyed operator, as far as its state tells of checkpoints.
pub(crate) struct StateOf {
    pub(crate) attempt: Attempt,
    pub(crate) operator: OperatorName,
    pub(crate) subtask: u32,
}

impl Acks for StateOf {
    fn acked(&self, checkpoint: CheckpointId, chain: Chain) {
        let (node, piece) = (self.operator.clone(), Piece::State(chain));
        (self.attempt.listener)(Told::Acknowledged { checkpoint, node, subtask: self.subtask, piece });
    }

    fn declined(&self, checkpoint: CheckpointId, cause: Error) {
        let reason = format!("the state of \"{}\", subtask {}: {cause}", self.operator, self.subtask);
        (self.attempt.listener)(Told::Declined { checkpoint, reason });
    }
}
