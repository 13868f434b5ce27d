//! Exactly once through lanes: what is confirmed is written once, whatever is dropped, killed or wakes late. Judged by a reader of
//! committed records.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes as Buffer;
use flow_dataflow::lane::{Identity, Settled};
use flow_dataflow::{Barrier, Error, Sink};
use flow_e2e::transactions::{Transactions, error};
use flow_model::checkpoint::snapshot::{Node, Output, Progress, Snapshot};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Incarnation, ObjectName};
use flow_model::ids::{OperatorName, PipelineName};
use flow_worker::kafka::lane::{Got, LaneEvent, LaneSet, LaneSink, Laying, PartStore, Stored};
use flow_worker::kafka::{Settings, Share, Writing};

use rdkafka::admin::{AlterConfig, ResourceSpecifier};

use crate::broker::{Broker, TEN, free_port, wait};
use crate::epochs::Burner;
use crate::record::*;

/// Objects in memory, stored and read at once.
#[derive(Default)]
struct Store(Mutex<HashMap<ObjectName, Buffer>>);

impl PartStore for Store {
    fn put(&self, name: ObjectName, bytes: Buffer, done: Stored) {
        let before = self.0.lock().expect("no panic").insert(name, bytes);
        assert!(before.is_none(), "a name is used twice");
        done(Ok(()));
    }

    fn get(&self, chunk: Chunk, done: Got) {
        let found = self.0.lock().expect("no panic").get(&chunk.object).cloned();
        done(found.ok_or_else(|| Error::Fatal(format!("no object {}", chunk.object))));
    }
}

/// What outlives a process: the store, HEAD.
struct Job<'a> {
    broker: &'a Broker,
    topic: String,
    store: Arc<Store>,
    laying: Laying,
}

const SUBTASKS: u32 = 2;

impl<'a> Job<'a> {
    fn new(broker: &'a Broker, name: &str, topic: String) -> Job<'a> {
        let connection = to(&broker.address, &[]);
        let laying = Laying {
            writing: Writing::whole(topic.clone(), Settings::writing(&connection).expect("allowed")),
            connection,
            pipeline: PipelineName::new(name).expect("a name"),
            sink: OperatorName::new("out").expect("a name"),
            incarnation: Incarnation::of(7),
            anew: false,
            attempt: Attempt(0),
            restored: CheckpointId::NONE,
            node: Node::default(),
            lanes: vec![0],
            dead_letter: None,
            memory: 64 << 20,
        };
        Job { broker, topic, store: Arc::default(), laying }
    }

    /// The next attempt goes on from what is confirmed.
    fn start(&mut self) -> Running {
        self.laying.attempt.0 += 1;
        let (tell, events) = channel();
        let tell = Mutex::new(tell);
        let tell = Arc::new(move |event| _ = tell.lock().expect("no panic").send(event));
        let told = Arc::new(|text: &str| println!("{text}"));
        let set = LaneSet::open(self.laying.clone(), self.store.clone(), tell, told).expect("good settings");
        let sink = |subtask| {
            let share = Share { subtask, parallelism: SUBTASKS };
            set.sink(share, 0, skipping().0, no_wake(), warnings().0).expect("its lane is there")
        };
        let sinks = (0..SUBTASKS).map(sink).collect();
        Running { sinks, set, events, attempt: self.laying.attempt, counter: 0, settled: None, acked: BTreeMap::new() }
    }

    /// A checkpoint that is complete, and confirmed in HEAD; the lanes are not told.
    fn checkpoint(&mut self, running: &mut Running) -> CheckpointId {
        let id = running.barrier(SUBTASKS as usize);
        let acked =
            running.until(|running| running.acked.get(&id).filter(|acked| acked.len() == SUBTASKS as usize).cloned());
        let subtasks = acked.into_values().map(|output| Snapshot { output: Some(output), ..Snapshot::default() });
        let progress = running.settled.and_then(|settled| settled.progress);
        self.laying.node = Node {
            subtasks: subtasks.collect(),
            lanes: progress.map(|progress| (0, progress)).into_iter().collect(),
            ..Node::default()
        };
        self.laying.restored = id;
        id
    }

    /// What a reader of committed records sees, sorted: exactly these.
    #[track_caller]
    fn expect(&self, partitions: i32, n: usize) -> Vec<Record> {
        let mut all: Vec<Record> =
            judge_reads(self.broker, &self.topic, partitions, n).into_iter().map(|(_, record)| record).collect();
        all.sort();
        all
    }

    #[track_caller]
    fn expect_texts(&self, n: usize) {
        let mut texts: Vec<usize> =
            self.expect(1, n).iter().map(|record| record.text()[1..].parse().expect("a number")).collect();
        texts.sort_unstable();
        assert_eq!(texts, (0..n).collect::<Vec<_>>());
    }
}

struct Running {
    sinks: Vec<LaneSink>,
    set: LaneSet,
    events: Receiver<LaneEvent>,
    attempt: Attempt,
    counter: u32,
    settled: Option<Settled>,
    acked: BTreeMap<CheckpointId, BTreeMap<u32, Output>>,
}

impl Running {
    fn take(&mut self, subtask: usize, records: &[Record]) {
        let sink = &mut self.sinks[subtask];
        ready(sink).expect("it takes more");
        sink.write(batch(records)).expect("taken");
        ready(sink).expect("it takes more");
    }

