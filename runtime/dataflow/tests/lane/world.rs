//! One lane of three subtasks, the processes that think that they own it, what HEAD says, and a model of a broker.

use std::collections::{BTreeMap, VecDeque};

use flow_dataflow::lane::{Action, Event, Identity, Lane, Outcome, Sealed, Standing};
use flow_model::checkpoint::snapshot::{Output, Part, Progress, Segment};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Incarnation, ObjectName};
use flow_model::ids::OperatorName;
use flow_sim::Broker;
use flow_sim::broker::{Error, Producer, Record};

const SUBTASKS: usize = 3;
const OUT: u32 = 0;
const PROGRESS: u32 = 1;

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    /// After an unknown outcome it is written again without reading.
    RedoUnread,
    /// Progress is read before the init of the producer that writes, not after it.
    ReadBeforeInit,
    /// A snapshot names what its own checkpoint sealed, and nothing older.
    OnlyOwnSegment,
    /// The producer of a transaction makes the next one too.
    KeepProducer,
    /// Segments are forgotten when they are confirmed, not when they are written.
    ReleaseWhenConfirmed,
    /// A new attempt does not say that it owns the lane.
    NoClaim,
    /// A barrier is sent before all of the restored checkpoint is written.
    EarlyBarrier,
}

/// How something goes that is done over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    AnswerLost,
    NotDone,
    /// The request is on its way when its client gives up.
    Late,
    /// The client has asked twice, and the first request is still on its way.
    Twice,
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// A subtask takes records.
    Take { subtask: usize, records: u32 },
    /// Its part is full.
    Cut(usize),
    /// A barrier reaches so many subtasks, and the checkpoint is complete if it reaches all.
    Barrier { reached: usize },
    /// The newest process hears of what is confirmed.
    Confirm,
    /// A process does the next thing.
    Step { process: usize, fate: Fate },
    /// A request arrives that nobody waits for any more.
    DeliverLate(usize),
    /// The newest process is gone, or just sleeps, and another one takes over.
    Crash { wakes: bool },
    /// The broker gives up an open transaction.
    TimeOut,
    /// The broker has written what it decided.
    Settle,
}

/// A part of what a lane wants done.
enum Step {
    /// Reads too early, as a planted fault does.
    Peek,
    Init,
    Read,
    Produce(u32, Vec<Record>),
    End,
}

struct Process {
    attempt: Attempt,
    lane: Lane,
    subtasks: Vec<Sealed>,
    /// Records of the part that is not full yet, by subtask.
    open: Vec<Vec<u32>>,
    /// The position of the source.
    position: u32,
    restored: CheckpointId,
    counter: u32,
    steps: VecDeque<Step>,
    producer: Option<Producer>,
    /// Confirmed, and not yet heard of.
    inbox: VecDeque<CheckpointId>,
    settled: Option<CheckpointId>,
    progress: Option<Progress>,
    /// What a planted fault has kept in mind.
    seen: Option<Standing>,
    fresh: bool,
    left: bool,
}

/// What the store says of the job.
struct Head {
    attempt: Attempt,
    checkpoint: CheckpointId,
    outputs: Vec<Output>,
    progress: Option<Progress>,
    position: u32,
}

pub struct World {
    plant: Plant,
    identity: Identity,
    broker: Broker,
    objects: BTreeMap<ObjectName, Vec<u32>>,
    head: Head,
    /// Oldest first; the last one is the right one.
    processes: Vec<Process>,
    late: Vec<(Producer, bool)>,
    names: u128,
}

impl World {
    pub fn new(plant: Plant) -> World {
        let sink = OperatorName::new("out").expect("a name");
        let identity = Identity { incarnation: Incarnation::of(1), sink, index: 0 };
        let mut world = World {
            plant,
            identity,
            broker: Broker::default(),
            objects: BTreeMap::new(),
            head: Head {
                attempt: Attempt(0),
                checkpoint: CheckpointId::NONE,
                outputs: Vec::new(),
                progress: None,
                position: 0,
            },
            processes: Vec::new(),
            late: Vec::new(),
            names: 0,
        };
        world.start();
        world
    }

