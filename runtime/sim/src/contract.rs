//! What a broker's transactions do, whoever asks: one suite, run on the model and on a real Kafka, so that what is proven on the
//! model says something about the real one.

use crate::broker::{Error, LAST_EPOCH, Producer, Record, Seen};

/// A broker with one topic, of as many partitions as the suite asks for: two. Requests are single ones: nothing is tried again.
pub trait Transactions {
    /// As [`Broker::init`](crate::Broker::init).
    ///
    /// # Errors
    /// As there.
    fn init(&mut self, id: &str) -> Result<Producer, Error>;

    /// As [`Broker::produce`](crate::Broker::produce), one record a call, the `sequence`th of the producer in the partition.
    ///
    /// # Errors
    /// As there.
    fn produce(&mut self, id: &str, by: Producer, partition: u32, sequence: i32, record: Record) -> Result<(), Error>;

    /// As [`Broker::end`](crate::Broker::end).
    ///
    /// # Errors
    /// As there.
    fn end(&mut self, id: &str, by: Producer, commit: bool) -> Result<(), Error>;

    /// What a partition has.
    fn read(&mut self, partition: u32) -> Seen;

    /// Lets time pass.
    fn pass(&mut self);
}

impl Transactions for crate::Broker {
    fn init(&mut self, id: &str) -> Result<Producer, Error> {
        crate::Broker::init(self, id)
    }

    fn produce(&mut self, id: &str, by: Producer, partition: u32, _: i32, record: Record) -> Result<(), Error> {
        crate::Broker::produce(self, id, by, partition, [record])
    }

    fn end(&mut self, id: &str, by: Producer, commit: bool) -> Result<(), Error> {
        crate::Broker::end(self, id, by, commit)
    }

    fn read(&mut self, partition: u32) -> Seen {
        crate::Broker::read(self, partition)
    }

    fn pass(&mut self) {
        self.settle();
    }
}

/// How often a request is made again that only has to wait.
const PATIENCE: usize = 1000;

fn patient<T>(broker: &mut impl Transactions, mut request: impl FnMut(&mut dyn Transactions) -> Result<T, Error>) -> T {
    for _ in 0..PATIENCE {
        match request(broker) {
            Ok(answer) => return answer,
            Err(Error::Concurrent) => broker.pass(),
            Err(error) => panic!("a request that should work: {error}"),
        }
    }
    panic!("a transaction that does not end")
}

fn init(broker: &mut impl Transactions, id: &str) -> Producer {
    patient(broker, |broker| broker.init(id))
}

fn write(broker: &mut impl Transactions, (id, by): (&str, Producer), partition: u32, sequence: i32, text: &str) {
    let record = Record { key: Vec::new(), value: text.as_bytes().to_vec() };
    patient(broker, |broker| broker.produce(id, by, partition, sequence, record.clone()));
}

fn end(broker: &mut impl Transactions, (id, by): (&str, Producer), commit: bool) {
    patient(broker, |broker| broker.end(id, by, commit));
}

/// The committed texts of a partition, when nothing is about to end any more.
fn texts(broker: &mut impl Transactions, partition: u32) -> Vec<String> {
    let text = |record: Record| String::from_utf8_lossy(&record.value).into_owned();
    broker.read(partition).records.into_iter().map(text).collect()
}

/// Reads until a partition has these.
fn expect(broker: &mut impl Transactions, partition: u32, expected: &[&str]) {
    for _ in 0..PATIENCE {
        if texts(broker, partition) == expected {
            return;
        }
        broker.pass();
    }
    assert_eq!(texts(broker, partition), expected);
}

/// Init aborts what an older producer has open, and fences it.
pub fn init_fences(broker: &mut impl Transactions) {
    let old = init(broker, "fences");
    write(broker, ("fences", old), 0, 0, "lost");
    let new = init(broker, "fences");
    assert!(new > old, "{new:?} after {old:?}");
    let record = Record { key: Vec::new(), value: b"zombie".to_vec() };
    assert_eq!(broker.produce("fences", old, 0, 1, record), Err(Error::Fenced));
    assert_eq!(broker.end("fences", old, true), Err(Error::Fenced));
    write(broker, ("fences", new), 0, 0, "kept");
    end(broker, ("fences", new), true);
    expect(broker, 0, &["kept"]);
}

/// The request that ends a transaction names none: one that is late ends the next, half written.
pub fn late_end_commits_half(broker: &mut impl Transactions) {
    let by = init(broker, "late");
    write(broker, ("late", by), 0, 0, "first");
    end(broker, ("late", by), true);
    write(broker, ("late", by), 0, 1, "half");
    // The first request again, which the client has long given up.
    end(broker, ("late", by), true);
    expect(broker, 0, &["first", "half"]);
    // After an init it does nothing.
    let next = init(broker, "late");
    write(broker, ("late", next), 0, 0, "open");
    assert_eq!(broker.end("late", by, true), Err(Error::Fenced));
    expect(broker, 0, &["first", "half"]);
    end(broker, ("late", next), false);
    expect(broker, 0, &["first", "half"]);
}

/// Who reads what is committed gets as far as the first record of what is open.
pub fn readers_stop_at_the_last_stable_offset(broker: &mut impl Transactions) {
    let (slow, quick) = (init(broker, "slow"), init(broker, "quick"));
    write(broker, ("slow", slow), 0, 0, "open");
    write(broker, ("quick", quick), 0, 0, "behind it");
    write(broker, ("quick", quick), 1, 0, "elsewhere");
    end(broker, ("quick", quick), true);
    expect(broker, 1, &["elsewhere"]);
    let seen = broker.read(0);
    assert!(seen.records.is_empty() && seen.end < seen.high, "{seen:?}");
    end(broker, ("slow", slow), true);
    expect(broker, 0, &["open", "behind it"]);
    let seen = broker.read(0);
    assert_eq!(seen.end, seen.high);
}

/// Init never overtakes a transaction that is decided: what a reader finds after it is the decision.
pub fn init_waits_for_an_end_in_flight(broker: &mut impl Transactions) {
    for round in 0..20 {
        let by = init(broker, "waits");
        write(broker, ("waits", by), 0, 0, &round.to_string());
        assert_eq!(broker.end("waits", by, true), Ok(()));
        init(broker, "waits");
        let seen = broker.read(0);
        assert_eq!((seen.records.len(), seen.end), (round + 1, seen.high), "after init nothing is open: {seen:?}");
    }
}

/// When the epochs of a producer id are used up, init gives another one, and all older ones stay fenced.
pub fn epochs_run_out(broker: &mut impl Transactions) {
    let first = init(broker, "epochs");
    let mut last = first;
    while last.id == first.id {
        assert!(last.epoch <= LAST_EPOCH, "{last:?}");
        let next = init(broker, "epochs");
        assert!(next.id != last.id || next.epoch > last.epoch, "{next:?} after {last:?}");
        if next.id != first.id {
            assert_eq!((last.epoch, next.epoch), (LAST_EPOCH, 0));
            assert_eq!(broker.end("epochs", last, true), Err(Error::Fenced));
        }
        last = next;
    }
    write(broker, ("epochs", last), 0, 0, "after");
    end(broker, ("epochs", last), true);
    expect(broker, 0, &["after"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Broker;

    #[test]
    fn the_model_keeps_the_contract() {
        init_fences(&mut Broker::default());
        late_end_commits_half(&mut Broker::default());
        readers_stop_at_the_last_stable_offset(&mut Broker::default());
        init_waits_for_an_end_in_flight(&mut Broker::default());
        epochs_run_out(&mut Broker::default());
    }
}
