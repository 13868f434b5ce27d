//! How a process becomes the leader of a job: what it is told of why, and the HEAD that it begins with. Must never take a life away
//! from a process that may still run it, unless its user says that this one is gone.

use flow_model::checkpoint::head::{Origin, Wanted};
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation};

use super::event::{Action, Failure, Level};
use super::settling::Goal;
use super::{End, Job};
use crate::head::is_free;
use crate::{restart, retention};

/// What becomes of output of a former life that is confirmed and not known to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// It is written before anything else.
    Write,
    /// The same, though what was known to be written is not found any more: it is another Kafka.
    WriteAnew,
    /// It is given up.
    Abandon,
}

/// The life of a job that another one comes after, as HEAD said when that one was deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Which.
    pub incarnation: Incarnation,
    /// Its latest checkpoint, [`CheckpointId::NONE`] if it had none; none if it is not known which it was.
    pub latest: Option<CheckpointId>,
}

impl Former {
    /// What HEAD says.
    pub fn of(head: &Head) -> Former {
        Former { incarnation: head.incarnation.clone(), latest: Some(latest(head)) }
    }
}

fn latest(head: &Head) -> CheckpointId {
    head.latest.unwrap_or(CheckpointId::NONE)
}

/// A life of a job that is to begin.
#[derive(Debug, Clone)]
pub struct Life {
    /// Which.
    pub incarnation: Incarnation,
    /// The life that it comes after; none if there was no HEAD. What it begins with was chosen by that.
    pub follows: Option<Former>,
    /// The checkpoint of another life that it begins with.
    pub origin: Option<Origin>,
    /// What becomes of what the former life owes.
    pub owed: Owed,
    /// The former life ends with it, though HEAD says that another process runs it: that one is gone for good.
    pub take_over: bool,
}

/// Why a job is led by this process.
#[derive(Debug, Clone)]
pub enum Beginning {
    /// It was deployed just now: its first attempt, in a life of its own.
    Deployed(Life),
    /// It ran already, or was about to begin: it goes on from its last checkpoint.
    Resumed(Life),
    /// The same, in a cluster, where what a former leader has deployed may run on: that is looked for, and led from then on.
    Continued(Life),
    /// It is over, and what it owes is written, like this; then it is over again.
    Settled(Owed),
}

impl Job {
    /// The HEAD of a life that follows the one that this process leads.
    pub(super) fn next(&self, life: Life) -> Result<Head, End> {
        let former = self.register.current().ok_or_else(|| self.no_head())?;
        Ok(former.next_life(self.settings.leader.clone(), life.incarnation, life.origin, self.now))
    }

    /// There is nothing to go on with, or to settle.
    fn no_head(&self) -> End {
        End::Refused(format!(
            "there is no {}: look at the job's name and at `to` of its checkpoints, or, if somebody has deleted it, put it back as it was",
            self.settings.head
        ))
    }

    /// Why a life can't begin any more: what it was to begin with was chosen when HEAD said something else.
    fn overtaken(&self, life: &Life, head: &Head) -> Option<End> {
        let Some(former) = life.follows.as_ref().filter(|former| former.incarnation == head.incarnation) else {
            return Some(another());
        };
        let (then, now) = (former.latest.unwrap_or(latest(head)), latest(head));
        let text = |id: CheckpointId| if id == CheckpointId::NONE { "none".to_owned() } else { id.to_string() };
        let why = || {
            format!(
                "the job went on while it was deployed: its latest checkpoint was {}, and is {} by now; deploy it again",
                text(then),
                text(now)
            )
        };
        (then != now).then(|| End::Refused(why()))
    }

    /// Why a life can't begin with what it was to begin with: HEAD has given that up since.
    fn origin_gone(&self, life: &Life, head: &Head) -> Option<End> {
        let origin = life.origin.as_ref().filter(|origin| origin.job == self.settings.pipeline)?;
        let is_named = retention::named(head).any(|of| of == (origin.incarnation.clone(), origin.checkpoint));
        let text = || {
            let Origin { checkpoint, .. } = origin;
            format!(
                "checkpoint {checkpoint}, which it was to begin with, is not kept any more; see `flowctl savepoint ls`"
            )
        };
        (!is_named).then(|| End::Refused(text()))
    }