    /// The next attempt goes on from what HEAD says.
    fn start(&mut self) {
        self.head.attempt.0 += 1;
        let Head { attempt, checkpoint, progress, position, .. } = self.head;
        let segments = self
            .head
            .outputs
            .iter()
            .zip(0..)
            .flat_map(|(output, subtask)| output.segments.iter().map(move |segment| (subtask, segment.clone())));
        let (lane, actions) = Lane::open(attempt, checkpoint, progress, segments);
        let mut process = Process {
            attempt,
            lane,
            subtasks: (0..SUBTASKS).map(|_| Sealed::new(0)).collect(),
            open: vec![Vec::new(); SUBTASKS],
            position,
            restored: checkpoint,
            counter: 0,
            steps: VecDeque::new(),
            producer: None,
            inbox: VecDeque::new(),
            settled: None,
            progress,
            seen: None,
            fresh: true,
            left: false,
        };
        self.take_up(&mut process, actions).expect("nothing is read yet");
        self.processes.push(process);
    }

    pub fn apply(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Take { subtask, records } => {
                let process = self.newest();
                let taken = process.position..process.position + records;
                process.position = taken.end;
                process.open[subtask].extend(taken);
            }
            Op::Cut(subtask) => self.cut(subtask),
            Op::Barrier { reached } => self.barrier(reached)?,
            Op::Confirm => {
                if let Some(checkpoint) = self.newest().inbox.pop_front() {
                    self.tell(self.processes.len() - 1, Event::Confirmed(checkpoint))?;
                }
            }
            Op::Step { process, fate } => {
                // Mostly the newest one.
                let last = self.processes.len() - 1;
                self.step(last.saturating_sub(process), fate)?;
            }
            Op::DeliverLate(at) => {
                if at < self.late.len() {
                    let (by, commit) = self.late.remove(at);
                    let id = self.identity.transactional_id();
                    _ = self.broker.end(&id, by, commit);
                }
            }
            Op::Crash { wakes } => {
                if !wakes {
                    self.processes.pop();
                }
                self.start();
            }
            Op::TimeOut => self.broker.time_out(&self.identity.transactional_id()),
            Op::Settle => self.broker.settle(),
        }
        // Nothing else ends a transaction.
        if matches!(op, Op::DeliverLate(_) | Op::Settle) { self.check() } else { Ok(()) }
    }

    /// Nothing goes wrong any more: what is late arrives, another attempt comes, and the lane is settled.
    pub fn finish(&mut self) -> Result<(), String> {
        while !self.late.is_empty() {
            self.apply(Op::DeliverLate(0))?;
        }
        self.apply(Op::Crash { wakes: true })?;
        for round in 0..1000 {
            // In step with each other, two of them fence each other for ever; those who were fenced pause for that reason.
            let slower = if round % 10 == 0 { 0 } else { self.processes.len() - 1 };
            for process in slower..self.processes.len() {
                self.step(process, Fate::Done)?;
                self.broker.settle();
            }
            self.check()?;
            let newest = self.newest();
            if newest.settled >= Some(newest.restored) && newest.steps.is_empty() {
                let written = self.written().len();
                let promised = self.head.position as usize;
                return if written == promised {
                    Ok(())
                } else {
                    Err(format!("{} of {promised} records are missing", promised - written))
                };
            }
        }
        Err("the lane is never settled".into())
    }

    fn newest(&mut self) -> &mut Process {
        self.processes.last_mut().expect("there is always one")
    }

    fn cut(&mut self, subtask: usize) {
        self.names += 1;
        let (names, incarnation) = (self.names, self.identity.incarnation.clone());
        let process = self.newest();
        let records = std::mem::take(&mut process.open[subtask]);
        if records.is_empty() {
            return;
        }
        let checkpoint = CheckpointId::new(process.attempt, process.counter + 1);
        let object = ObjectName::new(&incarnation, checkpoint, names);
        // Two of them fill the first transaction.
        let chunk = Chunk { object: object.clone(), offset: 0, length: 16 << 20, crc: 0 };
        process.subtasks[subtask].add(Part { chunk, records: records.len() as u64 });
        process.subtasks[subtask].stored(&object);
        self.objects.insert(object, records);
    }

    fn barrier(&mut self, reached: usize) -> Result<(), String> {
        let at = self.processes.len() - 1;
        let is_settled = self.processes[at].settled >= Some(self.processes[at].restored);
        if !is_settled && self.plant != Plant::EarlyBarrier {
            return Ok(());
        }
        let process = self.newest();
        process.counter += 1;
        let checkpoint = CheckpointId::new(process.attempt, process.counter);
        let mut outputs = Vec::new();
        for subtask in 0..reached {
            self.cut(subtask);
            if let Some(segment) = self.newest().subtasks[subtask].seal(checkpoint) {
                let subtask = subtask as u32;
                self.tell(at, Event::Sealed { subtask, segment })?;
            }
            outputs.push(self.newest().subtasks[subtask].ack().ok_or("all of it is stored")?.output);
        }
        if reached < SUBTASKS {
            return Ok(());
        }
        if self.plant == Plant::OnlyOwnSegment {
            let is_own = |segment: &Segment| segment.checkpoint == checkpoint;
            outputs.iter_mut().for_each(|output| output.segments.retain(is_own));
        }
        let release = self.plant == Plant::ReleaseWhenConfirmed;
        let process = self.newest();
        if release {
            process.subtasks.iter_mut().for_each(|sealed| drop(sealed.written(checkpoint)));
        }
        process.inbox.push_back(checkpoint);
        let (attempt, progress, position) = (process.attempt, process.progress, process.position);
        self.head = Head { attempt, checkpoint, outputs, progress, position };
        Ok(())
    }

    fn tell(&mut self, at: usize, event: Event) -> Result<(), String> {
        let mut process = self.processes.remove(at);
        let actions = process.lane.handle(event);
        let done = self.take_up(&mut process, actions);
        self.processes.insert(at, process);
        done
    }

    fn take_up(&mut self, process: &mut Process, actions: Vec<Action>) -> Result<(), String> {
        let record = |(key, value): (String, String)| Record { key: key.into(), value: value.into() };
        for action in actions {
            match action {
                Action::Init => {
                    if self.plant == Plant::ReadBeforeInit {
                        process.steps.push_back(Step::Peek);
                    }
                    process.steps.push_back(Step::Init);
                }
                Action::Read => process.steps.push_back(Step::Read),
                Action::Claim(attempt) => {
                    if self.plant != Plant::NoClaim {
                        let claim = record(self.identity.attempt(attempt));
                        process.steps.push_back(Step::Produce(PROGRESS, vec![claim]));
                    }
                    process.steps.push_back(Step::End);
                }
                Action::Write { parts, progress } => {
                    for part in parts {
                        let records = self.objects[&part.chunk.object].iter();
                        let records = records.map(|n| Record { key: Vec::new(), value: n.to_string().into() });
                        process.steps.push_back(Step::Produce(OUT, records.collect()));
                    }
                    let last = record(self.identity.progress(progress));
                    process.steps.push_back(Step::Produce(PROGRESS, vec![last]));
                    process.steps.push_back(Step::End);
                }
                Action::Tell(settled) => {
                    process.settled = Some(settled.through);
                    process.progress = settled.progress;
                    process.subtasks.iter_mut().for_each(|sealed| drop(sealed.written(settled.through)));
                }
                Action::Exit(higher) => {
                    process.left = true;
                    if higher <= process.attempt || process.attempt == self.head.attempt {
                        return Err(format!("attempt {} left for {higher}", process.attempt));
                    }
                }
                Action::Fail(refusal) => return Err(format!("attempt {}: {refusal}", process.attempt)),
            }
        }
        Ok(())
    }

    /// Does the next thing of a process.
    fn step(&mut self, at: usize, fate: Fate) -> Result<(), String> {
        let (id, plant) = (self.identity.transactional_id(), self.plant);
        let Some(step) = self.processes[at].steps.pop_front() else { return Ok(()) };
        let by = self.processes[at].producer;
        let event = match step {
            Step::Peek => {
                self.processes[at].seen = Some(self.standing().1);
                return Ok(());
            }
            Step::Init if plant == Plant::KeepProducer && by.is_some() && self.processes[at].fresh => {
                Event::Initialised(Outcome::Done(()))
            }
            Step::Init => Event::Initialised(match fate {
                Fate::NotDone | Fate::Late => Outcome::Unknown,
                Fate::Done | Fate::Twice | Fate::AnswerLost => match self.init(fate) {
                    Ok(producer) if fate != Fate::AnswerLost => {
                        self.processes[at].producer = Some(producer);
                        Outcome::Done(())
                    }
                    Err(Error::Fenced) => Outcome::Fenced,
                    Ok(_) | Err(_) => Outcome::Unknown,
                },
            }),
            Step::Read => Event::Read(self.read(at)),
            Step::Produce(partition, records) => {
                let by = by.ok_or("a transaction before init")?;
                self.broker.settle();
                let half = if fate == Fate::NotDone { records.len() / 2 } else { records.len() };
                match self.broker.produce(&id, by, partition, records.into_iter().take(half)) {
                    Ok(()) if fate != Fate::NotDone => return Ok(()),
                    Err(Error::Fenced) => Event::Committed(Outcome::Fenced),
                    Ok(()) | Err(_) => Event::Committed(Outcome::Unknown),
                }
            }
            Step::End if plant == Plant::NoClaim && self.processes[at].seen.is_none() => {
                self.processes[at].seen = Some(Standing::default());
                Event::Committed(Outcome::Done(()))
            }
            Step::End => {
                let by = by.ok_or("a transaction before init")?;
                if matches!(fate, Fate::Late | Fate::Twice) {
                    self.late.push((by, true));
                }
                Event::Committed(match fate {
                    Fate::NotDone | Fate::Late => Outcome::Unknown,
                    Fate::Done | Fate::Twice | Fate::AnswerLost => match self.broker.end(&id, by, true) {
                        Ok(()) if fate != Fate::AnswerLost => Outcome::Done(()),
                        Err(Error::Fenced) => Outcome::Fenced,
                        Ok(()) | Err(_) => Outcome::Unknown,
                    },
                })
            }
        };
        if let Event::Committed(outcome) = &event {
            self.processes[at].fresh = *outcome == Outcome::Done(());
            // The rest of a transaction that failed.
            self.processes[at].steps.clear();
        }
        self.tell(at, event)
    }

    /// Calls init, mostly until what is about to end has ended, as a client does.
    fn init(&mut self, fate: Fate) -> Result<Producer, Error> {
        let id = self.identity.transactional_id();
        let first = self.broker.init(&id);
        if fate == Fate::Twice || first != Err(Error::Concurrent) {
            return first;
        }
        self.broker.settle();
        self.broker.init(&id)
    }

    fn read(&mut self, at: usize) -> Outcome<Standing> {
        let (whole, found) = self.standing();
        let found = whole.then_some(found);
        let process = &mut self.processes[at];
        let owner = Some(process.attempt);
        let found = match self.plant {
            Plant::ReadBeforeInit => process.seen,
            Plant::RedoUnread if process.settled.is_some() => {
                Some(Standing { progress: process.progress, attempt: owner })
            }
            Plant::NoClaim if process.seen.is_some() => found.map(|found| Standing { attempt: owner, ..found }),
            _ => found,
        };
        found.map_or(Outcome::Unknown, Outcome::Done)
    }

    /// What stands in the progress topic as far as it can be read, and whether that is all of it: nothing in it is open.
    fn standing(&mut self) -> (bool, Standing) {
        self.broker.settle();
        let seen = self.broker.read(PROGRESS);
        let mut standing = Standing::default();
        for record in &seen.records {
            self.identity.read(&mut standing, &record.key, &record.value).expect("our own records");
        }
        (seen.end == seen.high, standing)
    }

    /// The numbers of all records that a reader sees.
    fn written(&self) -> Vec<u32> {
        let number = |record: Record| String::from_utf8_lossy(&record.value).parse().expect("a number");
        self.broker.read(OUT).records.into_iter().map(number).collect()
    }

    fn check(&self) -> Result<(), String> {
        let mut written = self.written();
        written.sort_unstable();
        if let Some(twice) = written.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("record {} is written twice", twice[0]));
        }
        match written.last().filter(|last| **last >= self.head.position) {
            Some(early) => Err(format!("record {early} is written and not confirmed")),
            None => Ok(()),
        }
    }
}
