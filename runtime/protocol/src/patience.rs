//! How long a checkpoint is waited for. A time-out shorter than a barrier's way through what lies between source and sink would
//! never be met: each checkpoint is given up, the job starts again with as much before it, for ever. So one that took too long
//! gives the next ones more time, across attempts too. Must never wait without end: a barrier that is lost does not come.

use crate::Time;

/// The longest wait, in time-outs as they were set.
const LONGEST: Time = 16;

/// How long a checkpoint of a job is waited for, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    set: Time,
    now: Time,
}

impl Patience {
    /// As it was set by the user.
    pub fn new(timeout: Time) -> Patience {
        Patience { set: timeout, now: timeout }
    }

    /// What it is now.
    pub fn get(self) -> Time {
        self.now
    }

    /// A checkpoint was not complete in time: the next ones have twice as long.
    pub fn expired(&mut self) {
        self.now = self.now.saturating_mul(2).min(self.set.saturating_mul(LONGEST));
    }

    /// A checkpoint took so long to be complete: the next ones have twice that, and never less than was set.
    pub fn complete(&mut self, took: Time) {
        self.now = took.saturating_mul(2).clamp(self.set, self.set.saturating_mul(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_limit_and_follows_what_checkpoints_take() {
        let mut patience = Patience::new(100);
        let mut after = |what: fn(&mut Patience)| {
            what(&mut patience);
            patience.get()
        };
        assert_eq!([0; 6].map(|_| after(Patience::expired)), [200, 400, 800, 1_600, 1_600, 1_600]);
        assert_eq!(after(|patience| patience.complete(700)), 1_400);
        assert_eq!(after(|patience| patience.complete(1_500)), 1_600);
        assert_eq!(after(|patience| patience.complete(50)), 100);
    }
}
