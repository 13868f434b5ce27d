//! Changes of HEAD, one after the other: what each makes of it, and what follows when it is accepted.

use flow_model::checkpoint::head::Wanted;
use flow_model::checkpoint::{Attempt, Head, Manifest};

use super::{End, Job, Phase, Then};
use crate::head::Step;
use crate::job::event::{Action, Level};

/// A change of HEAD.
pub(super) enum Intent {
    /// This process leads.
    Lead(Box<Head>),
    /// Another attempt may act.
    Attempt,
    /// A checkpoint counts.
    Complete(Box<Manifest>),
    /// The job is not wanted to run any more.
    End(End),
}

impl Job {
    /// Wants a change of HEAD.
    pub(super) fn want(&mut self, intent: Intent) {
        self.waiting.push_back(intent);
        self.change_next();
    }

    /// Whether HEAD is still to be told of the end.
    pub(super) fn is_telling(&self) -> bool {
        self.changing.iter().chain(&self.waiting).any(|intent| matches!(intent, Intent::End(_)))
    }

    /// Starts the next change if none is in flight.
    pub(super) fn change_next(&mut self) {
        while self.changing.is_none()
            && let Some(intent) = self.waiting.pop_front()
        {
            let Some(head) = self.head_of(&intent) else { continue };
            self.changing = Some(intent);
            match self.register.propose(head) {
                Step::Swap(head, expected) => self.actions.push(Action::Swap { head, expected }),
                Step::Read => self.actions.push(Action::ReadHead),
            }
        }
    }

    /// HEAD as a change makes it; none if it is not worth anything any more.
    fn head_of(&self, intent: &Intent) -> Option<Head> {
        if let Intent::Lead(head) = intent {
            return Some((**head).clone());
        }
        let mut head = self.register.current()?.clone();
        match intent {
            Intent::Lead(_) => {}
            Intent::Attempt => head.attempt = Attempt(head.attempt.0 + 1),
            Intent::Complete(manifest) => {
                let Phase::Running(running) = &self.phase else { return None };
                if running.attempt != manifest.attempt() {
                    return None;
                }
                if !self.deleting {
                    head.retired.clear();
                }
                head.latest = Some(manifest.checkpoint);
                head.retained.push(manifest.checkpoint);
                self.retention.retire(&mut head, running.least_confirmed());
            }
            Intent::End(end) => {
                head.wanted = match end {
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
            Some(Intent::Lead(_) | Intent::Attempt) => self.load_or_start(),
            Some(Intent::Complete(manifest)) => self.completed(*manifest),
            Some(Intent::End(end)) => self.end_told(end),
            None => {}
        }
    }

    /// The next attempt may act: it begins with the checkpoint that counts.
    fn load_or_start(&mut self) {
        let (Phase::Leading, Some(head)) = (&self.phase, self.register.current()) else { return };
        let known = self.latest.as_ref().map(|manifest| manifest.checkpoint);
        match head.latest {
            Some(checkpoint) if known != Some(checkpoint) => {
                self.phase = Phase::Loading(checkpoint);
                let load = |checkpoint| Action::LoadManifest(head.incarnation.clone(), checkpoint);
                let others = head.retained.iter().copied().filter(|retained| *retained != checkpoint);
                self.actions.extend([checkpoint].into_iter().chain(others).map(load));
            }
            _ => self.start(),
        }
    }

    fn completed(&mut self, manifest: Manifest) {
        self.failures.over();
        self.retention.add(&manifest);
        if let Phase::Running(running) = &mut self.phase
            && running.attempt == manifest.attempt()
        {
            running.confirmed(&manifest, &mut self.actions);
        }
        self.latest = Some(manifest);
        let Some(head) = self.register.current() else { return };
        self.retention.forget(head);
        if let (false, Some(garbage)) = (self.deleting, self.retention.garbage(head))
            && !garbage.is_empty()
        {
            self.deleting = true;
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
            Phase::Stopping(attempt, Then::Judge(_)) => self.phase = Phase::Stopping(*attempt, Then::End(end)),
            Phase::Telling(end) => {
                let end = end.clone();
                self.over(end);
            }
            Phase::Leading | Phase::Loading(_) | Phase::Pausing(_) => self.over(end),
            Phase::Stopping(_, Then::End(_)) | Phase::Over(_) => {}
        }
    }

    /// Tells people.
    pub(super) fn tell(&mut self, level: Level, text: String) {
        self.actions.push(Action::Tell(level, text));
    }
}
