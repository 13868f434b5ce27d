//! An attempt that runs: its checkpoints from the trigger to the commit point, and the output that they owe.

use std::collections::BTreeMap;

use flow_model::checkpoint::{Attempt, CheckpointId, Manifest};
use flow_model::ids::SavepointName;

use super::event::{Action, Event, Failure, Found};
use super::intent::Intent;
use super::settling::LAST_OUTPUT;
use super::{End, Job, Phase, Settings};
use crate::Time;
use crate::checkpoint::{Checkpoints, Complete, Expired, Purpose};
use crate::lanes::Lanes;
use crate::patience::Patience;
use crate::restart::Kind;

/// No checkpoint begins while more than so many confirmed ones have output that is not written.
const BEHIND: usize = 2;

/// How far the end of a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// There is input left, or some that has not passed.
    Open,
    /// A last checkpoint has to be taken.
    Drained,
    /// This checkpoint was the last: when its output is written the job is done.
    Final(CheckpointId),
    /// Its user wants it stopped: what is confirmed is still written, but not after that time.
    Canceling(Time),
    /// HEAD is being told.
    Told,
}

/// An attempt that runs.
pub(super) struct Running {
    pub(super) attempt: Attempt,
    /// Its tasks are there.
    started: bool,
    /// Where it began is durable: its sources may read.
    based: bool,
    /// Its sources read.
    released: bool,
    checkpoints: Checkpoints,
    /// The checkpoint that counts.
    confirmed: CheckpointId,
    /// The checkpoint that it was restored from.
    restored: Option<CheckpointId>,
    /// By checkpoint on its way: the one that its barriers carry as confirmed.
    carried: BTreeMap<CheckpointId, CheckpointId>,
    /// Complete, and its manifest is being written.
    storing: Option<(Box<Manifest>, Vec<Purpose>)>,
    /// Complete since: only the last one is worth anything.
    next: Option<Complete>,
    /// Written, and not yet proposed.
    stored: Vec<Intent>,
    ending: Ending,
    /// Why it has to be given up.
    failed: Option<Failure>,
}

impl Running {
    pub(super) fn new(
        settings: &Settings,
        attempt: Attempt,
        from: Option<&Manifest>,
        patience: Patience,
        now: Time,
    ) -> Running {
        let (taking, contributions) = ((settings.checkpoints.clone(), patience), settings.contributions.clone());
        let mut checkpoints = Checkpoints::new(taking, attempt, contributions, from);
        if from.is_some() {
            checkpoints.restored(now);
        }
        Running {
            attempt,
            started: false,
            based: from.is_some(),
            released: false,
            checkpoints,
            confirmed: from.map_or(CheckpointId::NONE, |manifest| manifest.checkpoint),
            restored: from.map(|manifest| manifest.checkpoint),
            carried: BTreeMap::new(),
            storing: None,
            next: None,
            stored: Vec::new(),
            ending: Ending::Open,
            failed: None,
        }
    }

    /// One that a former leader has deployed, as it is found; `latest` is the checkpoint that counts. Its first checkpoint is due at once.
    pub(super) fn found(
        settings: &Settings,
        attempt: Attempt,
        latest: Option<&Manifest>,
        patience: Patience,
        found: &Found,
    ) -> Running {
        let mut running = Running::new(settings, attempt, latest, patience, 0);
        running.checkpoints.go_on_above(found.highest.max(running.confirmed));
        (running.restored, running.started) = (found.restored, found.started);
        if found.drained {
            running.ending = Ending::Drained;
            running.checkpoints.want(Purpose::Final);
        }
        running
    }

    /// Its tasks are there.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    /// No barrier before every lane of the restored checkpoint is settled, nor while a lane is far behind, nor behind that of the
    /// savepoint that the job ends `with`.
    fn may_begin(&self, lanes: &Lanes, with: Option<&SavepointName>) -> bool {
        let settled = self.restored.is_none_or(|restored| lanes.is_settled_at(restored));
        let goes_on = with.is_none_or(|name| self.checkpoints.wants(&Purpose::Savepoint(name.clone())));
        self.started && settled && lanes.behind() <= BEHIND && self.is_open() && self.next.is_none() && goes_on
    }

