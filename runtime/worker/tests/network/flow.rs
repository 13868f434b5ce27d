//! What flows between workers: order, content, bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flow_dataflow::exchange::{Reader, Writer};
use flow_dataflow::input_gate::InputGate;
use flow_dataflow::output_gate::OutputGate;
use flow_dataflow::task::{Head, Tail, Task};
use flow_dataflow::{Barrier, Batch, Element};
use flow_model::channel::ChannelId;
use flow_model::checkpoint::CheckpointId;
use flow_model::key_selector::KeySelector;

use crate::nodes::{
    Alarm, Collected, Given, Node, PATIENCE, attempt, by, exchange, id, node, quiet, records, run, values,
};

fn pair(minimum: usize, pool: usize, pack_from: Option<usize>) -> [Node; 2] {
    let make = |name| {
        node(name, |options| {
            (options.minimum, options.pool, options.pack_from) = (minimum, pool, pack_from);
        })
    };
    [make("a"), make("b")]
}

/// A channel from the first to the second.
fn open(nodes: &[Node; 2], id: &ChannelId) -> (Writer, Reader) {
    let writer = nodes[0].network.open_sender(id, &nodes[1].peer("b"), quiet()).unwrap();
    (writer, nodes[1].network.open_receiver(id, "a", quiet()).unwrap())
}

fn push(writer: &Writer, element: Element) {
    let (mut element, begun) = (element, Instant::now());
    while let Err(back) = writer.push(element) {
        assert!(begun.elapsed() < PATIENCE, "the queue stays full");
        std::thread::sleep(Duration::from_micros(200));
        element = back;
    }
}

