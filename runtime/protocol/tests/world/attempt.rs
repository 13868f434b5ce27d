//! What workers run: attempts in two parts, each of which obeys the leader that it registered with last, tells that one what happens,
//! and drops what others want. The first part has the keyed state, the second one the sink, by a lane for each of its subtasks.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::snapshot::{Chain, Output, Part as Bytes, Piece, Progress, Run, Segment};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Incarnation, Manifest, ObjectName};
use flow_protocol::job::{Event, Failure, Found};
use flow_protocol::restart::Kind;

use super::{Plant, World, name};

/// An order of a leader.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Release,
    Hold,
    Trigger(CheckpointId),
    Confirm(CheckpointId),
}

/// An order on its way.
pub struct Order {
    term: u64,
    incarnation: Incarnation,
    attempt: Attempt,
    part: usize,
    what: What,
}

/// What one worker runs of an attempt.
struct Part {
    /// The leader that it obeys.
    term: u64,
    /// Barriers that have not passed: in order.
    barriers: Vec<CheckpointId>,
    /// The highest that it was told of.
    highest: CheckpointId,
    released: bool,
    /// Its worker has ended, or it was stopped.
    gone: bool,
}

/// An attempt.
pub struct Running {
    incarnation: Incarnation,
    attempt: Attempt,
    /// It only writes.
    settles: bool,
    restored: Option<CheckpointId>,
    /// The subtasks of its sink.
    width: u32,
    parts: [Part; 2],
    /// Runs of its keyed state, oldest first.
    runs: Vec<ObjectName>,
    /// Output that is not known to be written, by lane.
    segments: Vec<(u32, CheckpointId)>,
    /// Confirmed, and not yet written.
    to_write: Vec<(u32, CheckpointId)>,
    written: BTreeMap<u32, Progress>,
    drained: bool,
}

impl Running {
    pub fn obeys(&self, term: u64) -> bool {
        self.parts.iter().any(|part| part.term == term && !part.gone)
    }

    pub fn is_released(&self) -> bool {
        self.parts.iter().all(|part| part.released)
    }

    fn is(&self, incarnation: &Incarnation, attempt: Attempt) -> bool {
        self.attempt == attempt && self.incarnation == *incarnation
    }

    fn is_gone(&self) -> bool {
        self.parts.iter().all(|part| part.gone)
    }
}

/// The output that a checkpoint carries, by lane.
pub fn owed(manifest: &Manifest) -> impl Iterator<Item = (u32, CheckpointId)> + '_ {
    let outputs = manifest.nodes[&name("out")].subtasks.iter().filter_map(|subtask| subtask.output.as_ref());
    outputs.flat_map(|output| output.segments.iter().map(|segment| (output.lane, segment.checkpoint)))
}

impl World {
    /// An attempt may be deployed only once HEAD has said so.
    pub(super) fn deploy(
        &mut self,
        which: usize,
        (incarnation, attempt): (Incarnation, Attempt),
        from: Option<Manifest>,
        settles: bool,
    ) {
        let (head, _) = self.head.as_ref().expect("HEAD comes first");
        let is_mine = head.incarnation == incarnation;
        assert!(!is_mine || head.attempt >= attempt, "attempt {attempt} before HEAD says so:\n{}", self.story());
        let is_latest = is_mine && head.attempt == attempt;
        let (term, width) = (self.leaders[which].term, self.leaders[which].width);
        if is_latest {
            let latest = from.as_ref().map(|from| from.checkpoint);
            assert_eq!(latest, head.latest, "another checkpoint than the latest:\n{}", self.story());
            let is_adopted = head.origin.is_none() || latest.is_some();
            assert!(is_adopted, "it begins without what it was to begin with:\n{}", self.story());
            // One that only writes has no subtasks.
            let fits = settles || self.widths[&head.revision] == width;
            assert!(fits, "another description than HEAD's:\n{}", self.story());
        }
        let part = || Part { term, barriers: vec![], highest: CheckpointId::NONE, released: false, gone: false };
        let mut running = Running {
            incarnation,
            attempt,
            settles,
            restored: from.as_ref().map(|from| from.checkpoint),
            width,
            parts: [part(), part()],
            runs: vec![],
            segments: vec![],
            to_write: vec![],
            written: BTreeMap::new(),
            drained: false,
        };
        if let Some(from) = from {
            let counts = &from.nodes[&name("counts")].subtasks[0];
            let chain = counts.state.as_ref().expect("it has state");
            running.runs = chain.runs.iter().map(|run| run.chunk.object.clone()).collect();
            running.to_write = owed(&from).collect();
            if self.plant == Plant::LeavesLanes && !settles {
                running.to_write.retain(|(lane, _)| *lane < width);
            }
            running.segments = running.to_write.clone();
            for object in from.objects() {
                // One that was deposed and does not know it may find anything.
                let there = !is_latest || self.objects.contains(object);
                assert!(there, "{object}, which the restored checkpoint names, is gone:\n{}", self.story());
            }
        }
        self.attempts.push(running);
    }