    /// Numbered records, alternately by the one and the other subtask.
    fn take_numbered(&mut self, numbers: std::ops::Range<usize>) {
        for n in numbers {
            self.take(n % SUBTASKS as usize, &[Record::new(Some(&format!("k{}", n % 10)), Some(&format!("v{n}")))]);
        }
    }

    fn barrier(&mut self, reached: usize) -> CheckpointId {
        self.counter += 1;
        let checkpoint = CheckpointId::new(self.attempt, self.counter);
        for sink in &mut self.sinks[..reached] {
            ready(sink).expect("it takes more");
            sink.snapshot(Barrier::first(checkpoint)).expect("sealed");
        }
        checkpoint
    }

    /// Takes events until there is what is looked for.
    #[track_caller]
    fn until<T>(&mut self, look: impl Fn(&Running) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            match self.events.recv_timeout(6 * TEN).expect("something happens") {
                LaneEvent::Acked { subtask, checkpoint, output } => {
                    self.acked.entry(checkpoint).or_default().insert(subtask, output);
                }
                LaneEvent::Settled { settled, .. } => self.settled = Some(settled),
                other => panic!("{other:?}"),
            }
        }
    }

    #[track_caller]
    fn until_settled(&mut self, checkpoint: CheckpointId) {
        self.until(|running| running.settled.filter(|settled| settled.through >= checkpoint));
    }

    /// The failure that comes instead of anything else.
    fn failure(&self) -> String {
        loop {
            match self.events.recv_timeout(6 * TEN).expect("something happens") {
                LaneEvent::Failed(error) => return error.to_string(),
                LaneEvent::Exited { higher, .. } => return format!("left for {higher}"),
                LaneEvent::Acked { .. } | LaneEvent::Settled { .. } => {}
            }
        }
    }
}

