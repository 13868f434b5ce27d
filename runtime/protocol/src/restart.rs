//! Whether and when a job that failed starts again. It looks at the kind of failure, never at its text.

use crate::Time;

/// How patiently a job is started again. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// So many restarts in a row, without a checkpoint in between, are tried.
    pub attempts: u32,
    /// The pause before the first; each further one doubles it.
    pub pause: Time,
    /// The longest pause.
    pub longest: Time,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something outside; it may pass.
    Retryable,
    /// The user's component or a record: starting again meets the same.
    Plugin,
    /// A broken invariant, a wrong configuration, corrupt data.
    Fatal,
    /// Somebody with a higher attempt is at work: this process has nothing to do here any more.
    Fenced,
    /// Whoever took the output wants no more of it.
    Closed,
}

/// What follows a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Start again after a pause.
    Restart(Time),
    /// It has failed for good; why, if that is not the failure itself.
    GiveUp(Option<String>),
}

/// Failures in a row.
#[derive(Debug, Default)]
pub struct Failures(u32);

impl Failures {
    /// A checkpoint was completed: what failed before is over.
    pub fn over(&mut self) {
        self.0 = 0;
    }

    /// Whether the last attempt failed, or those before it.
    pub fn any(&self) -> bool {
        self.0 > 0
    }

    /// One more.
    pub fn judge(&mut self, kind: Kind, settings: &Settings) -> Verdict {
        match kind {
            Kind::Plugin | Kind::Fatal | Kind::Fenced | Kind::Closed => Verdict::GiveUp(None),
            Kind::Retryable if self.0 >= settings.attempts => {
                let times = self.0;
                Verdict::GiveUp(Some(format!("started again {times} times without a checkpoint in between")))
            }
            Kind::Retryable => {
                let pause = settings.pause.saturating_mul(1 << self.0.min(20));
                self.0 += 1;
                Verdict::Restart(pause.min(settings.longest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_a_checkpoint_ends_the_row() {
        let settings = Settings { attempts: 4, pause: 100, longest: 350 };
        let mut failures = Failures::default();
        let mut check = |kind, expect| assert_eq!(failures.judge(kind, &settings), expect);
        for pause in [100, 200, 350, 350] {
            check(Kind::Retryable, Verdict::Restart(pause));
        }
        check(Kind::Plugin, Verdict::GiveUp(None));
        let Verdict::GiveUp(Some(_)) = failures.judge(Kind::Retryable, &settings) else { panic!("too often") };
        failures.over();
        assert_eq!(failures.judge(Kind::Retryable, &settings), Verdict::Restart(100));
    }
}