    /// Orders something of all parts of an attempt.
    pub(super) fn order(&mut self, which: usize, attempt: Attempt, what: What) {
        let term = self.leaders[which].term;
        let Some(head) = self.leaders[which].job.head() else { return };
        let incarnation = head.incarnation.clone();
        for part in 0..2 {
            let order = Order { term, incarnation: incarnation.clone(), attempt, part, what };
            // What a leader tells a worker comes in order.
            let waits = self.orders.iter().any(|before| (before.term, before.part) == (term, part));
            if self.in_cluster && (waits || self.dice.one_in(4)) {
                self.orders.push(order);
            } else {
                self.arrived(order);
            }
        }
    }

    fn arrived(&mut self, order: Order) {
        let Order { term, incarnation, attempt, part, what } = order;
        let obeys_any = self.plant == Plant::ObeysAnyTerm;
        let Some(at) = self.attempts.iter().position(|running| running.is(&incarnation, attempt)) else { return };
        let running = &mut self.attempts[at];
        let it = &mut running.parts[part];
        if it.gone || it.term != term && !obeys_any {
            self.counts.late_orders += u64::from(!it.gone);
            return;
        }
        match what {
            What::Release => it.released = true,
            What::Hold => it.released = false,
            What::Trigger(checkpoint) => {
                let highest = std::mem::replace(&mut it.highest, checkpoint);
                it.barriers.push(checkpoint);
                let by = *self.begun.entry((incarnation, checkpoint)).or_insert(term);
                assert_eq!(by, term, "two leaders have begun {checkpoint:?}:\n{}", self.story());
                assert!(highest < checkpoint, "{checkpoint:?} is begun behind {highest:?}:\n{}", self.story());
            }
            What::Confirm(checkpoint) if part == 1 => {
                let written = &running.written;
                let is_new = |(lane, segment): &(u32, CheckpointId)| {
                    written.get(lane).is_none_or(|written| written.checkpoint < *segment)
                };
                let known: BTreeSet<(u32, CheckpointId)> = running.to_write.iter().copied().collect();
                let due = running.segments.iter().copied().filter(|(_, segment)| *segment <= checkpoint);
                let due: Vec<_> = due.filter(|segment| is_new(segment) && !known.contains(segment)).collect();
                running.to_write.extend(due);
            }
            What::Confirm(_) => {}
        }
    }

    /// A leader stops what obeys it of an attempt.
    pub(super) fn stop(&mut self, which: usize, attempt: Attempt) {
        let term = self.leaders[which].term;
        self.finding.retain(|(finder, ..)| *finder != term);
        for running in self.attempts.iter_mut().filter(|running| running.attempt == attempt) {
            running.parts.iter_mut().filter(|part| part.term == term).for_each(|part| part.gone = true);
        }
        self.attempts.retain(|running| !running.is_gone());
        self.leaders[which].inbox.push(Event::Stopped { attempt });
    }

    /// The process of a leader has ended.
    pub(super) fn leader_gone(&mut self, term: u64) {
        self.finding.retain(|(finder, ..)| *finder != term);
        if !self.in_cluster {
            self.attempts.retain(|running| !running.obeys(term));
        }
    }

    /// A worker ends, with what it runs of an attempt.
    pub(super) fn crash_worker(&mut self) {
        if self.attempts.is_empty() {
            return;
        }
        let at = self.dice.roll(self.attempts.len() as u64) as usize;
        let which = self.dice.roll(2) as usize;
        let running = &mut self.attempts[at];
        let mut terms = BTreeSet::from([running.parts[which].term]);
        running.parts[which].gone = true;
        if !self.in_cluster {
            // It is the leader's own process that runs all of it.
            running.parts[1 - which].gone = true;
            terms.insert(running.parts[1 - which].term);
        }
        let attempt = running.attempt;
        self.attempts.retain(|running| !running.is_gone());
        self.tell(format!("a worker of attempt {attempt} ends"));
        for term in terms {
            let failure = Failure { kind: Kind::Retryable, reason: "killed".into() };
            self.told(term, Event::Failed { attempt, failure });
        }
    }

