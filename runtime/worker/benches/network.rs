//! What the exchange between workers costs, beside queues in one process: `cargo bench --profile release --workspace --bench network`.
//! CPU time of the whole process, by turns, so that it can be taken on a machine that does other work too. It leaves out all that is
//! not the exchange: sources give batches that they have, sinks count rows.
//!
//! `shuffle`: each record goes from one worker to another one, by key. `wide`: 64 subtasks on each side, on four workers.

#[path = "../tests/network/nodes.rs"]
#[allow(dead_code, reason = "it is the tests' too")]
mod nodes;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flow_dataflow::input_gate::InputGate;
use flow_dataflow::output_gate::OutputGate;
use flow_dataflow::source::Locator;
use flow_dataflow::task::{Head, Tail, Task};
use flow_dataflow::{Barrier, Batch, BatchBuilder, Error, Polled, Row, Sink, Source};
use flow_model::checkpoint::snapshot::Split;
use flow_model::key_selector::KeySelector;
use nodes::{Alarm, Node, attempt, by, exchange, node, run};

const ROWS: u64 = 1024;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Gives the same batches again and again.
struct Repeated {
    batches: Arc<Vec<Batch>>,
    left: u64,
}

impl Source for Repeated {
    fn poll(&mut self, _: usize, _: usize) -> Result<Polled, Error> {
        if self.left == 0 {
            return Ok(Polled::End);
        }
        self.left -= 1;
        Ok(Polled::Batch(self.batches[self.left as usize % self.batches.len()].clone()))
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        Vec::new()
    }

    fn splits(&self) -> Vec<Split> {
        Vec::new()
    }

    fn locator(&self) -> Locator {
        Arc::new(|_, _| String::new().into())
    }
}

#[derive(Clone, Default)]
struct Counted {
    rows: Arc<AtomicU64>,
    batches: Arc<AtomicU64>,
}

impl Sink for Counted {
    fn ready(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        self.rows.fetch_add(batch.rows() as u64, Relaxed);
        self.batches.fetch_add(1, Relaxed);
        Ok(())
    }

    fn snapshot(&mut self, _: Barrier) -> Result<(), Error> {
        Ok(())
    }

    fn unwritten(&self) -> usize {
        0
    }

