//! A sink that refuses records: what it refuses leaves by an exit of its own, in its place among barriers and before the end of
//! input, though the sink tells of it late; and it does not count as given.

mod native;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use flow_dataflow::counters::Counters;
use flow_dataflow::dead_letter::{DeadLetters, Exit, Outbox, Sender};
use flow_dataflow::exchange::channel;
use flow_dataflow::input_gate::InputGate;
use flow_dataflow::output_gate::{Edge, OutputGate, Partitioner};
use flow_dataflow::report::Rejected;
use flow_dataflow::sink::Refused;
use flow_dataflow::task::{Head, Step, Tail, Task};
use flow_dataflow::{Barrier, Batch, Element, Error, Sink};
use flow_frame::id;
use flow_model::checkpoint::CheckpointId;
use native::{records, values};

/// Learns what became of a batch when it is asked for the third time, and refuses all that begins with `b`.
struct Late {
    letters: DeadLetters,
    on_the_way: VecDeque<(Batch, u32)>,
    refused: Refused,
}

impl Late {
    fn settle(&mut self) -> bool {
        for (batch, asked) in &mut self.on_the_way {
            *asked += 1;
            if *asked < 3 {
                continue;
            }
            let all = values(std::slice::from_ref(batch));
            for (row, value) in all.iter().enumerate().filter(|(_, value)| value.starts_with('b')) {
                let (code, message, backtrace) = ("b".into(), "it begins with b".into(), Vec::new());
                let record = Rejected { origin: batch.origin(row), code, message, backtrace, attempts: 1 };
                self.letters.send(batch, row, &record, None);
                self.refused.rows += 1;
                self.refused.bytes += value.len() as u64;
            }
        }
        self.on_the_way.retain(|(_, asked)| *asked < 3);
        self.on_the_way.is_empty()
    }
}

impl Sink for Late {
    fn ready(&mut self) -> Result<bool, Error> {
        Ok(self.settle())
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        self.on_the_way.push_back((batch, 0));
        Ok(())
    }

    fn snapshot(&mut self, _: Barrier) -> Result<(), Error> {
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.on_the_way.iter().map(|(batch, _)| batch.rows()).sum()
    }

    fn refused(&self) -> Refused {
        self.refused
    }

    fn finish(&mut self) -> Result<bool, Error> {
        Ok(self.settle())
    }
}

#[test]
fn what_a_sink_refuses_keeps_its_place() {
    let outbox = Outbox::default();
    let sender = Sender { pipeline: "p".into(), operator: "out".into(), component: None, subtask: 0, clock: || 0 };
    let letters = DeadLetters::new(sender, outbox.clone());
    let (writer, input) = channel(1 << 20, Arc::new(|| ()), Arc::new(|| ()));
    // Room for one batch of dead letters at a time.
    let (to_dead, dead) = channel(1, Arc::new(|| ()), Arc::new(|| ()));
    let exit = Exit { outbox, gate: OutputGate::new(vec![Edge::new(Partitioner::Forward, vec![to_dead])]) };
    let counters = Arc::<Counters>::default();
    let sink = Late { letters, on_the_way: VecDeque::new(), refused: Refused::default() };
    let tail = Tail::Sink(Box::new(sink), counters.clone());
    let mut task = Task::new(Head::Gate(InputGate::new(vec![input])), vec![], tail, || 0).with_exit_of_sink(Some(exit));
    let batch = |names: &[&str]| Element::Batch(records(&names.iter().map(|n| (None, *n)).collect::<Vec<_>>()));
    for element in [
        batch(&["a1", "b1", "b22"]),
        Element::Barrier(Barrier::first(CheckpointId(7))),
        batch(&["a2"]),
        batch(&["b3", "a4"]),
        Element::Barrier(Barrier::first(CheckpointId(8))),
        batch(&["b5"]),
        Element::EndOfInput,
    ] {
        assert!(writer.push(element).is_ok());
    }
    let (mut seen, mut steps) = (Vec::new(), 0);
    while !task.is_finished() {
        let step = task.step(0).expect("nothing fails");
        assert!(steps < 1000 && step != Step::Waiting);
        steps += 1;
        // Slower than the task, so that it is held back by its dead letters too.
        if steps % 7 == 0 {
            seen.extend(dead.pop());
        }
    }
    while let Some(element) = dead.pop() {
        seen.push(element);
    }
    let shown: Vec<String> = seen
        .iter()
        .map(|element| match element {
            Element::Batch(batch) => {
                let code =
                    |row| flow_frame::headers::decode(batch.bytes(id::HEADERS).expect("headers").raw(row)).count();
                assert!((0..batch.rows()).all(|row| code(row) > 5), "each says what happened");
                values(std::slice::from_ref(batch)).join(" ")
            }
            Element::Barrier(barrier) => format!("barrier {}", barrier.checkpoint.counter()),
            Element::Watermark(_) => "watermark".into(),
            Element::EndOfInput => "end".into(),
        })
        .collect();
    assert_eq!(shown, ["b1 b22", "barrier 7", "b3", "barrier 8", "b5", "end"]);
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
    assert_eq!((of(&counters.records_in), of(&counters.records_out)), (7, 3));
    assert_eq!((of(&counters.bytes_in), of(&counters.bytes_out)), (15, 6));
}
