//! Who is who between the workers of a cluster: attempts, and the channels between their subtasks.

use std::fmt;

use crate::checkpoint::{Attempt, Incarnation};
use crate::ids::{ExchangeId, SubtaskIndex};

/// One attempt of one life of a job: what is deployed, runs and fails as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The life of the job.
    pub incarnation: Incarnation,
    /// The attempt in it.
    pub attempt: Attempt,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} of {}", self.attempt, self.incarnation.as_str())
    }
}

/// The way from one subtask to another one, of which there is one in each exchange and attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The attempt that both subtasks belong to.
    pub attempt: AttemptId,
    /// The exchange in the job's plan.
    pub exchange: ExchangeId,
    /// The subtask that sends.
    pub from: SubtaskIndex,
    /// The subtask that receives.
    pub to: SubtaskIndex,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exchange {}, subtask {} to {}, {}", self.exchange, self.from, self.to, self.attempt)
    }
}