    pub(super) fn deadline(&self, lanes: &Lanes, with: Option<&SavepointName>) -> Option<Time> {
        let canceled = if let Ending::Canceling(until) = self.ending { Some(until) } else { None };
        self.checkpoints.deadline(self.may_begin(lanes, with)).into_iter().chain(canceled).min()
    }

    /// How long its checkpoints are waited for by now.
    pub(super) fn patience(&self) -> Patience {
        self.checkpoints.patience()
    }

    /// It goes on from a checkpoint, and is not there yet.
    pub(super) fn is_restoring(&self) -> bool {
        self.restored.is_some() && !self.started
    }

    /// Its user wants it stopped.
    pub(super) fn cancel(&mut self, now: Time) {
        if self.is_open() {
            self.ending = Ending::Canceling(now.saturating_add(LAST_OUTPUT));
        }
    }

    /// Wants a checkpoint beside the periodic ones. Says which it will be.
    pub(super) fn want(&mut self, purpose: Purpose) -> CheckpointId {
        self.checkpoints.want(purpose)
    }

    /// Checkpoints may still begin.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.ending, Ending::Open | Ending::Drained)
    }

    /// The least checkpoint that a barrier on its way carries as confirmed.
    pub(super) fn least_confirmed(&self) -> CheckpointId {
        self.carried.values().min().copied().unwrap_or(CheckpointId(u64::MAX))
    }

    /// What follows from time. Its sources are to give nothing where they are `held`; the savepoint is the one that the job ends `with`,
    /// if it does. Says why the attempt has failed, if it has.
    pub(super) fn advance(
        &mut self,
        now: Time,
        lanes: &Lanes,
        (held, with): (bool, Option<&SavepointName>),
        actions: &mut Vec<Action>,
    ) -> Option<Failure> {
        while let Some(expired) = self.checkpoints.expire(now) {
            let who = expired
                .first
                .map_or_else(String::new, |(node, subtask)| format!(", subtask {subtask} of \"{node}\" among them"));
            let Expired { waited, missing, .. } = expired;
            let longer = self.checkpoints.patience().get();
            let reason = format!(
                "not complete in time ({waited} ms): {missing} acknowledgements are missing{who}; the next may take {longer} ms"
            );
            actions.push(Action::Abandoned(expired.checkpoint, reason.clone()));
            self.carried.remove(&expired.checkpoint);
            if expired.too_many {
                self.failed = Some(too_many(&reason));
            }
        }
        let may_read = self.started && self.based && !held;
        if may_read != self.released {
            self.released = may_read;
            let attempt = self.attempt;
            actions.push(if may_read { Action::Release { attempt } } else { Action::Hold { attempt } });
        }
        while self.may_begin(lanes, with)
            && let Some(checkpoint) = self.checkpoints.begin(now)
        {
            self.carried.insert(checkpoint, self.confirmed);
            actions.push(Action::Trigger { attempt: self.attempt, checkpoint, confirmed: self.confirmed });
        }
        self.failed.take()
    }

    /// Checkpoints whose manifests are written, and the end if it is due; not as long as one is `committing`, which carries output.
    pub(super) fn take_complete(&mut self, now: Time, lanes: &Lanes, committing: bool) -> Vec<Intent> {
        if let Ending::Canceling(until) = self.ending
            && (lanes.behind() == 0 && !committing || until <= now)
        {
            self.ending = Ending::Told;
            self.stored.push(Intent::End(End::Canceled));
        }
        if let Ending::Final(checkpoint) = self.ending
            && lanes.is_settled_at(checkpoint)
        {
            self.ending = Ending::Told;
            self.stored.push(Intent::End(End::Finished));
        }
        std::mem::take(&mut self.stored)
    }

    /// A checkpoint counts.
    pub(super) fn confirmed(&mut self, manifest: &Manifest, actions: &mut Vec<Action>) {
        let (attempt, checkpoint) = (self.attempt, manifest.checkpoint);
        self.confirmed = checkpoint;
        self.carried.retain(|on_its_way, _| *on_its_way > checkpoint);
        self.checkpoints.succeeded();
        actions.push(Action::Confirm { attempt, checkpoint });
        self.based = true;
        let all_ended = manifest.nodes.values().all(|node| node.subtasks.iter().all(|snapshot| snapshot.ended));
        if self.ending == Ending::Drained && all_ended {
            self.ending = Ending::Final(checkpoint);
        }
    }
}

