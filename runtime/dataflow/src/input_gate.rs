//! A subtask's inputs, one channel from each subtask upstream, as one stream.
//!
//! Watermark: the least of all channels, forwarded when it rises. Barrier: a channel that has delivered it is not read until
//! all have (aligned), so a snapshot holds what came before the barrier and nothing else. Barriers are told apart by the ids
//! of their checkpoints: a higher one ends the alignment of a lower one, which then never passes, and a lower one that comes
//! late is dropped. End of input: when all have ended; an ended channel holds nothing up, and only barriers follow it.

use flow_model::checkpoint::CheckpointId;

use crate::Element;
use crate::element::{Barrier, Timestamp};
use crate::exchange::Reader;

#[derive(Clone, Copy)]
enum State {
    Open {
        watermark: Timestamp,
    },
    /// Has delivered the barrier that the gate aligns.
    Aligned {
        watermark: Timestamp,
    },
    Ended,
}

/// The inputs of one subtask.
pub struct InputGate {
    channels: Vec<(Reader, State)>,
    next: usize,
    watermark: Timestamp,
    aligning: Option<Barrier>,
    /// The last barrier that passed.
    passed: CheckpointId,
    /// The end of input was given.
    ended: bool,
}

impl InputGate {
    /// A gate over these channels, at least one.
    pub fn new(channels: Vec<Reader>) -> InputGate {
        let open = |reader| (reader, State::Open { watermark: Timestamp::MIN });
        InputGate {
            channels: channels.into_iter().map(open).collect(),
            next: 0,
            watermark: Timestamp::MIN,
            aligning: None,
            passed: CheckpointId::NONE,
            ended: false,
        }
    }

    /// The next element, by turns over the channels; none when there is nothing to read now.
    pub fn poll(&mut self) -> Option<Element> {
        let mut empty = 0;
        while empty < self.channels.len() {
            let at = self.next;
            self.next = (self.next + 1) % self.channels.len();
            let (reader, state) = &mut self.channels[at];
            if let State::Aligned { .. } = state {
                empty += 1;
                continue;
            }
            let ready = match reader.pop() {
                None => {
                    empty += 1;
                    continue;
                }
                Some(Element::Batch(batch)) => return Some(Element::Batch(batch)),
                Some(Element::Watermark(time)) => {
                    if let State::Open { watermark } = state {
                        *watermark = time.max(*watermark);
                    }
                    self.risen()
                }
                Some(Element::Barrier(barrier)) => self.delivered(at, barrier),
                Some(Element::EndOfInput) => {
                    *state = State::Ended;
                    self.aligned().or_else(|| self.ended()).or_else(|| self.risen())
                }
            };
            if ready.is_some() {
                return ready;
            }
            empty = 0;
        }
        // A barrier that the last channel's end completed hides that end.
        self.ended()
    }

    /// Channel `at` has delivered a barrier.
    fn delivered(&mut self, at: usize, barrier: Barrier) -> Option<Element> {
        let least = self.aligning.map_or(self.passed.0.saturating_add(1), |aligning| aligning.checkpoint.0);
        if barrier.checkpoint.0 < least {
            return None;
        }
        if barrier.checkpoint.0 > least {
            self.release();
        }
        self.aligning = Some(barrier);
        let state = &mut self.channels[at].1;
        if let State::Open { watermark } = *state {
            *state = State::Aligned { watermark };
        }
        self.aligned()
    }

    fn risen(&mut self) -> Option<Element> {
        let of = |(_, state): &(Reader, State)| match state {
            State::Open { watermark } | State::Aligned { watermark } => Some(*watermark),
            State::Ended => None,
        };
        let least = self.channels.iter().filter_map(of).min()?;
        (least > self.watermark).then(|| {
            self.watermark = least;
            Element::Watermark(least)
        })
    }

    fn aligned(&mut self) -> Option<Element> {
        let barrier = self.aligning?;
        if self.channels.iter().any(|(_, state)| matches!(state, State::Open { .. })) {
            return None;
        }
        self.release();
        self.passed = barrier.checkpoint;
        Some(Element::Barrier(barrier))
    }

    /// Reads all channels again.
    fn release(&mut self) {
        self.aligning = None;
        for (_, state) in &mut self.channels {
            if let State::Aligned { watermark } = *state {
                *state = State::Open { watermark };
            }
        }
    }

    fn ended(&mut self) -> Option<Element> {
        let all = !self.ended && self.channels.iter().all(|(_, state)| matches!(state, State::Ended));
        all.then(|| {
            self.ended = true;
            Element::EndOfInput
        })
    }
}
