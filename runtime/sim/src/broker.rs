//! A broker with transactions, as Kafka has them for clients that know nothing of KIP-890: a transactional id has a producer
//! id and an epoch, init raises the epoch and ends what was open, an older epoch is fenced, and the request that ends a
//! transaction names no transaction: one that comes late ends whatever its producer has open by then.

use std::collections::{BTreeMap, BTreeSet};

/// A producer's right to write, given by init.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// Its number.
    pub id: i64,
    /// Raised by each init.
    pub epoch: i16,
}

/// The last epoch of a producer id; the next init gets another id.
pub const LAST_EPOCH: i16 = i16::MAX - 1;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody else has called init since.
    #[error("fenced")]
    Fenced,
    /// A transaction of the id is just being ended: the same again, later.
    #[error("concurrent transactions")]
    Concurrent,
    /// There is no transaction that could be ended so.
    #[error("invalid state of the transaction")]
    Invalid,
}

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Entry {
    Record(Producer, Record),
    /// Ends a transaction in this partition.
    Marker(i64, bool),
}

/// What the coordinator of transactions knows of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Transaction {
    /// There was none since init.
    Empty,
    /// Open in these partitions.
    Ongoing(BTreeSet<u32>),
    /// Decided; the markers are not written yet.
    Ending { commit: bool, partitions: BTreeSet<u32> },
    /// Ended so.
    Ended(bool),
}

#[derive(Clone, Debug)]
struct State {
    producer: Producer,
    transaction: Transaction,
}

/// The broker: partitions, and transactional ids.
#[derive(Clone, Debug, Default)]
pub struct Broker {
    partitions: BTreeMap<u32, Vec<Entry>>,
    ids: BTreeMap<String, State>,
    producers: i64,
}

/// What a reader sees of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Records of committed transactions below `end`.
    pub records: Vec<Record>,
    /// How far a reader of committed records gets: the last stable offset.
    pub end: usize,
    /// Behind everything: the high watermark.
    pub high: usize,
}

impl Broker {
    /// Gives the id to a new producer: aborts what is open, and fences all older ones.
    ///
    /// # Errors
    /// [`Error::Concurrent`] while a transaction is being ended.
    pub fn init(&mut self, id: &str) -> Result<Producer, Error> {
        self.abort(id);
        let fresh = self.producers;
        let Some(state) = self.ids.get_mut(id) else {
            let producer = Producer { id: fresh, epoch: 0 };
            self.producers += 1;
            self.ids.insert(id.to_owned(), State { producer, transaction: Transaction::Empty });
            return Ok(producer);
        };
        if let Transaction::Ending { .. } = state.transaction {
            return Err(Error::Concurrent);
        }
        state.producer = match state.producer {
            Producer { epoch: LAST_EPOCH.., .. } => {
                self.producers += 1;
                Producer { id: fresh, epoch: 0 }
            }
            Producer { id, epoch } => Producer { id, epoch: epoch + 1 },
        };
        state.transaction = Transaction::Empty;
        Ok(state.producer)
    }