    /// Tells a leader something of an attempt, if it has it.
    fn told(&mut self, term: u64, event: Event) {
        if self.finding.iter().any(|(finder, ..)| *finder == term) {
            return;
        }
        if let Some(leader) = self.leaders.iter_mut().find(|leader| leader.term == term) {
            leader.inbox.push(event);
        }
    }

    /// What workers do by themselves.
    pub(super) fn run_attempts(&mut self, faults: bool) {
        if !self.orders.is_empty() && self.dice.one_in(3) {
            let of = &self.orders[self.dice.roll(self.orders.len() as u64) as usize];
            let of = (of.term, of.part);
            let first = self.orders.iter().position(|order| (order.term, order.part) == of).expect("it is there");
            let order = self.orders.remove(first);
            self.arrived(order);
        }
        if !self.finding.is_empty() && self.dice.one_in(2) {
            let finder = self.dice.roll(self.finding.len() as u64) as usize;
            self.register(finder);
        }
        if self.attempts.is_empty() {
            return;
        }
        let at = self.dice.roll(self.attempts.len() as u64) as usize;
        let terms = [0, 1].map(|part| self.attempts[at].parts[part].term);
        let has_leader = self.leaders.iter().any(|leader| terms.contains(&leader.term));
        if !has_leader && self.dice.one_in(80) {
            // It was alone for too long.
            self.attempts.remove(at);
            return;
        }
        let mut running = self.attempts.remove(at);
        let mut told = Vec::new();
        for part in 0..2 {
            self.pass(&mut running, part, faults, &mut told);
        }
        self.write(&mut running, &mut told);
        if self.ending && running.is_released() && !running.drained && !running.settles {
            running.drained = true;
            if terms[0] == terms[1] {
                told.push((terms[0], Event::Drained { attempt: running.attempt }));
            }
        }
        self.attempts.push(running);
        told.into_iter().for_each(|(term, event)| self.told(term, event));
    }

    /// A part of the attempt that a leader looks for registers with it.
    fn register(&mut self, finder: usize) {
        let (term, incarnation, attempt) = self.finding[finder].clone();
        let part = self.dice.roll(2) as usize;
        let Some(running) = self.attempts.iter_mut().find(|running| running.is(&incarnation, attempt)) else { return };
        let it = &mut running.parts[part];
        if it.gone || it.term > term {
            return;
        }
        if running.settles {
            // Nobody goes on with one that only writes.
            it.gone = true;
            return;
        }
        it.term = term;
        let is_whole = running.parts.iter().all(|part| part.term == term && !part.gone);
        if !is_whole && self.plant != Plant::FindsHalf {
            return;
        }
        let forgets = self.plant == Plant::ForgetsBarriers;
        let highest = running.parts.iter().map(|part| if forgets { CheckpointId::NONE } else { part.highest }).max();
        let progress = running.written.iter().map(|(lane, progress)| ((name("out"), *lane), *progress)).collect();
        let (restored, drained) = (running.restored, running.drained);
        let highest = highest.unwrap_or(CheckpointId::NONE);
        let found = Found { restored, highest, progress, started: true, drained };
        self.finding.remove(finder);
        self.counts.found += 1;
        self.told(term, Event::Found { attempt, found });
    }

    /// A barrier passes a part, if one waits there.
    fn pass(&mut self, running: &mut Running, part: usize, faults: bool, told: &mut Vec<(u64, Event)>) {
        let (attempt, term) = (running.attempt, running.parts[part].term);
        if running.parts[part].gone || running.parts[part].barriers.is_empty() || !self.dice.one_in(3) {
            return;
        }
        let checkpoint = running.parts[part].barriers.remove(0);
        if faults && self.dice.one_in(10) {
            told.push((term, Event::Declined { attempt, checkpoint, reason: "no room".into() }));
        } else if !(faults && self.dice.one_in(10)) {
            let acks = if part == 0 { self.keyed(running, checkpoint) } else { self.sealed(running, checkpoint) };
            let ack = |(node, subtask, piece)| {
                (term, Event::Acknowledged { attempt, checkpoint, node: name(node), subtask, piece })
            };
            told.extend(acks.into_iter().map(ack));
        }
    }

