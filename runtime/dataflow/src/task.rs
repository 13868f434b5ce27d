//! One subtask: a head that rows come from, a chain that they pass, a tail that they leave by. It is stepped by a slot, never
//! waits, and takes no input while its output is pending.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::call::Stopwatch;
use crate::counters::{Counters, Meter, Pause, value_bytes};
use crate::dead_letter::Exit;
use crate::element::{Barrier, Moment, Timestamp};
use crate::input_gate::InputGate;
use crate::output_gate::OutputGate;
use crate::source::Polled;
use crate::unwritten::Unwritten;
use crate::{Batch, Element, Error, Operator, Sink, Source};

/// Rows that a source is asked for at once.
pub const BATCH_ROWS: usize = 1024;
/// Bytes that a source is asked for at once.
pub const BATCH_BYTES: usize = 1 << 20;

/// Where a task's rows come from.
pub enum Head {
    /// A source of its own.
    Source(Box<dyn Source>, Arc<Counters>),
    /// Tasks upstream.
    Gate(InputGate),
}

/// Where a task's rows leave.
pub enum Tail {
    /// A sink of its own.
    Sink(Box<dyn Sink>, Arc<Counters>),
    /// Tasks downstream.
    Gate(OutputGate),
}

/// One operator of a chain. What helps an operator without being one in the pipeline (a key selector) has no counters.
pub struct Link {
    /// The operator's name, for errors.
    pub name: String,
    /// The operator.
    pub operator: Box<dyn Operator>,
    /// What it has taken and given.
    pub counters: Option<Arc<Counters>>,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done; step again.
    Progress,
    /// There is no input now.
    Starved,
    /// The output can't be passed on now.
    Blocked,
    /// An operator waits to try something again.
    Waiting,
    /// All input has passed and everything is durable.
    Finished,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Takes input.
    Running,
    /// The end of input has passed the chain; what is left of the output has to go.
    Draining,
    /// The sink is done; what it has refused has to go.
    Leaving,
    Finished,
}

/// What passes the chain link by link.
#[derive(Clone, Copy)]
enum Control {
    Barrier(Barrier),
    EndOfInput,
}

/// One subtask.
pub struct Task {
    head: Head,
    chain: Vec<Link>,
    tail: Tail,
    /// Elements that passed the chain and wait for the sink.
    pending: VecDeque<Element>,
    unwritten: Unwritten,
    /// Where the dead letters of the source and the operators leave.
    exits: Vec<Exit>,
    /// Where those of the sink leave: what ends them, ends them only when the sink is done with what came before.
    exit_of_sink: Option<Exit>,
    /// The barrier before which all is to become durable in the sink.
    sealing: Option<Barrier>,
    /// A control element on its way, and the link that it comes to next.
    passing: Option<(Control, usize)>,
    watermark: Timestamp,
    state: State,
    meter: Meter,
}

impl Task {
    /// A task of these parts, whose time is told by `stopwatch`.
    pub fn new(head: Head, chain: Vec<Link>, tail: Tail, stopwatch: Stopwatch) -> Task {
        let of_head = if let Head::Source(_, counters) = &head { Some(counters) } else { None };
        let of_tail = if let Tail::Sink(_, counters) = &tail { Some(counters) } else { None };
        let of_chain = chain.iter().filter_map(|link| link.counters.as_ref());
        let nodes = of_head.into_iter().chain(of_chain).chain(of_tail).cloned().collect();
        Task {
            head,
            chain,
            tail,
            pending: VecDeque::new(),
            unwritten: Unwritten::default(),
            exits: Vec::new(),
            exit_of_sink: None,
            sealing: None,
            passing: None,
            watermark: Timestamp::MIN,
            state: State::Running,
            meter: Meter::new(stopwatch, nodes),
        }
    }

    /// The same with ways out for the dead letters of its source and its operators.
    #[must_use]
    pub fn with_exits(self, exits: Vec<Exit>) -> Task {
        Task { exits, ..self }
    }

    /// The same with a way out for the dead letters of its sink.
    #[must_use]
    pub fn with_exit_of_sink(self, exit: Option<Exit>) -> Task {
        Task { exit_of_sink: exit, ..self }
    }