    /// Appends records to a partition, in the producer's transaction, which the first of them begins.
    ///
    /// # Errors
    /// [`Error::Fenced`], and [`Error::Concurrent`] while the one before is being ended.
    pub fn produce(
        &mut self,
        id: &str,
        by: Producer,
        partition: u32,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<(), Error> {
        let state = self.state(id, by)?;
        match &mut state.transaction {
            Transaction::Ongoing(partitions) => _ = partitions.insert(partition),
            Transaction::Ending { .. } => return Err(Error::Concurrent),
            ended => *ended = Transaction::Ongoing([partition].into()),
        }
        let log = self.partitions.entry(partition).or_default();
        log.extend(records.into_iter().map(|record| Entry::Record(by, record)));
        Ok(())
    }

    /// Decides what becomes of the producer's transaction. The decision stands from here on; [`settle`](Self::settle) makes it
    /// visible.
    ///
    /// # Errors
    /// [`Error::Fenced`], and [`Error::Invalid`] where none is open that could end so. The same decision again is fine.
    pub fn end(&mut self, id: &str, by: Producer, commit: bool) -> Result<(), Error> {
        let state = self.state(id, by)?;
        match &state.transaction {
            Transaction::Ongoing(partitions) => {
                state.transaction = Transaction::Ending { commit, partitions: partitions.clone() };
                Ok(())
            }
            Transaction::Ended(before) if *before == commit => Ok(()),
            Transaction::Ending { commit: before, .. } if *before == commit => Err(Error::Concurrent),
            _ => Err(Error::Invalid),
        }
    }

    /// Writes the markers of all transactions that are decided.
    pub fn settle(&mut self) {
        for state in self.ids.values_mut() {
            if let Transaction::Ending { commit, partitions } = &state.transaction {
                for partition in partitions {
                    let marker = Entry::Marker(state.producer.id, *commit);
                    self.partitions.entry(*partition).or_default().push(marker);
                }
                state.transaction = Transaction::Ended(*commit);
            }
        }
    }

    /// The transaction of an id has been open for too long: it is aborted, and its producer fenced. For this there is always one
    /// epoch left: no producer ever gets the one behind [`LAST_EPOCH`].
    pub fn time_out(&mut self, id: &str) {
        if self.abort(id)
            && let Some(state) = self.ids.get_mut(id)
        {
            state.producer.epoch = state.producer.epoch.saturating_add(1);
        }
    }

    /// The producer whose transaction of an id is open.
    pub fn open(&self, id: &str) -> Option<Producer> {
        let state = self.ids.get(id)?;
        matches!(state.transaction, Transaction::Ongoing(_)).then_some(state.producer)
    }

    /// What a partition has.
    pub fn read(&self, partition: u32) -> Seen {
        let log = self.partitions.get(&partition).map_or(&[][..], Vec::as_slice);
        // The open transactions of producers, each with its records.
        let mut open: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        let mut committed = BTreeSet::new();
        for (offset, entry) in log.iter().enumerate() {
            match entry {
                Entry::Record(by, _) => open.entry(by.id).or_default().push(offset),
                Entry::Marker(id, commit) => {
                    let ended = open.remove(id).unwrap_or_default();
                    committed.extend(ended.into_iter().filter(|_| *commit));
                }
            }
        }
        let end = open.values().filter_map(|offsets| offsets.first()).min().map_or(log.len(), |first| *first);
        let seen = log[..end].iter().enumerate().filter_map(|(offset, entry)| match entry {
            Entry::Record(_, record) if committed.contains(&offset) => Some(record.clone()),
            Entry::Record(..) | Entry::Marker(..) => None,
        });
        Seen { records: seen.collect(), end, high: log.len() }
    }

    fn state(&mut self, id: &str, by: Producer) -> Result<&mut State, Error> {
        self.ids.get_mut(id).filter(|state| state.producer == by).ok_or(Error::Fenced)
    }

    /// Aborts what an id has open. Whether there was something.
    fn abort(&mut self, id: &str) -> bool {
        let Some(state) = self.ids.get_mut(id) else { return false };
        let Transaction::Ongoing(partitions) = &state.transaction else { return false };
        for partition in partitions {
            self.partitions.entry(*partition).or_default().push(Entry::Marker(state.producer.id, false));
        }
        state.transaction = Transaction::Ended(false);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_is_open_for_too_long_fences_its_producer_even_at_the_last_epoch() {
        let mut broker = Broker::default();
        for round in [0, i32::from(LAST_EPOCH)] {
            let mut by = broker.init("id");
            for _ in 0..round {
                by = broker.init("id");
            }
            let by = by.expect("nothing is being ended");
            broker.produce("id", by, 0, [Record::default()]).expect("it owns the id");
            broker.time_out("id");
            assert_eq!(broker.produce("id", by, 0, [Record::default()]), Err(Error::Fenced), "{by:?}");
            assert_eq!(broker.end("id", by, true), Err(Error::Fenced));
        }
        let next = broker.init("id").expect("nothing is being ended");
        assert_eq!(broker.end("id", next, true), Err(Error::Invalid));
        assert!(broker.read(0).records.is_empty());
    }
}
