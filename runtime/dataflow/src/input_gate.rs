//! A subtask's inputs, one channel from each subtask upstream, as one stream.
//!
//! Watermark: the least of all channels, forwarded when it rises. Barrier: a channel that has delivered it is not read until
//! all have (aligned), so a snapshot holds what came before the barrier and nothing else. End of input: when all have ended;
//! an ended channel holds nothing up.

use crate::Element;
use crate::element::{CheckpointId, Timestamp};
use crate::exchange::Reader;

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
    aligning: Option<CheckpointId>,
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
        }
    }

    /// The next element, by turns over the channels; none when there is nothing to read now.
    pub fn poll(&mut self) -> Option<Element> {
        let mut empty = 0;
        while empty < self.channels.len() {
            let at = self.next;
            self.next = (self.next + 1) % self.channels.len();
            let (reader, state) = &mut self.channels[at];
            let State::Open { watermark } = state else {
                empty += 1;
                continue;
            };
            let ready = match reader.pop() {
                None => {
                    empty += 1;
                    continue;
                }
                Some(Element::Batch(batch)) => return Some(Element::Batch(batch)),
                Some(Element::Watermark(time)) => {
                    *watermark = time.max(*watermark);
                    self.risen()
                }
                Some(Element::Barrier(checkpoint)) => {
                    *state = State::Aligned { watermark: *watermark };
                    self.aligning = Some(checkpoint);
                    self.aligned()
                }
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
        let checkpoint = self.aligning?;
        if self.channels.iter().any(|(_, state)| matches!(state, State::Open { .. })) {
            return None;
        }
        for (_, state) in &mut self.channels {
            if let State::Aligned { watermark } = state {
                *state = State::Open { watermark: *watermark };
            }
        }
        self.aligning = None;
        Some(Element::Barrier(checkpoint))
    }

    fn ended(&self) -> Option<Element> {
        self.channels.iter().all(|(_, state)| matches!(state, State::Ended)).then_some(Element::EndOfInput)
    }
}