    /// What its nodes have done, in the order in which rows pass them.
    pub fn nodes(&self) -> &[Arc<Counters>] {
        self.meter.nodes()
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// For a task that goes no further: lets its sink write what it has taken, and counts what it has written. True when
    /// that is all.
    pub fn settle(&mut self) -> bool {
        let Tail::Sink(sink, counters) = &mut self.tail else { return true };
        // What goes wrong now is no reason for anything any more.
        let done = sink.finish().unwrap_or(true);
        self.unwritten.settle(&**sink, counters);
        done
    }

    /// Does one piece of work: passes on pending output, or takes one element through the chain. `now` is milliseconds since
    /// the Unix epoch.
    pub fn step(&mut self, now: Timestamp) -> Result<Step, Error> {
        self.meter.resume();
        let step = self.advance(now);
        self.meter.pause(match step {
            Ok(Step::Starved | Step::Waiting) => Pause::Starved,
            Ok(Step::Blocked) => Pause::Blocked,
            Ok(Step::Progress | Step::Finished) | Err(_) => Pause::Ready,
        });
        step
    }

    fn advance(&mut self, now: Timestamp) -> Result<Step, Error> {
        if self.state == State::Finished {
            return Ok(Step::Finished);
        }
        if !self.flush()? {
            return Ok(Step::Blocked);
        }
        match self.state {
            State::Running => {}
            State::Draining => return self.drain(),
            State::Leaving | State::Finished => {
                self.state = State::Finished;
                return Ok(Step::Finished);
            }
        }
        self.meter.lap_of_last();
        // What waits in a link stands before all that comes from the links in front of it.
        let held = |(at, link): (usize, &Link)| Some((at, link.operator.held()?));
        if let Some((at, until)) = self.chain.iter().enumerate().rev().find_map(held) {
            if until > now {
                return Ok(Step::Waiting);
            }
            self.at_link(at, now, |operator, at, out| operator.resume(at, out))?;
            return self.progress();
        }
        if let Some((control, next)) = self.passing.take() {
            self.pass_link(control, next, now)?;
            return self.progress();
        }
        let element = match &mut self.head {
            Head::Gate(gate) => match gate.poll() {
                Some(element) => element,
                None => return Ok(Step::Starved),
            },
            Head::Source(source, counters) => {
                let polled = source.poll(BATCH_ROWS, BATCH_BYTES)?;
                self.meter.lap(counters);
                match polled {
                    Polled::Batch(batch) => {
                        counters.took(&batch);
                        counters.gave(std::slice::from_ref(&batch));
                        Element::Batch(batch)
                    }
                    Polled::Idle => return Ok(Step::Starved),
                    Polled::End => Element::EndOfInput,
                }
            }
        };
        self.take(element, now)?;
        self.progress()
    }

    /// Something was done; what came of it is passed on as far as that goes.
    fn progress(&mut self) -> Result<Step, Error> {
        self.flush()?;
        Ok(Step::Progress)
    }

    fn take(&mut self, element: Element, now: Timestamp) -> Result<(), Error> {
        match element {
            Element::Batch(batch) => {
                let at = Moment { now, watermark: self.watermark };
                let out = self.run(0, vec![batch], at)?;
                self.emit(out)?;
            }
            Element::Watermark(time) => {
                self.watermark = time;
                self.pass(Element::Watermark(time))?;
            }
            Element::Barrier(checkpoint) => self.pass_link(Control::Barrier(checkpoint), 0, now)?,
            Element::EndOfInput => self.pass_link(Control::EndOfInput, 0, now)?,
        }
        Ok(())
    }

    /// Passes a control element through the chain from a link on, as far as no link holds rows back.
    fn pass_link(&mut self, control: Control, from: usize, now: Timestamp) -> Result<(), Error> {
        for at in from..self.chain.len() {
            if self.chain.iter().any(|link| link.operator.held().is_some()) {
                self.passing = Some((control, at));
                return Ok(());
            }
            self.at_link(at, now, |operator, _, out| match control {
                Control::Barrier(checkpoint) => operator.before_barrier(checkpoint, out),
                Control::EndOfInput => operator.end_of_input(out),
            })?;
        }
        if self.chain.iter().any(|link| link.operator.held().is_some()) {
            self.passing = Some((control, self.chain.len()));
            return Ok(());
        }
        match control {
            Control::Barrier(checkpoint) => {
                self.pass(Element::Barrier(checkpoint))?;
                for link in &mut self.chain {
                    link.operator.snapshot(checkpoint).map_err(|e| e.at(&link.name))?;
                }
            }
            Control::EndOfInput => {
                self.pass(Element::EndOfInput)?;
                self.state = State::Draining;
            }
        }
        Ok(())
    }

    /// Lets one operator emit, and its output pass the rest of the chain.
    fn at_link(
        &mut self,
        at: usize,
        now: Timestamp,
        call: impl FnOnce(&mut dyn Operator, Moment, &mut Vec<Batch>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let moment = Moment { now, watermark: self.watermark };
        let link = &mut self.chain[at];
        let mut out = Vec::new();
        call(&mut *link.operator, moment, &mut out).map_err(|e| e.at(&link.name))?;
        if let Some(counters) = &link.counters {
            counters.gave(&out);
            self.meter.lap(counters);
        }
        let out = self.run(at + 1, out, moment)?;
        self.emit(out)
    }

    /// Passes batches through the chain from a link on.
    fn run(&mut self, from: usize, mut batches: Vec<Batch>, at: Moment) -> Result<Vec<Batch>, Error> {
        for link in &mut self.chain[from..] {
            let mut out = Vec::with_capacity(batches.len());
            for batch in batches {
                if let Some(counters) = &link.counters {
                    counters.took(&batch);
                }
                link.operator.process(batch, at, &mut out).map_err(|e| e.at(&link.name))?;
            }
            // What has none of its own (a key selector) counts to the operator behind it.
            if let Some(counters) = &link.counters {
                counters.gave(&out);
                self.meter.lap(counters);
            }
            batches = out;
        }
        Ok(batches)
    }

    fn emit(&mut self, batches: Vec<Batch>) -> Result<(), Error> {
        batches.into_iter().filter(|b| !b.is_empty()).try_for_each(|b| self.pass(Element::Batch(b)))
    }

    /// Hands an element to the tail, and to the exits what is not a batch of the tail's: behind all dead letters before it.
    fn pass(&mut self, element: Element) -> Result<(), Error> {
        if !matches!(element, Element::Batch(_)) {
            self.collect_dead_letters()?;
            self.exits.iter_mut().try_for_each(|exit| exit.gate.push(&element))?;
        }
        match &mut self.tail {
            Tail::Gate(gate) => gate.push(&element),
            Tail::Sink(..) => {
                self.pending.push_back(element);
                Ok(())
            }
        }
    }

    fn collect_dead_letters(&mut self) -> Result<(), Error> {
        for Exit { outbox, gate } in self.exits.iter_mut().chain(&mut self.exit_of_sink) {
            if let Some(batch) = outbox.take() {
                gate.push(&Element::Batch(batch))?;
            }
        }
        Ok(())
    }

    /// Passes on pending output. True when nothing is left.
    fn flush(&mut self) -> Result<bool, Error> {
        let mut done = self.flush_tail()?;
        self.collect_dead_letters()?;
        for exit in self.exits.iter_mut().chain(&mut self.exit_of_sink) {
            done &= exit.gate.flush();
        }
        Ok(done)
    }

    /// Hands an element to the exit of the sink, behind all dead letters before it.
    fn pass_behind_sink(&mut self, element: &Element) -> Result<(), Error> {
        self.collect_dead_letters()?;
        self.exit_of_sink.iter_mut().try_for_each(|exit| exit.gate.push(element))
    }

    fn flush_tail(&mut self) -> Result<bool, Error> {
        if self.state == State::Leaving {
            return Ok(true);
        }
        loop {
            let (sink, counters) = match &mut self.tail {
                Tail::Gate(gate) => return Ok(gate.flush()),
                Tail::Sink(sink, counters) => (sink, counters),
            };
            let ready = sink.ready()?;
            self.unwritten.settle(&**sink, counters);
            if let Some(checkpoint) = self.sealing.take_if(|_| ready) {
                self.pass_behind_sink(&Element::Barrier(checkpoint))?;
                continue;
            }
            match self.pending.pop_front() {
                Some(element) if !ready => {
                    self.pending.push_front(element);
                    return Ok(false);
                }
                Some(Element::Batch(batch)) => {
                    counters.took(&batch);
                    self.unwritten.add(batch.rows() as u64, value_bytes(&batch));
                    sink.write(batch)?;
                }
                Some(Element::Barrier(checkpoint)) => {
                    sink.snapshot(checkpoint)?;
                    self.sealing = Some(checkpoint);
                }
                Some(element @ Element::Watermark(_)) => self.pass_behind_sink(&element)?,
                // It passes when the sink is done.
                Some(Element::EndOfInput) => {}
                None => return Ok(true),
            }
        }
    }

    fn drain(&mut self) -> Result<Step, Error> {
        if let Tail::Sink(sink, counters) = &mut self.tail {
            let finished = sink.finish()?;
            self.unwritten.settle(&**sink, counters);
            if !finished {
                return Ok(Step::Blocked);
            }
        }
        if let Some(checkpoint) = self.sealing.take() {
            self.pass_behind_sink(&Element::Barrier(checkpoint))?;
        }
        self.pass_behind_sink(&Element::EndOfInput)?;
        self.state = State::Leaving;
        if !self.flush()? {
            return Ok(Step::Blocked);
        }
        self.state = State::Finished;
        Ok(Step::Finished)
    }
}
