//! One subtask: a head that rows come from, a chain that they pass, a tail that they leave by. It is stepped by a slot, never
//! waits, and takes no input while its output is pending.

use std::collections::VecDeque;
use std::sync::Arc;

use flow_model::checkpoint::CheckpointId;
use flow_model::checkpoint::snapshot::Split;

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
/// After so many nanoseconds of work, or of having no room, rows that wait for a batch to fill go to readers who have nothing else.
/// Time in which others of the machine work does not count: with many tasks a processor, all batches were small then.
const LINGER: u64 = 10_000_000;

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
    /// All input has passed and everything is durable; only barriers follow.
    Resting,
    /// The same, and nothing follows.
    Finished,
}

/// A barrier has passed a task, and all that its tail took before it is where it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The end of input had passed before it.
    pub ended: bool,
    /// Where the task's source goes on; empty without one.
    pub splits: Vec<Split>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Takes input.
    Running,
    /// The end of input has passed the chain; what is left of the output has to go.
    Draining,
    /// The sink is done; what it has refused has to go.
    Leaving,
    /// All is done, but barriers follow.
    Resting,
    Finished,
}

/// What passes the chain link by link.
#[derive(Clone, Copy)]
enum Control {
    Barrier(Barrier),
    EndOfInput,
}

/// How a task takes part in checkpoints.
#[derive(Default)]
struct Snapshots {
    /// Barriers that its source is to send.
    triggered: VecDeque<Barrier>,
    /// Its source gives nothing yet.
    held: bool,
    /// In the checkpoint that it goes on from, the end of input had passed it.
    was_ended: bool,
    /// On their way through it.
    passing: VecDeque<Passed>,
    passed: VecDeque<Passed>,
}

impl Snapshots {
    /// The barrier has passed the task.
    fn done(&mut self, barrier: Barrier) {
        let at = self.passing.iter().position(|passing| passing.checkpoint == barrier.checkpoint);
        self.passed.extend(at.and_then(|at| self.passing.remove(at)));
    }
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
    /// The end of input has passed the chain.
    ended: bool,
    /// None if there are no checkpoints: it is finished when all input has passed.
    snapshots: Option<Snapshots>,
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
            ended: false,
            snapshots: None,
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

    /// The same as a part of a job with checkpoints: its source gives nothing until [`Task::release`], and after the end of
    /// input it goes on to pass barriers. `was_ended` if in the checkpoint that it goes on from the end had passed it.
    #[must_use]
    pub fn with_checkpoints(self, was_ended: bool) -> Task {
        Task { snapshots: Some(Snapshots { held: true, was_ended, ..Snapshots::default() }), ..self }
    }

    /// Its source sends this barrier as soon as it can.
    pub fn trigger(&mut self, barrier: Barrier) {
        if let (Head::Source(..), Some(snapshots)) = (&self.head, &mut self.snapshots) {
            snapshots.triggered.push_back(barrier);
        }
    }

