//! Tasks joined by exchanges: everything arrives once and in order by key, nothing buffers without bound, control elements
//! keep their place.

mod native;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use flow_dataflow::call::{Blame, OnError};
use flow_dataflow::counters::Counters;
use flow_dataflow::exchange::{Reader, Wake, Writer, channel};
use flow_dataflow::function::{Answer, Kind};
use flow_dataflow::input_gate::InputGate;
use flow_dataflow::key_by::KeyBy;
use flow_dataflow::output_gate::{Edge, OutputGate, Partitioner};
use flow_dataflow::task::{Head, Link, Step, Tail, Task};
use flow_dataflow::{Barrier, Batch, Element, Error};
use flow_model::checkpoint::CheckpointId;
use flow_model::key_group::KeyGroups;
use flow_model::key_selector::KeySelector;
use native::{Collected, Given, Native, Told, records};

fn quiet() -> Wake {
    Arc::new(|| ())
}

fn source(batches: Vec<Batch>) -> Head {
    Head::Source(Box::new(Given(batches.into())), Arc::default())
}

fn sink(collected: &Collected) -> Tail {
    Tail::Sink(Box::new(collected.clone()), Arc::default())
}

fn by_value(width: usize, capacity: usize) -> (Edge, Vec<Reader>) {
    let (writers, readers): (Vec<Writer>, Vec<Reader>) =
        (0..width).map(|_| channel(capacity, quiet(), quiet())).unzip();
    let key_by = KeyBy::new(KeySelector::Value, Blame { on_error: OnError::Fail, report: Arc::new(Told::default()) });
    (Edge::new(Partitioner::Hash(key_by, KeyGroups::default()), writers), readers)
}

fn run(tasks: &mut [Task]) -> Result<(), Error> {
    for _ in 0..100_000 {
        for task in tasks.iter_mut() {
            task.step(0)?;
        }
        if tasks.iter().all(Task::is_finished) {
            return Ok(());
        }
    }
    panic!("the tasks do not come to an end");
}

#[test]
fn a_slow_sink_holds_back_the_source_and_nothing_is_lost() {
    let (edge, readers) = by_value(2, 64);
    let batches: Vec<Batch> =
        (0..9000).map(|i| records(&[(None, &format!("a{i}")), (None, &format!("b{i}"))])).collect();
    let mut upstream = Task::new(source(batches), vec![], Tail::Gate(OutputGate::new(vec![edge])), || 0);
    let mut steps = 0;
    while upstream.step(0).unwrap() == Step::Progress {
        steps += 1;
    }
    // A full batch in the queue, one before it, and what is left open.
    assert!((1024..3000).contains(&steps), "{steps} batches went into queues of 64 bytes");
    assert_eq!(upstream.step(0).unwrap(), Step::Blocked);

    let collected: Vec<Collected> = (0..2).map(|_| Collected { slow: 3, ..Collected::default() }).collect();
    let mut tasks = vec![upstream];
    for (reader, collected) in readers.into_iter().zip(&collected) {
        tasks.push(Task::new(Head::Gate(InputGate::new(vec![reader])), vec![], sink(collected), || 0));
    }
    run(&mut tasks).unwrap();
    let found: Vec<Vec<String>> = collected.iter().map(|c| c.values.lock().unwrap().clone()).collect();
    assert!(found.iter().all(|f| f.len() > 5000), "both subtasks get their share");
    assert_eq!(found.concat().len(), 18_000);
    for (subtask, values) in found.iter().enumerate() {
        let mut last = BTreeMap::new();
        for value in values {
            let groups = KeyGroups::default();
            assert_eq!(
                groups.subtask(groups.of(value.as_bytes()), 2).0 as usize,
                subtask,
                "{value} is at the wrong subtask"
            );
            let number: u32 = value[1..].parse().unwrap();
            assert!(last.insert(&value[..1], number).is_none_or(|before| before < number), "{value} came out of order");
        }
    }
}

#[test]
fn a_sink_gives_what_it_has_written() {
    let (writer, reader) = channel(1 << 20, quiet(), quiet());
    let (collected, counters) = (Collected::default(), Arc::<Counters>::default());
    let tail = Tail::Sink(Box::new(collected.clone()), counters.clone());
    let mut task = Task::new(Head::Gate(InputGate::new(vec![reader])), vec![], tail, || 0);
    for values in [&[(None, "a"), (None, "bc")][..], &[(None, "d")]] {
        assert!(writer.push(Element::Batch(records(values))).is_ok());
    }
    let mut given = |held: usize| {
        collected.held.store(held, Relaxed);
        while task.step(0).unwrap() == Step::Progress {}
        (counters.records_out.load(Relaxed), counters.bytes_out.load(Relaxed))
    };
    assert_eq!(given(3), (0, 0));
    assert_eq!(given(2), (0, 0), "half of a batch");
    assert_eq!(given(1), (2, 3));
    assert_eq!(given(0), (3, 4));
    assert_eq!(counters.records_in.load(Relaxed), 3);
}