fn ready(sink: &mut LaneSink) -> Result<(), Error> {
    let begun = Instant::now();
    while !sink.ready()? {
        assert!(begun.elapsed() < 6 * TEN, "not ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Milliseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

#[test]
fn records_come_as_they_are_when_their_checkpoint_is_confirmed() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "as-they-are", broker.topic(3, &[]));
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    let now = now();
    let stamped = Record { timestamp: Some(now), ..Record::new(Some("stamped"), None) };
    let headers = vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None)];
    let with_headers = Record { timestamp: Some(now), headers, ..Record::new(None, Some("headers")) };
    let one = [stamped, with_headers.clone()];
    let two = [Record { timestamp: Some(now - 1), ..Record::new(Some("k"), Some("plain")) }];
    running.take(0, &one);
    running.take(1, &two);
    assert_eq!(running.sinks.iter().map(Sink::unwritten).collect::<Vec<_>>(), [2, 1]);
    // The end of the input does not wait for the barrier behind it.
    assert!(running.sinks.iter_mut().all(|sink| sink.finish().expect("nothing failed")));
    let checkpoint = job.checkpoint(&mut running);
    job.expect(3, 0);
    running.set.confirm(checkpoint);
    running.until_settled(checkpoint);
    let mut written: Vec<Record> = one.iter().chain(&two).cloned().collect();
    written.sort();
    assert_eq!(job.expect(3, 3), written);
    assert_eq!(running.sinks.iter().map(Sink::unwritten).collect::<Vec<_>>(), [0, 0]);
    // A checkpoint without output is settled at once, and needs no transaction.
    let before = running.settled.and_then(|settled| settled.progress);
    let empty = job.checkpoint(&mut running);
    running.set.confirm(empty);
    running.until_settled(empty);
    assert_eq!(running.settled.and_then(|settled| settled.progress), before);
    assert_eq!(before, Some(Progress { checkpoint, part: 2 }));
}

/// Each attempt is dropped somewhere else: before anything is settled, between ack and confirmation, with the commit under
/// way. The next one goes on from what was confirmed.
#[test]
fn attempts_that_end_anywhere_lose_and_repeat_nothing() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "anywhere", broker.topic(1, &[]));
    let mut total = 0;
    for round in 0..12u64 {
        let mut running = job.start();
        if round % 4 == 3 {
            // It never gets to be settled.
            std::thread::sleep(Duration::from_millis(17 * round));
            continue;
        }
        running.until_settled(job.laying.restored);
        for _ in 0..2 {
            running.take_numbered(total..total + 10);
            if round % 3 == 0 {
                // Aborted: one subtask has sealed what the next checkpoint names.
                running.barrier(1);
            }
            running.take_numbered(total + 10..total + 20);
            total += 20;
            let checkpoint = job.checkpoint(&mut running);
            if round % 4 != 2 {
                running.set.confirm(checkpoint);
            }
        }
        // Not confirmed, and so never written by this attempt; the next one takes them again.
        running.take_numbered(total..total + 5);
        std::thread::sleep(Duration::from_millis(7 * round));
    }
    let mut last = job.start();
    last.until_settled(job.laying.restored);
    job.expect_texts(total);
}

/// Two attempts at once: the older one has confirmed output of which it does not know yet that it is another's by now.
#[test]
fn an_attempt_that_wakes_late_leaves() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "late", broker.topic(1, &[]));
    let mut old = job.start();
    old.until_settled(CheckpointId::NONE);
    old.take_numbered(0..10);
    let checkpoint = job.checkpoint(&mut old);
    let mut new = job.start();
    new.until_settled(checkpoint);
    old.set.confirm(checkpoint);
    assert_eq!(old.failure(), "left for 2");
    new.take_numbered(10..20);
    let next = job.checkpoint(&mut new);
    new.set.confirm(next);
    new.until_settled(next);
    job.expect_texts(20);
}

/// Where the epochs of a producer end, a broker gives a new producer. The lane gets there with output that is confirmed and not
/// written, and goes on past it, in the same attempt and in a new one.
#[test]
#[ignore = "half a minute: there are 32,767 epochs"]
fn epochs_that_end_lose_and_repeat_nothing() {
    const LAST: i16 = i16::MAX - 8;
    let broker = Broker::shared();
    let mut job = Job::new(broker, "epochs", broker.topic(1, &[]));
    let identity = Identity { incarnation: job.laying.incarnation.clone(), sink: job.laying.sink.clone(), index: 0 };
    let mut burner = Burner::connect(&broker.address, &identity.transactional_id());
    let (mut running, mut total) = (job.start(), 0);
    running.until_settled(CheckpointId::NONE);
    let first = burner.init();
    let before = loop {
        let producer = burner.init();
        if producer.epoch >= LAST {
            break producer;
        }
    };
    assert_eq!(first.id, before.id);
    for round in 0..24 {
        if round % 6 == 5 {
            drop(running);
            running = job.start();
            running.until_settled(job.laying.restored);
        }
        running.take_numbered(total..total + 10);
        total += 10;
        let checkpoint = job.checkpoint(&mut running);
        running.set.confirm(checkpoint);
        // A new attempt finds what the old one did not get to.
        if round % 6 != 4 {
            running.until_settled(checkpoint);
        }
    }
    let after = burner.init();
    assert!(after.id != before.id, "{before:?} and {after:?}: the end was not reached");
    job.expect_texts(total);
}

