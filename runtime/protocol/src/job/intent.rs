//! Changes of HEAD, one after the other: what each makes of it, and what follows when it is accepted.

use std::collections::BTreeSet;

use flow_model::checkpoint::head::{PREVIOUS, Savepoint, Wanted};
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation, Manifest};
use flow_model::ids::SavepointName;

use super::redeploy::Redeploy;
use super::{Beginning, End, Job, Life, Phase, Then};
use crate::checkpoint::Purpose;
use crate::head::Step;
use crate::job::event::{Action, Level};
use crate::retention;

/// A change of HEAD.
pub(super) enum Intent {
    /// This process leads, with this HEAD, and why.
    Lead(Box<Head>, Lead),
    /// Another attempt may act.
    Attempt,
    /// Another attempt may act, by another description perhaps.
    Redeploy(Redeploy),
    /// A checkpoint counts; why it was taken.
    Complete(Box<Manifest>, Vec<Purpose>),
    /// What this life begins with is there.
    Adopt(Box<Manifest>),
    /// A checkpoint is a savepoint.
    Pin(SavepointName, CheckpointId),
    /// A savepoint is given up; the number under which that was asked for.
    Unpin(SavepointName, u64),
    /// The job is not wanted to run any more.
    End(End),
}

/// Why this process is to lead.
pub(super) enum Lead {
    /// It begins.
    First(Box<Beginning>),
    /// The life before has written what it owed, and this one follows.
    Next(Box<Life>),
}

impl Job {
    /// Wants to lead, if HEAD as it is known lets it.
    pub(super) fn lead(&mut self, lead: Lead) {
        let head = match &lead {
            Lead::First(beginning) => self.first((**beginning).clone()),
            Lead::Next(life) => self.next((**life).clone()),
        };
        match head {
            Ok(head) => {
                self.waiting.push_front(Intent::Lead(Box::new(head), lead));
                self.change_next();
            }
            Err(end) => {
                // HEAD is not this process's.
                self.lost = true;
                self.over(end);
            }
        }
    }

    /// Whether a former leader's change came before this one led, and left the description as it was told to this one.
    pub(super) fn may_lead_anew(&self) -> bool {
        let (Some(Intent::Lead(proposed, _)), Some(found)) = (&self.changing, self.register.current()) else {
            return false;
        };
        proposed.incarnation != found.incarnation || proposed.revision == found.revision
    }

    /// Proposes itself once more, by what HEAD says now.
    pub(super) fn lead_anew(&mut self) {
        let Some(Intent::Lead(_, lead)) = self.changing.take() else { return };
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        (self.goal, self.find) = (None, None);
        self.lead(lead);
    }

    /// Wants a change of HEAD.
    pub(super) fn want(&mut self, intent: Intent) {
        if self.leads_no_more() {
            return;
        }
        self.waiting.push_back(intent);
        self.change_next();
    }

    /// Whether HEAD is still to be told of the end.
    pub(super) fn is_telling(&self) -> bool {
        self.is_wanting(|intent| matches!(intent, Intent::End(_)))
    }

    /// Whether such a change is in flight, or waits.
    pub(super) fn is_wanting(&self, such: impl Fn(&Intent) -> bool) -> bool {
        self.changing.iter().chain(&self.waiting).any(such)
    }

    /// Starts the next change if none is in flight.
    pub(super) fn change_next(&mut self) {
        while self.changing.is_none()
            && let Some(intent) = self.waiting.pop_front()
        {
            let Some(head) = self.head_of(&intent) else {
                if let Intent::Redeploy(redeploy) = intent {
                    self.refused(redeploy, "the job is about to end");
                }
                continue;
            };
            self.changing = Some(intent);
            match self.register.propose(head) {
                Step::Swap(head, expected) => self.actions.push(Action::Swap { head, expected }),
                Step::Read => self.actions.push(Action::ReadHead),
            }
        }
    }

    /// HEAD as a change makes it; none if it is not worth anything any more.
    fn head_of(&self, intent: &Intent) -> Option<Head> {
        if let Intent::Lead(head, _) = intent {
            return Some((**head).clone());
        }
        let mut head = self.register.current()?.clone();
        match intent {
            Intent::Lead(..) => {}
            Intent::Attempt => head.attempt = Attempt(head.attempt.0 + 1),
            Intent::Redeploy(redeploy) => {
                if !self.may_redeploy() {
                    return None;
                }
                head.attempt = Attempt(head.attempt.0 + 1);
                head.revision = redeploy.revision().unwrap_or(head.revision);
            }
            Intent::Complete(manifest, _) => {
                let Phase::Running(running) = &self.phase else { return None };
                if running.attempt != manifest.attempt() {
                    return None;
                }
                if self.deleting == 0 {
                    // What is still known is not deleted yet.
                    let of = |checkpoint: &CheckpointId| (head.incarnation.clone(), *checkpoint);
                    head.retired.retain(|checkpoint| self.retention.knows(&of(checkpoint)));
                }
                head.latest = Some(manifest.checkpoint);
                head.retained.push(manifest.checkpoint);
                give_claimed_up(&mut head);
                self.retention.retire(&mut head, running.least_confirmed().min(self.least_requested()));
            }
            Intent::Adopt(manifest) => {
                head.latest = Some(manifest.checkpoint);
                head.retained = vec![manifest.checkpoint];
            }
            Intent::Pin(name, checkpoint) => head.savepoints.push(Savepoint {
                name: name.clone(),
                incarnation: head.incarnation.clone(),
                checkpoint: *checkpoint,
                time: self.now,
            }),
            Intent::Unpin(name, _) => head.savepoints.retain(|savepoint| savepoint.name != *name),
            Intent::End(end) => {
                head.unwritten = self.owes();
                head.wanted = match end {
                    End::Settled => head.wanted,
                    End::Finished => Wanted::Finished,
                    End::Canceled => Wanted::Canceled,
                    End::Failed(_) | End::Refused(_) => Wanted::Failed,
                    End::Deposed(_) => return None,
                }
            }
        }
        Some(head)
    }

