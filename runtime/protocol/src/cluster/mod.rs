//! The workers of a cluster as its leader knows them, and what of which job they run: [`Cluster::handle`] takes what happened and
//! says what is to be done. Between a job ([`crate::Job`]), which knows one attempt at a time, and the workers that run the parts of it.
//! Must never decide what a failure means: that is the job's.
//!
//! - `member`: a worker: active, suspected, draining, drained; lost after a silence
//! - `placement`: an attempt spread over workers
//! - [`event`]: what happens and what is to be done
//!
//! Jobs that wait for slots are looked at in the order of their submission whenever there may be some, and each gets them that fits: a
//! wide job does not keep the others from running.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use flow_model::checkpoint::{Attempt, Incarnation};
use flow_model::cluster::{Assignment, Part, Session, Stage, Worker};
use flow_model::ids::{JobId, WorkerId};
use flow_model::workers::{RunningPart, Slots, WorkerState, WorkerStatus};

use crate::Time;
use crate::job::{self, Failure};
use crate::restart::Kind;
use crate::scheduler::{self, Offer, Shortage};

pub mod event;
mod member;
mod placement;

pub use event::{Action, Event, Refusal, Request, Work};
use member::{Member, Standing};
use placement::{Entry, Placed, Placement, Progress, Turn};

/// So many workers that were lost are still shown.
const LOST: usize = 32;

/// How patient a leader is with workers. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The version of Flow that workers must have.
    pub version: String,
    /// A worker that was not heard of for so long gets nothing new.
    pub suspected: Time,
    /// After so long what it runs is given up.
    pub lost: Time,
}

/// The workers of a cluster, and what they run.
pub struct Cluster {
    settings: Settings,
    term: u64,
    registrations: u64,
    members: BTreeMap<WorkerId, Member>,
    /// Those that were lost last, and when.
    lost: VecDeque<(Worker, Time)>,
    jobs: BTreeMap<JobId, Entry>,
    now: Time,
    actions: Vec<Action>,
}

impl Cluster {
    /// Of a leader that begins in this term.
    pub fn new(settings: Settings, term: u64, now: Time) -> Cluster {
        Cluster {
            settings,
            term,
            registrations: 0,
            members: BTreeMap::new(),
            lost: VecDeque::new(),
            jobs: BTreeMap::new(),
            now,
            actions: Vec::new(),
        }
    }