/// What lies in memory is bounded: the rest is read back from the store, whole or not at all.
#[test]
fn parts_without_room_are_read_back() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "read-back", broker.topic(1, &[]));
    job.laying.memory = 0;
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    running.take_numbered(0..50);
    let checkpoint = job.checkpoint(&mut running);
    running.set.confirm(checkpoint);
    running.until_settled(checkpoint);
    running.take_numbered(50..60);
    job.checkpoint(&mut running);
    drop(running);
    job.expect_texts(50);
    {
        let mut store = job.store.0.lock().expect("no panic");
        for bytes in store.values_mut() {
            *bytes = bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into();
        }
    }
    let text = job.start().failure();
    assert!(text.contains("is damaged") && text.contains("restore an earlier"), "{text}");
}

#[test]
fn what_a_topic_would_not_take_is_refused_when_it_comes() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[("cleanup.policy", "compact"), ("max.message.bytes", "5000")]);
    let mut job = Job::new(broker, "refused", topic);
    let running = job.start();
    let (blame, told) = skipping();
    let share = Share { subtask: 2, parallelism: 3 };
    let mut sink = running.set.sink(share, 0, blame, no_wake(), warnings().0).expect("its lane is there");
    ready(&mut sink).expect("open");
    let large = Record { value: Some(vec![7; 6000]), ..Record::new(Some("large"), None) };
    let far = Record { timestamp: Some(i64::MAX / 2), ..Record::new(Some("far"), Some("v")) };
    let records = [Record::new(None, Some("no key")), large, far, Record::new(Some("fine"), Some("v"))];
    sink.write(batch(&records)).expect("taken");
    assert_eq!((sink.refused().rows, sink.unwritten()), (3, 1));
    let told = told.0.lock().expect("no panic").clone();
    let says = |code: &str, part: &str| told.iter().any(|text| text.contains(code) && text.contains(part));
    assert!(says("no-key", "is compacted"), "{told:?}");
    assert!(says("too-large", "which is 5000"), "{told:?}");
    assert!(says("bad-timestamp", "message.timestamp.after.max.ms"), "{told:?}");
}

/// Sets a limit of a topic so low that `size` bytes are too many, behind the back of whoever asked before.
pub fn lower_limit(broker: &Broker, topic: &str, size: &str) {
    let (admin, name, topic) = (broker.admin(), "max.message.bytes", ResourceSpecifier::Topic(topic));
    let lower = AlterConfig::new(topic).set(name, size);
    wait(admin.alter_configs([&lower], &Default::default())).expect("the broker answers");
    let is_lower = || {
        let found = wait(admin.describe_configs([&topic], &Default::default())).expect("the broker answers");
        let found = found.into_iter().next().expect("one was asked for").expect("it is there");
        found.get(name).is_some_and(|entry| entry.value.as_deref() == Some(size))
    };
    let begun = Instant::now();
    while !is_lower() {
        assert!(begun.elapsed() < 6 * TEN, "the limit stays");
        std::thread::sleep(Duration::from_millis(10));
    }
    // It is known a moment before it is kept to.
    std::thread::sleep(Duration::from_millis(500));
}

/// Takes records that do not compress, some of them large, and confirms them when their topic takes large ones no more.
fn sealed_before_a_limit<'a>(broker: &'a Broker, name: &str) -> (Job<'a>, Vec<Record>, String) {
    let mut job = Job::new(broker, name, broker.topic(1, &[]));
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut records, now) = (Vec::new(), now());
    for n in 0..200usize {
        let mut value = vec![0; if n % 50 == 20 { 20_000 } else { 100 }];
        random.fill(&mut value);
        let headers = vec![("n".to_owned(), Some(n.to_string().into_bytes()))];
        let timestamp = Some(now - n as i64);
        records.push(Record { value: Some(value), headers, timestamp, ..Record::new(Some(&format!("k{n}")), None) });
    }
    running.take(0, &records[..100]);
    running.take(1, &records[100..]);
    let checkpoint = job.checkpoint(&mut running);
    lower_limit(broker, &job.topic, "8000");
    running.set.confirm(checkpoint);
    (job, records, running.failure())
}