    /// Its source may give rows.
    pub fn release(&mut self) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.held = false;
        }
    }

    /// Its source gives nothing but barriers from now on.
    pub fn hold(&mut self) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.held = true;
        }
    }

    /// The oldest barrier that has passed it and was not told yet.
    pub fn take_passed(&mut self) -> Option<Passed> {
        self.snapshots.as_mut()?.passed.pop_front()
    }

    /// What its nodes have done, in the order in which rows pass them.
    pub fn nodes(&self) -> &[Arc<Counters>] {
        self.meter.nodes()
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether nothing is left to do but to pass barriers.
    pub fn is_resting(&self) -> bool {
        self.state == State::Resting
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
        let step = self.advance(now).and_then(|step| {
            let closed = match step {
                Step::Starved | Step::Waiting | Step::Resting => self.close(OutputGate::close),
                _ => self.meter.take_spent(LINGER) && self.close(OutputGate::close_awaited),
            };
            if closed {
                self.flush()?;
            }
            Ok(step)
        });
        self.meter.pause(match step {
            Ok(Step::Starved | Step::Waiting | Step::Resting) => Pause::Starved,
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
            State::Running | State::Resting => {}
            State::Draining => return self.drain(),
            State::Leaving | State::Finished => return Ok(self.rest()),
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
        let nothing = if self.state == State::Resting { Step::Resting } else { Step::Starved };
        let element = match &mut self.head {
            Head::Gate(gate) => match gate.poll() {
                Some(element) => element,
                None => return Ok(nothing),
            },
            Head::Source(source, counters) => {
                if let Some(snapshots) = &mut self.snapshots {
                    // What is not open has nothing to give yet.
                    if !snapshots.triggered.is_empty() && !source.open()? {
                        return Ok(nothing);
                    }
                    if let Some(barrier) = snapshots.triggered.pop_front() {
                        let splits = source.splits();
                        self.take_barrier(barrier, splits, now)?;
                        return self.progress();
                    }
                    if snapshots.held || self.state == State::Resting {
                        return Ok(nothing);
                    }
                }
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
            Element::Barrier(barrier) => self.take_barrier(barrier, Vec::new(), now)?,
            Element::EndOfInput => self.pass_link(Control::EndOfInput, 0, now)?,
        }
        Ok(())
    }

    fn take_barrier(&mut self, barrier: Barrier, splits: Vec<Split>, now: Timestamp) -> Result<(), Error> {
        if let Some(snapshots) = &mut self.snapshots {
            let passing = Passed { checkpoint: barrier.checkpoint, ended: self.ended, splits };
            snapshots.passing.push_back(passing);
        }
        self.pass_link(Control::Barrier(barrier), 0, now)
    }

    /// Passes a control element through the chain from a link on, as far as no link holds rows back.
    fn pass_link(&mut self, control: Control, from: usize, now: Timestamp) -> Result<(), Error> {
        for at in from..self.chain.len() {
            if self.chain.iter().any(|link| link.operator.held().is_some()) {
                self.passing = Some((control, at));
                return Ok(());
            }
            let was_ended = self.snapshots.as_ref().is_some_and(|snapshots| snapshots.was_ended);
            self.at_link(at, now, |operator, _, out| match control {
                Control::Barrier(barrier) => operator.before_barrier(barrier, out),
                // What it emits at the end was emitted before the checkpoint.
                Control::EndOfInput if was_ended => Ok(()),
                Control::EndOfInput => operator.end_of_input(out),
            })?;
        }
        if self.chain.iter().any(|link| link.operator.held().is_some()) {
            self.passing = Some((control, self.chain.len()));
            return Ok(());
        }
        match control {
            Control::Barrier(barrier) => {
                self.pass(Element::Barrier(barrier))?;
                for link in &mut self.chain {
                    link.operator.snapshot(barrier).map_err(|e| e.at(&link.name))?;
                }
                if let (Tail::Gate(_), Some(snapshots)) = (&self.tail, &mut self.snapshots) {
                    snapshots.done(barrier);
                }
            }
            Control::EndOfInput => {
                self.pass(Element::EndOfInput)?;
                self.ended = true;
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

    /// Closes tails of all gates. True if there were any.
    fn close(&mut self, tails: impl Fn(&mut OutputGate) -> bool) -> bool {
        let of_tail = if let Tail::Gate(gate) = &mut self.tail { Some(gate) } else { None };
        let of_exits = self.exits.iter_mut().chain(&mut self.exit_of_sink).map(|exit| &mut exit.gate);
        of_tail.into_iter().chain(of_exits).fold(false, |any, gate| any | tails(gate))
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

    /// All that the sink took before the barrier is where it has to be.
    fn sealed(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.pass_behind_sink(&Element::Barrier(barrier))?;
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.done(barrier);
        }
        Ok(())
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
            if let Some(barrier) = self.sealing.take_if(|_| ready) {
                self.sealed(barrier)?;
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
                Some(Element::Barrier(barrier)) => {
                    sink.snapshot(barrier)?;
                    self.sealing = Some(barrier);
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
        if let Some(barrier) = self.sealing.take() {
            self.sealed(barrier)?;
        }
        self.pass_behind_sink(&Element::EndOfInput)?;
        self.state = State::Leaving;
        if !self.flush()? {
            return Ok(Step::Blocked);
        }
        Ok(self.rest())
    }

    /// All is done.
    fn rest(&mut self) -> Step {
        let (state, step) = match self.snapshots {
            Some(_) => (State::Resting, Step::Resting),
            None => (State::Finished, Step::Finished),
        };
        self.state = state;
        step
    }
}