#[test]
fn a_barrier_passes_after_what_came_before_it_and_snapshots_the_chain() {
    let (writer, reader) = channel(1 << 20, quiet(), quiet());
    let (other, other_reader) = channel(1 << 20, quiet(), quiet());
    let identity = Native::new(Kind::Map, &[], |_| Ok(Answer::default())).operator(OnError::Fail, Arc::default());
    let counters = Arc::<Counters>::default();
    let link = Link { name: "id".into(), operator: Box::new(identity), counters: Some(counters.clone()) };
    let collected = Collected::default();
    let mut task =
        Task::new(Head::Gate(InputGate::new(vec![reader, other_reader])), vec![link], sink(&collected), || 0);
    let batch = |name| Element::Batch(records(&[(None, name)]));
    let push = |writer: &Writer, element| assert!(writer.push(element).is_ok());
    push(&writer, batch("before"));
    push(&writer, Element::Barrier(Barrier::first(CheckpointId(7))));
    push(&writer, batch("after"));
    while task.step(0).unwrap() == Step::Progress {}
    assert_eq!(*collected.values.lock().unwrap(), ["before"], "a channel whose barrier came is not read on");
    assert_eq!(*collected.snapshots.lock().unwrap(), []);
    push(&other, batch("other"));
    push(&other, Element::EndOfInput);
    while task.step(0).unwrap() == Step::Progress {}
    assert_eq!(*collected.values.lock().unwrap(), ["before", "other", "after"]);
    assert_eq!(*collected.snapshots.lock().unwrap(), [Barrier::first(CheckpointId(7))]);
    push(&writer, Element::EndOfInput);
    while task.step(0).unwrap() == Step::Progress {}
    assert!(task.is_finished());
    assert_eq!(counters.records_in.load(Relaxed), 3);
}

#[test]
fn the_gate_takes_the_least_watermark_and_ended_channels_hold_nothing_up() {
    let (a, reader_a) = channel(1 << 20, quiet(), quiet());
    let (b, reader_b) = channel(1 << 20, quiet(), quiet());
    let mut gate = InputGate::new(vec![reader_a, reader_b]);
    let push = |writer: &Writer, element| assert!(writer.push(element).is_ok());
    let mut next = |expect: Option<i64>| match (gate.poll(), expect) {
        (Some(Element::Watermark(found)), Some(expect)) => assert_eq!(found, expect),
        (None, None) => {}
        (found, _) => panic!("{found:?}, not {expect:?}"),
    };
    push(&a, Element::Watermark(5));
    next(None);
    push(&b, Element::Watermark(3));
    next(Some(3));
    push(&b, Element::Watermark(2));
    next(None);
    push(&b, Element::EndOfInput);
    next(Some(5));
    push(&a, Element::EndOfInput);
    assert!(matches!(gate.poll(), Some(Element::EndOfInput)));
}