#[test]
fn what_a_topic_takes_no_more_fails_the_lane_or_is_a_dead_letter() {
    let broker = Broker::shared();
    let (mut job, records, text) = sealed_before_a_limit(broker, "letters");
    for part in [
        &job.topic,
        "partition 0",
        "record 20 of the part",
        "too large",
        "max.message.bytes",
        "flowctl sink settle FILE --dead-letter TOPIC, with the file of letters",
    ] {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    let dead = broker.topic(2, &[]);
    job.laying.dead_letter = Some(dead.clone());
    let (checkpoint, mut running) = (job.laying.restored, job.start());
    running.until_settled(checkpoint);
    let (mut fine, mut large): (Vec<Record>, Vec<Record>) =
        records.into_iter().partition(|record| record.value.as_ref().is_some_and(|value| value.len() < 1000));
    fine.sort();
    assert_eq!(job.expect(1, fine.len()), fine);
    let mut letters: Vec<Record> =
        judge_reads(broker, &dead, 2, large.len()).into_iter().map(|(_, record)| record).collect();
    for letter in &mut letters {
        let told: BTreeMap<String, String> = letter
            .headers
            .extract_if(.., |(name, _)| name.starts_with("flow.error."))
            .map(|(name, value)| (name, String::from_utf8(value.expect("a text")).expect("UTF-8")))
            .collect();
        for (name, value) in [
            ("code", "too-large"),
            ("target-topic", &job.topic),
            ("target-partition", "0"),
            ("pipeline", "letters"),
            ("operator", "out"),
            ("lane", "0"),
        ] {
            assert_eq!(told[&format!("flow.error.{name}")], value, "{told:?}");
        }
    }
    large.sort();
    letters.sort();
    assert_eq!(letters, large, "without what is told of them they are the records");
    // It is settled: the next attempt has nothing to write.
    drop(running);
    job.laying.dead_letter = None;
    job.start().until_settled(checkpoint);
    job.expect(1, fine.len());
}

/// A lower limit that each record still fits in costs smaller batches, and nothing else.
#[test]
fn a_limit_lowered_to_what_records_fit_in_is_kept_to() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "lowered", broker.topic(1, &[("compression.type", "uncompressed")]));
    job.laying.connection = to(&broker.address, &[("compression.type", "none")]);
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    running.take_numbered(0..2000);
    let checkpoint = job.checkpoint(&mut running);
    lower_limit(broker, &job.topic, "3000");
    running.set.confirm(checkpoint);
    running.until_settled(checkpoint);
    job.expect_texts(2000);
}

/// A topic of the sink is gone: what was for it are dead letters, and a topic for them has to be there.
#[test]
fn what_was_for_a_topic_that_is_gone_is_a_dead_letter() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "gone", broker.topic(1, &[]));
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    running.take_numbered(0..20);
    job.checkpoint(&mut running);
    drop(running);
    wait(broker.admin().delete_topics(&[&job.topic], &Default::default())).expect("the broker answers");
    job.laying.connection = to(&broker.address, &[("topic.metadata.propagation.max.ms", "1000")]);
    let text = job.start().failure();
    assert!(text.contains(&job.topic) && text.contains("with the file of gone"), "{text}");
    job.laying.dead_letter = Some("no-such-topic".to_owned());
    let text = job.start().failure();
    assert!(text.contains("\"no-such-topic\" for dead letters does not exist"), "{text}");
    let dead = broker.topic(1, &[]);
    job.laying.dead_letter = Some(dead.clone());
    let (checkpoint, mut running) = (job.laying.restored, job.start());
    running.until_settled(checkpoint);
    assert_eq!(judge_reads(broker, &dead, 1, 20).len(), 20);
}