    fn object(&mut self, incarnation: &Incarnation, checkpoint: CheckpointId) -> ObjectName {
        self.unique += 1;
        let object = ObjectName::new(incarnation, checkpoint, self.unique);
        self.objects.insert(object.clone());
        object
    }

    /// What the part with the keyed state contributes.
    fn keyed(&mut self, running: &mut Running, checkpoint: CheckpointId) -> Vec<(&'static str, u32, Piece)> {
        let life = running.incarnation.clone();
        let delta = self.object(&life, checkpoint);
        running.runs.push(delta);
        if running.runs.len() > 4 {
            // A new base, named for the first time.
            running.runs = vec![self.object(&life, checkpoint)];
        }
        let run = |object: &ObjectName| Run { chunk: chunk(object.clone()), entries: 1, groups: None };
        let chain = Chain { groups: 0..=127, runs: running.runs.iter().map(run).collect(), pending: vec![] };
        let passed = || Piece::Passed { ended: running.drained, splits: vec![] };
        vec![("in", 0, passed()), ("counts", 0, Piece::State(chain)), ("counts", 0, passed())]
    }

    /// What the part with the sink contributes: all that it has sealed and not seen as written.
    fn sealed(&mut self, running: &mut Running, checkpoint: CheckpointId) -> Vec<(&'static str, u32, Piece)> {
        let life = running.incarnation.clone();
        let passed = || Piece::Passed { ended: running.drained, splits: vec![] };
        let mut acks = vec![("in", 1, passed())];
        for lane in 0..running.width {
            running.segments.push((lane, checkpoint));
            let mut segments = Vec::new();
            for (_, segment) in running.segments.iter().copied().filter(|(of, _)| *of == lane).collect::<Vec<_>>() {
                let part = Bytes { chunk: chunk(self.object(&life, checkpoint)), records: 1 };
                segments.push(Segment { checkpoint: segment, parts: vec![part] });
            }
            acks.push(("out", lane, Piece::Output(Output { lane, segments, files: vec![] })));
            acks.push(("out", lane, Piece::Passed { ended: running.drained, splits: vec![] }));
        }
        acks
    }

    /// A lane writes, if there is something to write.
    fn write(&mut self, running: &mut Running, told: &mut Vec<(u64, Event)>) {
        if running.to_write.is_empty() || running.parts[1].gone || !self.dice.one_in(3) {
            return;
        }
        let (lane, checkpoint) = running.to_write.remove(0);
        if self.plant != Plant::TellsTooMuch || self.dice.one_in(2) {
            self.written.insert((running.incarnation.clone(), lane, checkpoint));
        }
        let progress = Progress { checkpoint, part: 1 };
        running.written.insert(lane, progress);
        running.segments.retain(|(of, segment)| *of != lane || *segment > checkpoint);
        let (attempt, lane) = (running.attempt, (name("out"), lane));
        told.push((running.parts[1].term, Event::Progressed { attempt, lane, progress }));
    }

    /// No barrier before all that the restored checkpoint carries is written.
    pub(super) fn check_settled(&self, which: usize, attempt: Attempt) {
        let term = self.leaders[which].term;
        let mine = self.attempts.iter().find(|running| running.attempt == attempt && running.obeys(term));
        if let Some((running, restored)) = mine.and_then(|running| Some((running, running.restored?))) {
            let is_written = self.is_all_written(&running.incarnation, restored);
            assert!(is_written, "a barrier before {restored:?} is settled:\n{}", self.story());
        }
    }

    /// Output may be written only when HEAD names the checkpoint that carries it, or a later one.
    pub(super) fn confirm(&mut self, which: usize, of: &Incarnation, attempt: Attempt, checkpoint: CheckpointId) {
        self.confirmed += 1;
        // One that is behind by a life was right in its own.
        if let Some((head, _)) = self.head.as_ref().filter(|(head, _)| head.incarnation == *of) {
            let is_named = head.latest >= Some(checkpoint);
            assert!(is_named, "{checkpoint:?} is confirmed before HEAD names it:\n{}", self.story());
        }
        self.order(which, attempt, What::Confirm(checkpoint));
    }
}

fn chunk(object: ObjectName) -> Chunk {
    Chunk { object, offset: 0, length: 1, crc: 0 }
}