fn too_many(reason: &str) -> Failure {
    let kind = Kind::Retryable;
    Failure { kind, reason: format!("too many checkpoints in a row failed; the last: {reason}") }
}

impl Job {
    /// What happened to the attempt that runs; what carries another one's number came late.
    pub(super) fn of_attempt(&mut self, event: Event) {
        let now = self.now;
        if let Event::Progressed { attempt, lane, progress } = event {
            if self.at_work() == Some(attempt) {
                self.lanes.progressed(lane, progress);
            }
            return;
        }
        let Phase::Running(running) = &mut self.phase else { return };
        let mine = running.attempt;
        match event {
            Event::Started { attempt } if attempt == mine => running.started = true,
            Event::Acknowledged { attempt, checkpoint, node, subtask, piece } if attempt == mine => {
                if let Some(complete) = running.checkpoints.acknowledged(now, checkpoint, (&node, subtask), piece) {
                    if let Some(earlier) = running.next.replace(complete)
                        && let Some(later) = &mut running.next
                    {
                        later.purposes.extend(earlier.purposes);
                    }
                    self.store_next();
                }
            }
            Event::Declined { attempt, checkpoint, reason } if attempt == mine => {
                if let Some(too_many_failed) = running.checkpoints.declined(now, checkpoint) {
                    running.carried.remove(&checkpoint);
                    if too_many_failed {
                        running.failed = Some(too_many(&reason));
                    }
                    self.actions.push(Action::Abandoned(checkpoint, reason));
                }
            }
            Event::Drained { attempt } if attempt == mine && running.ending == Ending::Open => {
                running.ending = Ending::Drained;
                running.checkpoints.want(Purpose::Final);
            }
            Event::ManifestStored(checkpoint, result) => self.stored(checkpoint, result),
            _ => {}
        }
    }

    /// Answers those who want a checkpoint. Who asks while the job is about to run waits until it does.
    pub(super) fn answer_asked(&mut self) {
        let is_coming = match &self.phase {
            Phase::Leading | Phase::Loading(_) | Phase::Adopting | Phase::Finding(..) => self.goal.is_none(),
            Phase::Running(running) => !running.started && running.is_open(),
            _ => false,
        };
        if is_coming {
            return;
        }
        for number in std::mem::take(&mut self.asked) {
            let answer = match &mut self.phase {
                Phase::Running(running) if running.is_open() => Ok(running.want(Purpose::Asked)),
                _ => Err("the job is about to end or to start again; ask again when it runs".to_owned()),
            };
            self.actions.push(Action::Answer(number, answer));
        }
    }

    /// Writes the manifest of what is complete, one at a time.
    fn store_next(&mut self) {
        let Phase::Running(running) = &mut self.phase else { return };
        if running.storing.is_some() {
            return;
        }
        let Some(Complete { checkpoint, purposes, mut nodes, .. }) = running.next.take() else { return };
        for (name, node) in &mut nodes {
            node.lanes = self.lanes.of(name);
        }
        let Some(head) = self.register.current() else { return };
        let Settings { pipeline, key_groups, .. } = &self.settings;
        let whose = (head.incarnation.clone(), checkpoint);
        let manifest = Box::new(Manifest::new(pipeline.clone(), whose, self.now, *key_groups, nodes));
        self.actions.push(Action::StoreManifest(manifest.clone()));
        running.storing = Some((manifest, purposes));
    }

    fn stored(&mut self, checkpoint: CheckpointId, result: Result<(), String>) {
        let Phase::Running(running) = &mut self.phase else { return };
        let Some((manifest, purposes)) = running.storing.take_if(|(manifest, _)| manifest.checkpoint == checkpoint)
        else {
            return;
        };
        match result {
            Ok(()) => running.stored.push(Intent::Complete(manifest, purposes)),
            Err(reason) => {
                running.carried.remove(&checkpoint);
                if running.checkpoints.failed(purposes) {
                    running.failed = Some(too_many(&reason));
                }
                self.actions.push(Action::Abandoned(checkpoint, reason));
            }
        }
        self.store_next();
    }
}