#[test]
fn a_progress_topic_that_may_forget_is_refused() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "forgets", broker.topic(1, &[]));
    let new = rdkafka::admin::NewTopic::new("flow-progress.forgets.out", 1, rdkafka::admin::TopicReplication::Fixed(1));
    wait(broker.admin().create_topics([&new], &Default::default())).expect("the broker answers");
    let text = job.start().failure();
    for part in ["flow-progress.forgets.out", "cleanup.policy=compact", "kafka-configs --alter"] {
        assert!(text.contains(part), "{text}");
    }
}

/// The progress topic is gone with what it said.
#[test]
fn lost_progress_is_told_and_nothing_is_written() {
    let broker = Broker::shared();
    let mut job = Job::new(broker, "lost", broker.topic(1, &[]));
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    running.take_numbered(0..10);
    let first = job.checkpoint(&mut running);
    running.set.confirm(first);
    running.until_settled(first);
    job.checkpoint(&mut running);
    drop(running);
    wait(broker.admin().delete_topics(&["flow-progress.lost.out"], &Default::default())).expect("the broker answers");
    let text = job.start().failure();
    assert!(text.contains("nothing is written") && text.contains("--reset-progress"), "{text}");
    job.expect_texts(10);
}

/// The broker does not answer until the records of a transaction have waited as long as it may take.
#[test]
fn a_transaction_that_takes_too_long_is_made_anew() {
    let broker = Broker::start(free_port());
    let mut job = Job::new(&broker, "slow", broker.topic(1, &[]));
    job.laying.connection = to(&broker.address, &[("transaction.timeout.ms", "2000")]);
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    running.take_numbered(0..2000);
    let checkpoint = job.checkpoint(&mut running);
    broker.signal("STOP");
    running.set.confirm(checkpoint);
    std::thread::sleep(Duration::from_secs(5));
    broker.signal("CONT");
    running.until_settled(checkpoint);
    job.expect_texts(2000);
}

#[test]
fn a_broker_that_dies_in_a_transaction_is_waited_for() {
    let broker = Broker::start(free_port());
    let mut job = Job::new(&broker, "dies", broker.topic(1, &[]));
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    for round in 0..3usize {
        running.take_numbered(round * 2000..(round + 1) * 2000);
        let checkpoint = job.checkpoint(&mut running);
        running.set.confirm(checkpoint);
        std::thread::sleep(Duration::from_millis(round as u64 * 4));
        broker.kill();
        std::thread::sleep(Duration::from_millis(300));
        broker.start_again();
        running.until_settled(checkpoint);
        // A broker that is killed between a commit and its markers forgets these when it is alone (Kafka 4.3 and 4.4): a coordinator
        // that is just starting takes partitions without a leader for deleted ones, and the transaction hangs for ever.
        job.expect_texts((round + 1) * 2000);
    }
}

/// Records of a lane's producer that belong to no transaction any more: what a broker that was killed alone may leave of one.
struct LeftOpen {
    raw: Transactions,
    id: String,
    producer: (i64, i16),
}

impl LeftOpen {
    /// A broker that does not check who has added a partition to a transaction: one that was killed forgets it too.
    fn broker() -> Broker {
        Broker::with(free_port(), |_| "transaction.partition.verification.enable=false\n".to_owned())
    }

    fn new(job: &Job<'_>) -> LeftOpen {
        let id = identity(job).transactional_id();
        let (mut raw, begun) = (Transactions::connect(&job.broker.address), Instant::now());
        loop {
            match raw.init(&id) {
                Ok(producer) => return LeftOpen { raw, id, producer },
                Err(error::CONCURRENT_TRANSACTIONS) if begun.elapsed() < TEN => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(code) => panic!("{code}"),
            }
        }
    }

    fn add(&mut self, topic: &str, partition: i32, key: &str, value: &str) {
        let record = (key.as_bytes(), value.as_bytes());
        self.raw.produce(&self.id, self.producer, (topic, partition, 0), record).expect("taken");
        let (stable, end) = self.raw.ends(topic, partition);
        assert!(stable < end, "it is not left open");
    }
}