    fn finish(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

/// Orders as a Kafka source gives them: a key, 100 bytes of JSON, where each came from.
fn orders() -> Arc<Vec<Batch>> {
    let mut dice = fastrand::Rng::with_seed(1);
    let batch = |_| {
        let mut builder = BatchBuilder::default();
        for position in 0..ROWS {
            let key = format!("customer-{}", dice.u32(..100_000));
            let (order, amount) = (dice.u64(..), dice.u32(..100_000));
            let value =
                format!(r#"{{"customer":"{key}","order":{order},"amount":{amount},"currency":"EUR","status":"paid"}}"#);
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            builder.push(Row { key, value, timestamp: Some(7), position: position as i64, ..Row::default() });
        }
        builder.finish()
    };
    Arc::new((0..64).map(batch).collect())
}

/// User and system time of this process, seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Ticks of 10 ms; the fields behind the name of the program, of which it is the second.
    (11..13).map(|at| fields[at].parse::<f64>().expect("a number") / 100.0).sum()
}

struct Ran {
    cpu: f64,
    seconds: f64,
    rows_a_batch: f64,
    most_unread: u64,
    blocked: Duration,
    /// Bytes of batches that went from worker to worker.
    sent: u64,
}

/// `width` sources to as many sinks, whose places are given; in one process if there are no nodes.
fn play(nodes: &[Node], from: &[usize], to: &[usize], number: u32, batches: u64, orders: &Arc<Vec<Batch>>) -> Ran {
    let alarms = || (0..from.len()).map(|_| Arc::default()).collect::<Vec<Arc<Alarm>>>();
    let together = from == to;
    let of_sources = alarms();
    let of_sinks = if together { of_sources.clone() } else { alarms() };
    let attempt = attempt(number);
    let here = vec![0; from.len()];
    let places = if nodes.is_empty() { (&here[..], &here[..]) } else { (from, to) };
    let (writers, readers) = exchange(nodes, &NAMES, (&attempt, 0), places, (&of_sources, &of_sinks), 256 << 10);
    let counted = Counted::default();
    let mut slots: Vec<(Arc<Alarm>, Vec<Task>)> = Vec::new();
    for (alarm, writers) in of_sources.into_iter().zip(writers) {
        let source = Head::Source(Box::new(Repeated { batches: orders.clone(), left: batches }), Arc::default());
        let tail = Tail::Gate(OutputGate::new(vec![by(KeySelector::Record, writers)]));
        slots.push((alarm, vec![Task::new(source, vec![], tail, || 0)]));
    }
    for (at, (alarm, readers)) in of_sinks.into_iter().zip(readers).enumerate() {
        let sink = Tail::Sink(Box::new(counted.clone()), Arc::default());
        let task = Task::new(Head::Gate(InputGate::new(readers)), vec![], sink, || 0);
        if together { slots[at].1.push(task) } else { slots.push((alarm, vec![task])) }
    }
    let (begun, before) = (Instant::now(), cpu());
    let over = Mutex::new(false);
    let most_unread = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !*over.lock().expect("no panic") {
                let unread = |node: &Node| -> u64 { node.network.figures().exchanges.iter().map(|e| e.unread).sum() };
                most = nodes.iter().map(unread).fold(most, u64::max);
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        run(slots, None, Duration::from_millis(20)).expect("it ends");
        *over.lock().expect("no panic") = true;
        watch.join().expect("no panic")
    });
    let (cpu, seconds) = (cpu() - before, begun.elapsed().as_secs_f64());
    let rows = counted.rows.load(Relaxed);
    assert_eq!(rows, batches * ROWS * from.len() as u64, "nothing is lost");
    let traffic = || nodes.iter().flat_map(|node| node.network.figures().exchanges).map(|e| e.traffic);
    let (blocked, sent) = (traffic().map(|of| of.blocked).sum(), traffic().map(|of| of.sent_bytes).sum());
    nodes.iter().for_each(|node| node.network.close(&attempt));
    Ran { cpu, seconds, rows_a_batch: rows as f64 / counted.batches.load(Relaxed) as f64, most_unread, blocked, sent }
}

fn cluster(count: usize, pack_from: Option<usize>) -> Vec<Node> {
    NAMES[..count]
        .iter()
        .map(|name| node(name, |options| (options.pack_from, options.threads) = (pack_from, 2)))
        .collect()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn compare(title: &str, cases: &[(&str, Vec<Node>)], (from, to): (&[usize], &[usize]), batches: u64, rounds: u32) {
    let orders = orders();
    let millions = (batches * ROWS * from.len() as u64) as f64 / 1e6;
    let mut ran: Vec<Vec<Ran>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for ((_, nodes), ran) in cases.iter().zip(&mut ran) {
            let one = play(nodes, from, to, round + 1, batches, &orders);
            // The first one warms up.
            if round > 0 {
                ran.push(one);
            }
        }
    }
    println!("{title}: {millions:.1} million records, {rounds} rounds, medians");
    for ((name, _), ran) in cases.iter().zip(&ran) {
        let of = |figure: fn(&Ran) -> f64| median(ran.iter().map(figure).collect());
        println!(
            "{name:24} {:5.2} CPU-s per million, {:5.2} million/s, {:6.0} rows a batch, {:4.0} bytes a record sent, {:6.1} MiB unread at most, {:6.2} s blocked",
            of(|one| one.cpu) / millions,
            millions / of(|one| one.seconds),
            of(|one| one.rows_a_batch),
            of(|one| one.sent as f64) / (millions * 1e6),
            of(|one| one.most_unread as f64) / f64::from(1 << 20),
            of(|one| one.blocked.as_secs_f64()),
        );
    }
}

fn main() {
    let wanted = |name: &str| std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).all(|arg| arg == name);
    if wanted("shuffle") {
        let cases = [
            ("in one process", Vec::new()),
            ("between two workers", cluster(2, None)),
            ("the same, LZ4", cluster(2, Some(16 << 10))),
        ];
        compare("shuffle", &cases, (&[0, 0], &[1, 1]), 3000, 5);
    }
    if wanted("wide") {
        let places: Vec<usize> = (0..64).map(|at| at % 4).collect();
        let cases = [("in one process", Vec::new()), ("on four workers", cluster(4, None))];
        compare("64 to 64 subtasks", &cases, (&places, &places), 30, 3);
    }
}
