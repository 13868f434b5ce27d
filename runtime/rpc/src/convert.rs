//! From messages to nouns and back. A message may come from anywhere, so what it says is checked.

use flow_model::channel::{AttemptId, ChannelId};
use flow_model::checkpoint::{Attempt, Incarnation};
use flow_model::ids::{ExchangeId, SubtaskIndex};

use crate::exchange;

/// A message says something that no node of Flow says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The incarnation of a job is not one.
    #[error("a channel of no job: {0}")]
    Incarnation(#[from] flow_model::ids::Error),
}

impl TryFrom<exchange::Channel> for ChannelId {
    type Error = Error;

    fn try_from(channel: exchange::Channel) -> Result<ChannelId, Error> {
        let incarnation = Incarnation::try_from(channel.incarnation)?;
        Ok(ChannelId {
            attempt: AttemptId { incarnation, attempt: Attempt(channel.attempt) },
            exchange: ExchangeId(channel.exchange),
            from: SubtaskIndex(channel.from),
            to: SubtaskIndex(channel.to),
        })
    }
}

impl From<&ChannelId> for exchange::Channel {
    fn from(id: &ChannelId) -> exchange::Channel {
        exchange::Channel {
            incarnation: id.attempt.incarnation.as_str().to_owned(),
            attempt: id.attempt.attempt.0,
            exchange: id.exchange.0,
            from: id.from.0,
            to: id.to.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_comes_back_as_it_was() {
        let id = ChannelId {
            attempt: AttemptId { incarnation: Incarnation::of(7), attempt: Attempt(3) },
            exchange: ExchangeId(2),
            from: SubtaskIndex(1),
            to: SubtaskIndex(0),
        };
        assert_eq!(ChannelId::try_from(exchange::Channel::from(&id)), Ok(id));
    }

    #[test]
    fn what_names_no_job_is_refused() {
        let channel = exchange::Channel { incarnation: "../../x".into(), ..Default::default() };
        let error = ChannelId::try_from(channel).expect_err("no incarnation").to_string();
        assert!(error.starts_with("a channel of no job: "), "{error}");
    }
}