fn identity(job: &Job<'_>) -> Identity {
    Identity { incarnation: job.laying.incarnation.clone(), sink: job.laying.sink.clone(), index: 0 }
}

/// A job that has written one record, and is not running.
fn with_a_record<'a>(broker: &'a Broker, name: &str) -> (Job<'a>, CheckpointId) {
    let mut job = Job::new(broker, name, broker.topic(2, &[]));
    let mut running = job.start();
    running.until_settled(CheckpointId::NONE);
    running.take(0, &[Record::new(Some("a"), Some("first"))]);
    let checkpoint = job.checkpoint(&mut running);
    running.set.confirm(checkpoint);
    running.until_settled(checkpoint);
    (job, checkpoint)
}

/// It goes on, with records for both partitions. All that is there then.
fn go_on(job: &mut Job<'_>, from: CheckpointId, n: usize) -> Vec<String> {
    let mut next = job.start();
    next.until_settled(from);
    let records: Vec<Record> =
        (0..20).map(|n| Record::new(Some(&format!("k{n}")), Some(&format!("second {n}")))).collect();
    next.take(0, &records);
    let checkpoint = job.checkpoint(&mut next);
    next.set.confirm(checkpoint);
    next.until_settled(checkpoint);
    job.expect(2, n).iter().map(Record::text).map(str::to_owned).collect()
}

/// The commit of the lane's next transaction there would commit them too.
#[test]
fn records_that_a_broker_left_open_are_never_committed() {
    let broker = LeftOpen::broker();
    let (mut job, checkpoint) = with_a_record(&broker, "left-open");
    let mut left = LeftOpen::new(&job);
    (0..2).for_each(|partition| left.add(&job.topic, partition, "a", "left open"));
    let texts = go_on(&mut job, checkpoint, 21);
    assert!(!texts.iter().any(|text| text == "left open"), "{texts:?}");
}

/// The transaction had got as far as its progress, and nobody was told that it is committed.
#[test]
fn a_progress_that_a_broker_left_open_is_aborted_with_its_records() {
    let broker = LeftOpen::broker();
    let (mut job, checkpoint) = with_a_record(&broker, "left-progress");
    let mut running = job.start();
    running.until_settled(checkpoint);
    running.take(0, &[Record::new(Some("a"), Some("sealed"))]);
    let next = job.checkpoint(&mut running);
    drop(running);
    let (key, value) = identity(&job).progress(Progress { checkpoint: next, part: 1 });
    let mut left = LeftOpen::new(&job);
    let partition = flow_worker::kafka::murmur2::partition(b"a", 2) as i32;
    left.add(&job.topic, partition, "a", "sealed");
    left.add(&job.laying.progress_topic(), 0, &key, &value);
    let texts = go_on(&mut job, next, 22);
    assert_eq!(texts.iter().filter(|text| *text == "sealed").count(), 1, "{texts:?}");
}

/// Somebody was told that it is committed: a checkpoint says so, and does not carry its records any more.
#[test]
fn a_progress_that_a_broker_left_open_is_committed_where_it_was_told_to_be() {
    let broker = LeftOpen::broker();
    let (mut job, checkpoint) = with_a_record(&broker, "told-progress");
    let told = Progress { checkpoint: CheckpointId(checkpoint.0 + 1), part: 1 };
    let (key, value) = identity(&job).progress(told);
    let mut left = LeftOpen::new(&job);
    left.add(&job.topic, flow_worker::kafka::murmur2::partition(b"a", 2) as i32, "a", "told");
    left.add(&job.laying.progress_topic(), 0, &key, &value);
    job.laying.restored = told.checkpoint;
    job.laying.node = Node { lanes: BTreeMap::from([(0, told)]), ..Node::default() };
    let texts = go_on(&mut job, told.checkpoint, 22);
    assert_eq!(texts.iter().filter(|text| *text == "told").count(), 1, "{texts:?}");
}