    /// The change in flight was accepted.
    pub(super) fn changed(&mut self) {
        match self.changing.take() {
            Some(Intent::Lead(..) | Intent::Attempt) => self.load_or_start(),
            Some(Intent::Redeploy(redeploy)) => self.redeployed(redeploy),
            Some(Intent::Complete(manifest, purposes)) => self.completed(*manifest, &purposes),
            Some(Intent::Adopt(manifest)) => {
                self.retention.add(&manifest);
                self.latest = Some(*manifest);
                self.load_or_start();
                self.sweep();
            }
            Some(Intent::Pin(name, checkpoint)) => self.pinned(&name, checkpoint),
            Some(Intent::Unpin(_, number)) => self.unpinned(number),
            Some(Intent::End(end)) => self.end_told(end),
            None => {}
        }
    }

    /// The next attempt may act: it begins with the checkpoint that counts.
    pub(super) fn load_or_start(&mut self) {
        let (Phase::Leading, Some(head)) = (&self.phase, self.register.current()) else { return };
        let known = self.latest.as_ref().map(|manifest| manifest.checkpoint);
        let mine = |checkpoint| (head.incarnation.clone(), checkpoint);
        let wanted = head.latest.filter(|checkpoint| known != Some(*checkpoint));
        let unknown =
            retention::named(head).filter(|of| !self.retention.knows(of) && wanted.map(mine).as_ref() != Some(of));
        let to_load: BTreeSet<(Incarnation, CheckpointId)> = unknown.collect();
        // What the job waits for goes first.
        let loads = wanted.map(mine).into_iter().chain(to_load);
        self.actions.extend(loads.map(|(incarnation, checkpoint)| Action::LoadManifest(incarnation, checkpoint)));
        match (wanted, head.latest, &head.origin) {
            (Some(checkpoint), ..) => self.phase = Phase::Loading(checkpoint),
            (None, None, Some(origin)) => {
                let (incarnation, origin) = (head.incarnation.clone(), Box::new(origin.clone()));
                // Nothing can run before that is there.
                self.find = None;
                self.actions.push(Action::Adopt { incarnation, origin });
                self.phase = Phase::Adopting;
            }
            (None, ..) => self.start(),
        }
    }

    fn completed(&mut self, manifest: Manifest, purposes: &[Purpose]) {
        self.failures.over();
        self.retention.add(&manifest);
        self.lanes.confirmed(manifest.checkpoint, &manifest.nodes);
        self.taken(purposes, manifest.checkpoint);
        self.taken_to_redeploy(purposes);
        if let Phase::Running(running) = &mut self.phase
            && running.attempt == manifest.attempt()
        {
            running.confirmed(&manifest, &mut self.actions);
        }
        self.latest = Some(manifest);
        self.sweep();
        // As long as one is not known, nothing can be deleted.
        let again = std::mem::take(&mut self.unread).into_iter();
        self.actions.extend(again.map(|(life, checkpoint)| Action::LoadManifest(life, checkpoint)));
        self.settle_before_the_end();
        if self.deleting == 0 {
            self.delete_garbage();
        }
    }

    /// Deletes what nobody needs. As long as that is not known it is not forgotten either.
    pub(super) fn delete_garbage(&mut self) {
        let Some(head) = self.register.current() else { return };
        let Some(garbage) = self.retention.garbage(head) else { return };
        self.retention.forget(head);
        if !garbage.is_empty() {
            self.deleting += 1;
            self.actions.push(Action::Delete(garbage));
        }
    }

    fn end_told(&mut self, end: End) {
        match &self.phase {
            Phase::Running(running) => {
                let attempt = running.attempt;
                self.actions.push(match end {
                    End::Finished => Action::Finish { attempt },
                    _ => Action::Cancel { attempt },
                });
                self.phase = Phase::Stopping(attempt, Then::End(end));
            }
            Phase::Settling(attempt) | Phase::Finding(attempt, _) => {
                let attempt = *attempt;
                self.actions.push(Action::Cancel { attempt });
                self.phase = Phase::Stopping(attempt, Then::End(end));
            }
            Phase::Stopping(_, Then::End(_)) | Phase::Over(_) => {}
            Phase::Stopping(attempt, _) => self.phase = Phase::Stopping(*attempt, Then::End(end)),
            Phase::Telling(end) => {
                let end = end.clone();
                self.over(end);
            }
            Phase::Leading | Phase::Loading(_) | Phase::Adopting | Phase::Pausing(_) => self.over(end),
        }
    }

    /// Tells people.
    pub(super) fn tell(&mut self, level: Level, text: String) {
        self.actions.push(Action::Tell(level, text));
    }
}

/// A life that claimed what it began with has a checkpoint of its own: now it is known to run, and the savepoint is given up.
fn give_claimed_up(head: &mut Head) {
    let Some(origin) = head.origin.as_ref().filter(|origin| origin.claim) else { return };
    let is_it = |kept: &Savepoint| {
        let is_meant = kept.name.as_str() == PREVIOUS || origin.savepoint.as_ref() == Some(&kept.name);
        is_meant && (&kept.incarnation, kept.checkpoint) == (&origin.incarnation, origin.checkpoint)
    };
    head.savepoints.retain(|kept| !is_it(kept));
}