    /// Takes what happened at `now` and says what is to be done, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.look_at_the_clock(now);
        match event {
            Event::Registered { worker, parts, draining } => self.registered(worker, parts, draining),
            Event::Heartbeat(worker, session) => _ = self.heard(&worker, session),
            Event::Told { worker, session, job, event } => {
                if self.heard(&worker, session) {
                    self.told(&worker, &job, event);
                }
            }
            Event::Left(worker, session, reason) => match self.members.get(&worker) {
                Some(member) if member.session != session => {}
                // Nothing is lost with it.
                Some(member) if member.standing == Standing::Drained => {
                    self.actions.push(Action::Gone(member.worker.clone()));
                    self.members.remove(&worker);
                }
                _ => self.lose(&worker, &reason),
            },
            Event::Drain(number, worker) => self.drain(number, &worker),
            Event::Known(job, submitted) => _ = self.entry(&job, submitted),
            Event::Forgotten(job) => self.forget(&job),
            Event::Wanted(job, request) => self.wanted(job, request),
            Event::Find(job, incarnation, attempt) => self.find(job, incarnation, attempt),
            Event::Cancel(job, attempt) => self.cancel(job, attempt),
            Event::Tick => {}
        }
        self.lose_the_silent();
        self.place_waiting();
        self.let_the_drained_go();
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        self.members.values().map(|member| member.heard.saturating_add(self.settings.lost)).min()
    }

    /// The workers that run an attempt: whom its orders go to.
    pub fn workers_of(&self, job: &JobId, attempt: Attempt) -> Vec<(WorkerId, Session)> {
        let Some(Placement::Placed(placed)) = self.jobs.get(job).map(|entry| &entry.placement) else {
            return Vec::new();
        };
        let workers = placed.workers().filter(|_| placed.attempt == attempt);
        workers.filter_map(|worker| Some((worker.clone(), self.members.get(worker)?.session))).collect()
    }

    /// Where a job runs, or ran last.
    pub fn assignment(&self, job: &JobId) -> Option<&Assignment> {
        let entry = self.jobs.get(job)?;
        match &entry.placement {
            Placement::Placed(placed) => Some(&placed.assignment),
            _ => entry.before.as_deref(),
        }
    }

    /// All workers that are known, by name, for people.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let status = |worker: &Worker, (state, since): (WorkerState, Time), running: Vec<RunningPart>| {
            let used = running.iter().map(|part| part.slots).sum();
            // What can't be given anything has nothing to give.
            let free = if state == WorkerState::Active { worker.slots.saturating_sub(used) } else { 0 };
            WorkerStatus {
                id: worker.id.clone(),
                name: worker.name.clone(),
                address: worker.address.clone(),
                version: worker.version.clone(),
                state,
                since,
                slots: Slots { total: worker.slots, used, free },
                running,
            }
        };
        let here = self.members.values().map(|member| {
            let running = self.jobs.iter().map(|(job, entry)| (job, entry.slots(&member.worker.id).count()));
            let running = running.filter(|(_, slots)| *slots > 0);
            let running = running.map(|(job, slots)| RunningPart { job: job.clone(), slots: slots as u32 }).collect();
            status(&member.worker, member.state(self.now, &self.settings), running)
        });
        let lost = self.lost.iter().map(|(worker, since)| status(worker, (WorkerState::Lost, *since), Vec::new()));
        let mut all: Vec<WorkerStatus> = here.chain(lost).collect();
        all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        all
    }

    /// A leader that was stopped for a while itself has heard nobody: that is nobody's fault.
    fn look_at_the_clock(&mut self, now: Time) {
        let asleep = now.saturating_sub(self.now);
        if asleep >= self.settings.suspected {
            self.members.values_mut().for_each(|member| member.heard = member.heard.saturating_add(asleep).min(now));
        }
        self.now = now;
    }

    /// Whether a worker spoke in the session that it has: the one place where what others say is dropped.
    fn heard(&mut self, worker: &WorkerId, session: Session) -> bool {
        match self.members.get_mut(worker).filter(|member| member.session == session) {
            Some(member) => {
                member.heard = self.now;
                true
            }
            None => {
                self.actions.push(Action::Ended(worker.clone(), session));
                false
            }
        }
    }

    fn registered(&mut self, worker: Worker, parts: Vec<Part>, draining: bool) {
        if worker.version != self.settings.version {
            let (theirs, ours) = (worker.version.clone(), self.settings.version.clone());
            return self.refuse(worker.id.clone(), Refusal::Version { worker, theirs, ours });
        }
        let is_other = |member: &&Member| member.worker.name == worker.name && member.worker.id != worker.id;
        if let Some(other) = self.members.values().find(is_other) {
            // One that has ended has ended its connection, or is silent soon.
            if !other.is_suspected(self.now, &self.settings) {
                let other = other.worker.clone();
                return self.refuse(worker.id.clone(), Refusal::Name { worker, other });
            }
            let other = other.worker.id.clone();
            self.lose(&other, "its process was started again");
        }
        // What was said in between, by either side, is lost.
        self.lose(&worker.id.clone(), "it has registered again");
        // Who comes back under its name was missed until now, in whatever life.
        self.lost.retain(|(lost, _)| lost.id != worker.id && lost.name != worker.name);
        self.registrations += 1;
        let session = Session { term: self.term, number: self.registrations };
        let id = worker.id.clone();
        let standing = if draining { Standing::Draining } else { Standing::Active };
        let member = Member { worker, session, standing, since: self.now, heard: self.now };
        self.members.insert(id.clone(), member);
        self.actions.push(Action::Welcome(id.clone(), session));
        for part in parts {
            self.reported(&id, part);
        }
    }

    fn refuse(&mut self, worker: WorkerId, refusal: Refusal) {
        self.actions.push(Action::Refuse(worker, refusal));
    }

    /// A worker ran this when it registered.
    fn reported(&mut self, worker: &WorkerId, part: Part) {
        let (job, attempt) = (part.job.clone(), part.attempt);
        let entry = self.jobs.get_mut(&job);
        // One that only writes is begun anew by whoever wants that.
        let awaited = entry.filter(|_| !part.assignment.places.is_empty()).filter(|entry| match &entry.placement {
            Placement::Nowhere => true,
            Placement::Finding(incarnation, attempt) => (incarnation, *attempt) == (&part.incarnation, part.attempt),
            Placement::Waiting(_) | Placement::Placed(_) => false,
        });
        match awaited {
            Some(entry) => {
                entry.reported.insert(worker.clone(), part);
                self.try_found(&job);
            }
            None => self.actions.push(Action::Cancel(worker.clone(), job, attempt)),
        }
    }

    fn entry(&mut self, job: &JobId, submitted: Time) -> &mut Entry {
        self.jobs.entry(job.clone()).or_insert_with(|| Entry {
            submitted,
            placement: Placement::Nowhere,
            reported: BTreeMap::new(),
            before: None,
        })
    }

    /// Cancels what workers have reported of a job and nobody wants, but for one attempt.
    fn cancel_reported(&mut self, job: &JobId, but: Option<(&Incarnation, Attempt)>) {
        let Some(entry) = self.jobs.get_mut(job) else { return };
        let is_wanted = |part: &Part| but == Some((&part.incarnation, part.attempt));
        let (kept, unwanted): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut entry.reported).into_iter().partition(|(_, part)| is_wanted(part));
        entry.reported = kept;
        let cancels = unwanted.into_iter().map(|(worker, part)| Action::Cancel(worker, job.clone(), part.attempt));
        self.actions.extend(cancels);
    }

    fn find(&mut self, job: JobId, incarnation: Incarnation, attempt: Attempt) {
        let now = self.now;
        self.entry(&job, now).placement = Placement::Finding(incarnation.clone(), attempt);
        self.cancel_reported(&job, Some((&incarnation, attempt)));
        self.try_found(&job);
    }

    /// Tells the job if all parts of the attempt that it looks for are there.
    fn try_found(&mut self, job: &JobId) {
        let Some(entry) = self.jobs.get_mut(job) else { return };
        let Placement::Finding(_, attempt) = entry.placement else { return };
        let Some(found) = placement::whole(&entry.reported) else { return };
        let Some(placed) = Placed::found(attempt, &entry.reported) else { return };
        let drains = |member: &Member| member.standing == Standing::Draining;
        let is_draining = placed.workers().any(|worker| self.members.get(worker).is_some_and(drains));
        entry.placement = Placement::Placed(placed);
        entry.reported.clear();
        self.tell(job, job::Event::Found { attempt, found });
        if is_draining {
            self.actions.push(Action::Move(job.clone()));
        }
    }

    fn wanted(&mut self, job: JobId, request: Box<Request>) {
        self.cancel_reported(&job, None);
        let now = self.now;
        self.entry(&job, now).placement = Placement::Waiting(request);
        // Whoever waits from now on is to know for what.
        if let Err(shortage) = self.try_place(&job) {
            self.actions.push(Action::Waits(job, shortage));
        }
    }

    fn place_waiting(&mut self) {
        let is_waiting = |entry: &Entry| matches!(entry.placement, Placement::Waiting(_));
        let waiting = self.jobs.iter().filter(|(_, entry)| is_waiting(entry));
        let waiting: BTreeSet<(Time, JobId)> = waiting.map(|(job, entry)| (entry.submitted, job.clone())).collect();
        for (_, job) in waiting {
            // It was told already what is missing.
            _ = self.try_place(&job);
        }
    }

    /// What an attempt that waits is waiting for.
    pub fn waits_for(&self, job: &JobId) -> Option<Shortage> {
        let entry = self.jobs.get(job)?;
        let Placement::Waiting(request) = &entry.placement else { return None };
        self.assign(request, entry.before.as_deref()).err()
    }

    fn assign(&self, request: &Request, before: Option<&Assignment>) -> Result<Assignment, Shortage> {
        let open = self.members.values().filter(|member| member.takes_more(self.now, &self.settings));
        match (&request.work, request.from.as_deref()) {
            (Work::Run(plan), from) => {
                let offers: Vec<Offer<'_>> = open.map(|member| self.offer(member)).collect();
                scheduler::place(plan, &request.contributions, from, before, &offers)
            }
            (Work::Settle { .. }, Some(from)) => {
                let workers: Vec<&Worker> = open.map(|member| &member.worker).collect();
                scheduler::place_lanes(from, &workers)
            }
            // Nothing is owed by nothing.
            (Work::Settle { .. }, None) => Ok(Assignment::default()),
        }
    }

    /// Deploys an attempt that waits, if there is room for it.
    fn try_place(&mut self, job: &JobId) -> Result<(), Shortage> {
        let Some(Entry { placement: Placement::Waiting(request), before, .. }) = self.jobs.get(job) else {
            return Ok(());
        };
        let assignment = Arc::new(self.assign(request, before.as_deref())?);
        let Some(entry) = self.jobs.get_mut(job) else { return Ok(()) };
        let Placement::Waiting(request) = std::mem::replace(&mut entry.placement, Placement::Nowhere) else {
            return Ok(());
        };
        entry.placement = Placement::Placed(Placed::new(request.attempt, assignment.clone()));
        self.actions.push(Action::Deploy(job.clone(), request, assignment));
        Ok(())
    }

    fn offer<'a>(&self, member: &'a Member) -> Offer<'a> {
        let used = self.jobs.values().flat_map(|entry| entry.slots(&member.worker.id));
        let used: BTreeSet<u32> = used.collect();
        Offer { worker: &member.worker, free: (0..member.worker.slots).filter(|slot| !used.contains(slot)).collect() }
    }

    fn told(&mut self, worker: &WorkerId, job: &JobId, event: job::Event) {
        let Some(entry) = self.jobs.get_mut(job) else { return };
        if entry.awaited(worker, &event)
            && let Some(attempt) = event.attempt()
        {
            self.actions.push(Action::Cancel(worker.clone(), job.clone(), attempt));
        }
        let Placement::Placed(placed) = &mut entry.placement else { return };
        if event.attempt() != Some(placed.attempt) || !placed.is_on(worker) {
            return;
        }
        let progress = match &event {
            job::Event::Started { .. } => Progress::At(Stage::Started),
            job::Event::Drained { .. } => Progress::At(Stage::Drained),
            job::Event::Stopped { .. } => Progress::Stopped,
            job::Event::Failed { failure, .. } => return self.part_failed(job, failure.clone()),
            _ => return self.tell(job, event),
        };
        let (attempt, turn) = (placed.attempt, placed.part(worker, progress));
        self.turned(job, attempt, turn);
    }

    fn turned(&mut self, job: &JobId, attempt: Attempt, turn: Turn) {
        match turn {
            Turn::None | Turn::All(Stage::Deploying) => {}
            Turn::All(Stage::Started) => self.tell(job, job::Event::Started { attempt }),
            Turn::All(Stage::Drained) => self.tell(job, job::Event::Drained { attempt }),
            Turn::Over => {
                if let Some(entry) = self.jobs.get_mut(job)
                    && let Placement::Placed(placed) = std::mem::replace(&mut entry.placement, Placement::Nowhere)
                {
                    entry.before = Some(placed.assignment);
                }
                self.tell(job, job::Event::Stopped { attempt });
            }
        }
    }

    /// A part of the attempt of a job has failed: so has all of it.
    fn part_failed(&mut self, job: &JobId, failure: Failure) {
        let Some(Entry { placement: Placement::Placed(placed), .. }) = self.jobs.get(job) else { return };
        let attempt = placed.attempt;
        if self.stop(job) {
            self.tell(job, job::Event::Failed { attempt, failure });
        }
    }

    /// Cancels all parts that run; false if that was done already.
    fn stop(&mut self, job: &JobId) -> bool {
        let Some(Entry { placement: Placement::Placed(placed), .. }) = self.jobs.get_mut(job) else { return false };
        let begins = placed.stop();
        if begins {
            let attempt = placed.attempt;
            let cancels = placed.workers().map(|worker| Action::Cancel(worker.clone(), job.clone(), attempt));
            self.actions.extend(cancels);
        }
        begins
    }

    fn cancel(&mut self, job: JobId, attempt: Attempt) {
        let Some(entry) = self.jobs.get_mut(&job) else {
            return self.tell(&job, job::Event::Stopped { attempt });
        };
        match &entry.placement {
            Placement::Placed(placed) if placed.attempt == attempt => {
                _ = self.stop(&job);
                // An attempt that owed nothing has no parts.
                if self.workers_of(&job, attempt).is_empty() {
                    self.turned(&job, attempt, Turn::Over);
                }
            }
            // Those parts that are there are waited for, the others are cancelled when they are reported.
            Placement::Finding(_, looked_for) if *looked_for == attempt => {
                match Placed::found(attempt, &entry.reported) {
                    Some(placed) => {
                        entry.placement = Placement::Placed(placed);
                        entry.reported.clear();
                        _ = self.stop(&job);
                    }
                    None => {
                        entry.placement = Placement::Nowhere;
                        self.tell(&job, job::Event::Stopped { attempt });
                    }
                }
            }
            Placement::Waiting(request) if request.attempt == attempt => {
                entry.placement = Placement::Nowhere;
                self.tell(&job, job::Event::Stopped { attempt });
            }
            _ => self.tell(&job, job::Event::Stopped { attempt }),
        }
    }

    fn forget(&mut self, job: &JobId) {
        self.cancel_reported(job, None);
        _ = self.stop(job);
        self.jobs.remove(job);
    }

    fn tell(&mut self, job: &JobId, event: job::Event) {
        self.actions.push(Action::Tell(job.clone(), Box::new(event)));
    }

    fn lose_the_silent(&mut self) {
        let (now, settings) = (self.now, &self.settings);
        let silent = self.members.values().filter(|member| member.is_lost(now, settings));
        let silent: Vec<(WorkerId, Time)> = silent.map(|it| (it.worker.id.clone(), now - it.heard)).collect();
        for (worker, time) in silent {
            self.lose(&worker, &format!("it was not heard of for {time} ms"));
        }
    }

    /// A worker takes part no more: attempts with a part on it have failed.
    fn lose(&mut self, worker: &WorkerId, reason: &str) {
        let Some(member) = self.members.remove(worker) else { return };
        self.lost.push_back((member.worker.clone(), self.now));
        self.lost.drain(..self.lost.len().saturating_sub(LOST));
        self.actions.push(Action::Lost(member.worker.clone(), reason.to_owned()));
        let jobs: Vec<JobId> = self.jobs.keys().cloned().collect();
        for job in jobs {
            let Some(entry) = self.jobs.get_mut(&job) else { continue };
            entry.reported.remove(worker);
            let Placement::Placed(placed) = &mut entry.placement else { continue };
            if !placed.is_on(worker) {
                continue;
            }
            let (attempt, turn) = (placed.attempt, placed.part(worker, Progress::Stopped));
            let reason = format!("worker {} is lost: {reason}", member.worker);
            self.part_failed(&job, Failure { kind: Kind::Retryable, reason });
            self.turned(&job, attempt, turn);
        }
    }

    fn drain(&mut self, number: u64, worker: &WorkerId) {
        let Some(member) = self.members.get_mut(worker) else {
            let why = "it takes part no more; `flowctl workers` shows those that do".to_owned();
            return self.actions.push(Action::Answer(number, Err(why)));
        };
        // It may ask because it has missed the word that it may go.
        if member.standing == Standing::Drained {
            self.actions.push(Action::Drained(worker.clone()));
        }
        if member.standing == Standing::Active {
            member.stand(Standing::Draining, self.now);
            self.actions.push(Action::Draining(worker.clone()));
            for (job, entry) in &self.jobs {
                if let Placement::Placed(placed) = &entry.placement
                    && placed.is_on(worker)
                {
                    self.actions.push(Action::Move(job.clone()));
                }
            }
        }
        self.actions.push(Action::Answer(number, Ok(())));
    }

    fn let_the_drained_go(&mut self) {
        let runs = |worker: &WorkerId, entry: &Entry| {
            let placed = if let Placement::Placed(placed) = &entry.placement { Some(placed) } else { None };
            placed.is_some_and(|placed| placed.is_on(worker)) || entry.reported.contains_key(worker)
        };
        for (id, member) in &mut self.members {
            if member.standing == Standing::Draining && !self.jobs.values().any(|entry| runs(id, entry)) {
                member.stand(Standing::Drained, self.now);
                self.actions.push(Action::Drained(id.clone()));
            }
        }
    }
}