#[test]
fn both_ends_of_a_queue_are_woken_when_it_matters() {
    let (reader_woken, writer_woken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let count = |n: &Arc<AtomicU32>| -> Wake {
        let n = n.clone();
        Arc::new(move || assert!(n.fetch_add(1, Relaxed) < 100))
    };
    let (writer, reader) = channel(1, count(&reader_woken), count(&writer_woken));
    let batch = || Element::Batch(records(&[(None, "x")]));
    assert!(writer.push(batch()).is_ok());
    assert!(writer.push(batch()).is_err(), "full");
    assert!(writer.push(Element::Watermark(1)).is_ok(), "control always fits");
    assert_eq!((reader_woken.load(Relaxed), writer_woken.load(Relaxed)), (1, 0));
    assert!(matches!(reader.pop(), Some(Element::Batch(_))));
    assert_eq!((reader_woken.load(Relaxed), writer_woken.load(Relaxed)), (1, 1));
    assert!(matches!(reader.pop(), Some(Element::Watermark(1))));
    assert!(reader.pop().is_none());
    assert_eq!(writer_woken.load(Relaxed), 1, "nobody waits any more");
}

#[test]
fn edges_of_one_task_get_everything_each() {
    let (hash, mut readers) = by_value(1, 1 << 20);
    let (writer, reader) = channel(1 << 20, quiet(), quiet());
    readers.push(reader);
    let gate = OutputGate::new(vec![hash, Edge::new(Partitioner::Forward, vec![writer])]);
    let upstream = Task::new(source(vec![records(&[(None, "x"), (None, "y")])]), vec![], Tail::Gate(gate), || 0);
    let collected = [Collected::default(), Collected::default()];
    let mut tasks = vec![upstream];
    for (reader, collected) in readers.into_iter().zip(&collected) {
        tasks.push(Task::new(Head::Gate(InputGate::new(vec![reader])), vec![], sink(collected), || 0));
    }
    run(&mut tasks).unwrap();
    for collected in &collected {
        assert_eq!(*collected.values.lock().unwrap(), ["x", "y"]);
    }
}

/// Batches that came out, and their rows.
fn rows(readers: &[Reader]) -> Vec<usize> {
    let popped = readers.iter().flat_map(|reader| std::iter::from_fn(|| reader.pop()));
    popped.filter_map(|element| if let Element::Batch(batch) = element { Some(batch.rows()) } else { None }).collect()
}

fn numbers(count: usize) -> Batch {
    let texts: Vec<String> = (0..count).map(|n| format!("{n:0100}")).collect();
    records(&texts.iter().map(|text| (None, text.as_str())).collect::<Vec<_>>())
}

#[test]
fn a_wide_exchange_keeps_large_batches_and_little_of_them() {
    let (edge, readers) = by_value(64, 1 << 30);
    let batches = vec![numbers(1024); 60];
    let size = batches[0].size();
    let mut task = Task::new(source(batches), vec![], Tail::Gate(OutputGate::new(vec![edge])), || 0);
    let (mut taken, mut given, mut most, mut all) = (0, 0, 0, Vec::new());
    while task.step(0).unwrap() == Step::Progress {
        taken += 1024;
        let came = rows(&readers);
        given += came.iter().sum::<usize>();
        most = most.max(taken.min(60 * 1024) - given);
        all.extend(came);
    }
    assert_eq!(given, 60 * 1024, "the end of input leaves nothing behind");
    assert!(all.len() * 100 < given, "{} batches of {given} rows", all.len());
    assert!(most * size / 1024 < (2 << 20) + size, "{most} rows were kept back");
}

#[test]
fn large_rows_fill_a_batch_before_there_are_many() {
    let (edge, readers) = by_value(2, 1 << 30);
    let text = "x".repeat(100_000);
    let batches = vec![records(&[(None, &text)]); 20];
    let mut task = Task::new(source(batches), vec![], Tail::Gate(OutputGate::new(vec![edge])), || 0);
    for _ in 0..6 {
        task.step(0).unwrap();
    }
    assert_eq!(rows(&readers), [2, 2, 2], "two keys and values pass 256 KiB");
}

#[test]
fn rows_wait_for_no_batch_to_fill_when_nothing_more_comes() {
    let (edge, readers) = by_value(8, 1 << 20);
    let (writer, reader) = channel(1 << 20, quiet(), quiet());
    let head = Head::Gate(InputGate::new(vec![reader]));
    let mut task = Task::new(head, vec![], Tail::Gate(OutputGate::new(vec![edge])), || 0);
    for _ in 0..3 {
        assert!(writer.push(Element::Batch(numbers(40))).is_ok());
    }
    while task.step(0).unwrap() == Step::Progress {
        assert_eq!(rows(&readers), [0; 0], "there may be more");
    }
    let came = rows(&readers);
    assert_eq!((came.len(), came.iter().sum::<usize>()), (8, 120));
}

#[test]
fn a_reader_with_nothing_else_does_not_wait_long_for_a_batch_to_fill() {
    // A millisecond a look.
    static CLOCK: AtomicU64 = AtomicU64::new(0);
    let stopwatch = || CLOCK.fetch_add(1_000_000, Relaxed);
    let (edge, readers) = by_value(2, 1 << 20);
    let batches: Vec<Batch> = (0..1000).map(|_| numbers(10)).collect();
    let mut task = Task::new(source(batches), vec![], Tail::Gate(OutputGate::new(vec![edge])), stopwatch);
    let mut steps = 0;
    while readers.iter().any(Reader::is_empty) {
        assert_eq!(task.step(0).unwrap(), Step::Progress);
        steps += 1;
        assert!(steps < 12, "10 ms are over");
    }
    // While they have something to read, their batches fill.
    for _ in 0..60 {
        assert_eq!(task.step(0).unwrap(), Step::Progress);
    }
    let came = rows(&readers);
    assert_eq!(came.len(), 2, "{came:?}");
}