fn pop(reader: &Reader) -> Element {
    let begun = Instant::now();
    loop {
        if let Some(element) = reader.pop() {
            return element;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing comes");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn batch(value: &str) -> Element {
    Element::Batch(records(&[("k", value)]))
}

fn value(element: Element) -> String {
    let Element::Batch(batch) = element else { panic!("a batch, not {element:?}") };
    values(&batch).remove(0)
}

/// Two sources and two sinks on two workers, joined by key.
fn shuffle(nodes: &[Node; 2], number: u32, batches: u32) -> [Collected; 2] {
    let alarms: Vec<Arc<Alarm>> = (0..2).map(|_| Arc::default()).collect();
    let attempt = attempt(number);
    let (writers, readers) =
        exchange(nodes, &["a", "b"], (&attempt, 0), (&[0, 1], &[0, 1]), (&alarms, &alarms), 64 << 10);
    let collected: [Collected; 2] = Default::default();
    let mut slots = Vec::new();
    for (worker, (writers, readers)) in writers.into_iter().zip(readers).enumerate() {
        let rows = |n: u32| -> Batch {
            let rows: Vec<(String, String)> = (0..40)
                .map(|r| (format!("key{}", r % 10), format!("{number}/{worker}/{}/{}", r % 10, n * 40 + r)))
                .collect();
            records(&rows.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>())
        };
        let source = Head::Source(Box::new(Given((0..batches).map(rows).collect())), Arc::default());
        let tail = Tail::Gate(OutputGate::new(vec![by(KeySelector::Record, writers)]));
        let sink = Tail::Sink(Box::new(collected[worker].clone()), Arc::default());
        let tasks = vec![
            Task::new(source, vec![], tail, || 0),
            Task::new(Head::Gate(InputGate::new(readers)), vec![], sink, || 0),
        ];
        slots.push((alarms[worker].clone(), tasks));
    }
    // Whoever is not woken sleeps for long: a lost wake shows.
    run(slots, None, Duration::from_secs(2)).unwrap();
    collected
}

/// Each value of the attempt is there once, on one side each key, in order by source and key.
fn check(collected: &[Collected; 2], number: u32, batches: u32) {
    let (mut last, mut owner, mut count) = (BTreeMap::new(), BTreeMap::new(), 0);
    for (side, collected) in collected.iter().enumerate() {
        for value in collected.values.lock().unwrap().iter() {
            let parts: Vec<u32> = value.split('/').map(|part| part.parse().unwrap()).collect();
            let [of, worker, key, n] = parts[..] else { panic!("{value}") };
            assert_eq!(of, number, "a value of another attempt");
            assert!(last.insert((worker, key), n).is_none_or(|before| before < n), "{value} came out of order");
            assert_eq!(*owner.entry(key).or_insert(side), side, "{value} is at the wrong subtask");
            count += 1;
        }
    }
    assert_eq!(count, 2 * 40 * batches);
}

#[test]
fn order_and_content_survive() {
    for (minimum, pool, pack_from) in [(32 << 10, 1 << 20, None), (1, 0, None), (100, 5000, Some(0))] {
        let nodes = pair(minimum, pool, pack_from);
        check(&shuffle(&nodes, 1, 200), 1, 200);
        let figures = nodes[0].network.figures();
        let of_b = figures.peers["b"];
        assert!(of_b.sent_batches > 0 && of_b.received_batches > 0 && of_b.sent_bytes > of_b.sent_batches, "{of_b:?}");
        assert_eq!(figures.exchanges.len(), 1, "{figures:?}");
        assert_eq!(figures.exchanges[0].traffic, of_b);
        nodes[0].network.close(&attempt(1));
        assert_eq!(nodes[0].network.figures().exchanges, []);
        assert!(nodes.iter().all(Node::is_well), "nothing has failed");
    }
}

#[test]
fn attempts_never_mix() {
    let nodes = pair(500, 5000, None);
    std::thread::scope(|scope| {
        let nodes = &nodes;
        let both = [1, 2].map(|number| (number, scope.spawn(move || shuffle(nodes, number, 100))));
        for (number, shuffled) in both {
            check(&shuffled.join().unwrap(), number, 100);
        }
    });
    // One that is closed while another one goes on leaves it alone.
    let (old, new) = (id(&attempt(3), 0, 0, 0), id(&attempt(4), 0, 0, 0));
    let ((of_old, from_old), (of_new, from_new)) = (open(&nodes, &old), open(&nodes, &new));
    push(&of_old, batch("old"));
    push(&of_new, batch("new"));
    assert_eq!((value(pop(&from_old)), value(pop(&from_new))), ("old".into(), "new".into()));
    push(&of_old, batch("too late"));
    nodes[0].network.close(&attempt(3));
    nodes[1].network.close(&attempt(3));
    for n in 0..100 {
        push(&of_new, batch(&n.to_string()));
        assert_eq!(value(pop(&from_new)), n.to_string());
    }
    assert!(nodes.iter().all(Node::is_well), "nothing has failed");
}

#[test]
fn what_is_unread_is_bounded_and_a_slow_channel_holds_back_no_other() {
    let nodes = pair(10_000, 50_000, None);
    let attempt = attempt(1);
    let (slow, slow_reader) = open(&nodes, &id(&attempt, 0, 0, 0));
    let (fast, fast_reader) = open(&nodes, &id(&attempt, 0, 0, 1));
    let text = "x".repeat(1000);
    let mut in_flight = 0;
    let begun = Instant::now();
    // Full is when it stays full.
    let mut full_since = None;
    while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(500)) {
        assert!(begun.elapsed() < PATIENCE);
        match slow.push(batch(&text)) {
            Ok(()) => (in_flight, full_since) = (in_flight + 1, None),
            Err(_) => {
                full_since.get_or_insert_with(Instant::now);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    assert!((10..=30).contains(&in_flight), "{in_flight} batches of 1 kB with 10 kB on each side");
    for n in 0..2000 {
        push(&fast, batch(&format!("{n} {text}")));
        assert!(value(pop(&fast_reader)).starts_with(&n.to_string()));
    }
    let exchange = &nodes[1].network.figures().exchanges[0];
    assert!((8_000..=12_000).contains(&exchange.unread), "{exchange:?}");
    let blocked = nodes[0].network.figures().exchanges[0].clone();
    assert!(blocked.credit < 70_000, "{blocked:?}");
    for _ in 0..in_flight {
        pop(&slow_reader);
    }
    push(&slow, batch("last"));
    assert_eq!(value(pop(&slow_reader)), "last");
    let blocked = nodes[0].network.figures().exchanges[0].traffic.blocked;
    assert!(blocked > Duration::from_millis(400), "{blocked:?}");
}

#[test]
fn a_record_far_larger_than_the_credit_passes() {
    for pack_from in [None, Some(1000)] {
        let nodes = pair(1, 0, pack_from);
        let attempt = attempt(1);
        let (large, large_reader) = open(&nodes, &id(&attempt, 0, 0, 0));
        let (small, small_reader) = open(&nodes, &id(&attempt, 0, 0, 1));
        for n in 0..2 {
            let text: String = (0..20 << 20).map(|at| char::from(b'a' + (at * (n + 7) % 23) as u8)).collect();
            push(&large, batch(&text));
            push(&small, batch("small"));
            push(&large, Element::Barrier(Barrier::first(CheckpointId(n as u64 + 1))));
            assert_eq!(value(pop(&small_reader)), "small");
            assert!(value(pop(&large_reader)) == text, "20 MB came back otherwise");
            assert!(
                matches!(pop(&large_reader), Element::Barrier(Barrier { checkpoint, .. }) if checkpoint.0 == n as u64 + 1)
            );
        }
    }
}

#[test]
fn what_is_no_batch_needs_no_credit() {
    let nodes = pair(1, 0, None);
    let attempt = attempt(1);
    let (writer, reader) = open(&nodes, &id(&attempt, 0, 0, 0));
    let (other, other_reader) = open(&nodes, &id(&attempt, 0, 0, 1));
    push(&writer, batch("uses the credit up"));
    let barrier = Barrier { checkpoint: CheckpointId(9), confirmed: CheckpointId(8) };
    for element in [Element::Watermark(-5), Element::Barrier(barrier), Element::EndOfInput] {
        push(&writer, element);
    }
    // Nobody reads, so there is no credit: they come all the same. Channels take turns, so they have come when another one has sent
    // more than they are.
    for n in 0..6 {
        push(&other, batch(&n.to_string()));
        assert_eq!(value(pop(&other_reader)), n.to_string());
    }
    let mut all = Vec::new();
    while let Some(element) = reader.pop() {
        all.push(element);
    }
    let [Element::Batch(_), Element::Watermark(-5), Element::Barrier(came), Element::EndOfInput] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(*came, barrier);
}

#[test]
fn a_channel_that_is_opened_late_on_either_side_gets_all() {
    let nodes = pair(100, 0, None);
    let early = id(&attempt(1), 0, 0, 0);
    let writer = nodes[0].network.open_sender(&early, &nodes[1].peer("b"), quiet()).unwrap();
    push(&writer, batch("waits"));
    std::thread::sleep(Duration::from_millis(300));
    let reader = nodes[1].network.open_receiver(&early, "a", quiet()).unwrap();
    assert_eq!(value(pop(&reader)), "waits");
    drop((writer, reader));
    let late = id(&attempt(1), 0, 0, 1);
    let reader = nodes[1].network.open_receiver(&late, "a", quiet()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let writer = nodes[0].network.open_sender(&late, &nodes[1].peer("b"), quiet()).unwrap();
    push(&writer, batch("is awaited"));
    let twice = nodes[1].network.open_receiver(&late, "a", quiet()).err().expect("it is open").to_string();
    assert!(twice.contains("is open twice"), "{twice}");
    let twice =
        nodes[0].network.open_sender(&late, &nodes[1].peer("b"), quiet()).err().expect("it is open").to_string();
    assert!(twice.contains("is open twice"), "{twice}");
    // What was written before the writer went is sent.
    drop(writer);
    assert_eq!(value(pop(&reader)), "is awaited");
}