    /// The HEAD that makes this process the leader.
    pub(super) fn first(&mut self, beginning: Beginning) -> Result<Head, End> {
        let (leader, current) = (self.settings.leader.clone(), self.register.current());
        let in_cluster = self.settings.cluster.as_ref().map(|cluster| cluster.term);
        let next = |term: u64| in_cluster.map_or(term + 1, |mine| mine.max(term));
        let elsewhere = |head: &Head| {
            End::Refused(format!(
                "HEAD says that it is run by {} (term {}); cancel it there, or, if that process is gone for good, go on with it \
                 here: deploy with --take-over",
                head.leader, head.term
            ))
        };
        // The same life once more, as another attempt.
        let again = |head: &Head, leader| {
            let mut head = head.clone();
            (head.term, head.attempt, head.leader) = (next(head.term), Attempt(head.attempt.0 + 1), leader);
            head
        };
        match (beginning, current) {
            // The latter was about to begin when its leader ended.
            (
                Beginning::Deployed(Life { incarnation, origin, .. })
                | Beginning::Continued(Life { incarnation, origin, .. }),
                None,
            ) => {
                let mut head = Head::new(next(0), leader, incarnation, String::new());
                head.origin = origin;
                Ok(head)
            }
            (Beginning::Continued(life), Some(head))
                if head.incarnation == life.incarnation && head.wanted == Wanted::Running =>
            {
                let mut same = again(head, leader);
                same.attempt = head.attempt;
                self.find = Some(head.attempt);
                Ok(same)
            }
            // What can't be continued is resumed.
            (Beginning::Resumed(life) | Beginning::Continued(life), Some(head))
                if head.incarnation == life.incarnation =>
            {
                if head.wanted != Wanted::Running {
                    return Err(ended(head));
                }
                Ok(again(head, leader))
            }
            (Beginning::Resumed(life) | Beginning::Continued(life), Some(head))
                if head.former.contains(&life.incarnation) =>
            {
                Err(End::Refused("another life of the job has begun since".to_owned()))
            }
            // It was deployed before its process ended, and came to nothing; meanwhile another one did.
            (Beginning::Resumed(life) | Beginning::Continued(life), Some(head))
                if life.follows.as_ref().is_none_or(|former| former.incarnation != head.incarnation) =>
            {
                Err(another())
            }
            // What its former life owed was still being written when its process ended.
            (Beginning::Deployed(life) | Beginning::Resumed(life) | Beginning::Continued(life), Some(head))
                if is_free(head) || life.take_over =>
            {
                if let Some(end) = self.overtaken(&life, head).or_else(|| self.origin_gone(&life, head)) {
                    return Err(end);
                }
                let owes = head.unwritten || !is_free(head) && head.latest.is_some();
                if !owes || life.owed == Owed::Abandon {
                    if let (true, Some(latest)) = (owes, head.latest) {
                        let text = format!(
                            "--abandon-output: what checkpoint {latest} of the former life carries and was not written is given up"
                        );
                        self.actions.push(Action::Tell(Level::Warn, text));
                    }
                    let mut life = head.next_life(leader, life.incarnation, life.origin, self.now);
                    life.term = next(head.term);
                    return Ok(life);
                }
                let head = again(head, leader);
                self.goal = Some(Goal::Begin(Box::new(life)));
                Ok(head)
            }
            (Beginning::Settled(owed), Some(head)) if is_free(head) => {
                if !head.unwritten {
                    return Err(End::Refused("all of its output is written".to_owned()));
                }
                let head = again(head, leader);
                self.goal = Some(Goal::Only(owed));
                Ok(head)
            }
            (_, Some(head)) => Err(elsewhere(head)),
            (Beginning::Settled(_) | Beginning::Resumed(_), None) => Err(self.no_head()),
        }
    }
}

/// It was deployed after a life that is not the last one.
fn another() -> End {
    End::Refused("another life of the job has begun since it was deployed; deploy it again".to_owned())
}

/// Why a job of this HEAD is not resumed.
fn ended(head: &Head) -> End {
    match head.wanted {
        Wanted::Finished => End::Finished,
        Wanted::Canceled => End::Canceled,
        Wanted::Running | Wanted::Failed => {
            let reason = "it had failed before; see its log".to_owned();
            End::Failed(Failure { kind: restart::Kind::Fatal, reason })
        }
    }
}
