//! The front of a sink of topics: which topics there are, where each row goes, and what happens with rows that go nowhere. Behind it
//! rows go to librdkafka at once ([`super::writer`]) or into a segment ([`super::lane`]).

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::Instant;

use flow_dataflow::call::Blame;
use flow_dataflow::exchange::Wake;
use flow_dataflow::sink;
use flow_dataflow::{Batch, Error as TaskError};

use super::opening::{Awaited, Opening, Patience, QUESTION, Refused, Troubles};
use super::raw::{Client, Described, TopicLimits};
use super::reader::c_topic;
use super::refusal::{Refusal, Refusing};
use super::rows::{Keyless, Rows, Run, Targets, Unknown};
use super::writer::Writing;
use super::{Error, Topics};

/// Topics with their partitions and limits, as a broker told.
pub(super) type Asked = Vec<(Described, TopicLimits)>;

/// What became of a question about topics.
pub(super) enum Answer {
    /// None was asked.
    None,
    /// It has not come.
    Waiting,
    /// It has.
    Come(Asked),
}

pub(super) struct Front {
    topic: String,
    others: Option<Topics>,
    wanted: Option<u32>,
    brokers: String,
    pub(super) refusing: Refusing,
    wake: Wake,
    pub(super) troubles: Arc<Troubles>,
    pub(super) targets: Targets,
    keyless: Keyless,
    /// Asked because of rows that wait for the answer.
    asking: Option<(String, Opening<Asked>)>,
}

impl Front {
    pub(super) fn new(writing: &Writing, blame: Blame, wake: Wake, troubles: Arc<Troubles>) -> Front {
        Front {
            topic: writing.topic.clone(),
            others: writing.others.clone(),
            wanted: writing.partitions,
            brokers: writing.settings.brokers().to_owned(),
            refusing: Refusing { blame, refused: sink::Refused::default() },
            wake,
            troubles,
            targets: Targets::default(),
            keyless: Keyless::new(writing.share.subtask),
            asking: None,
        }
    }

    /// The topic of rows that name none.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Takes the first answer. `add` gives a topic its number behind this front.
    pub(super) fn open(
        &mut self,
        asked: Asked,
        mut add: impl FnMut(&CStr) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        // The answer may be in any order; the sink's own topic is the first target.
        let (own, others): (Asked, Asked) = asked.into_iter().partition(|(topic, _)| topic.name == self.topic);
        for (topic, limits) in own.into_iter().chain(others) {
            if topic.name == self.topic
                && let Some(wanted) = self.wanted.filter(|wanted| topic.partitions() < *wanted)
            {
                let (topic, partitions) = (topic.name.clone(), topic.partitions());
                return Err(Error::TooFewPartitions { topic, partitions, wanted });
            }
            self.learn(&topic, limits, &mut add)?;
        }
        Ok(())
    }

    /// Takes what a broker told of a topic.
    pub(super) fn learn(
        &mut self,
        topic: &Described,
        limits: TopicLimits,
        mut add: impl FnMut(&CStr) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        self.targets.add(&topic.name, topic.partitions(), limits, || add(&c_topic(&topic.name)?))
    }

    /// What became of the question that [`cut`](Self::cut) asked for rows that came at `came`.
    pub(super) fn answer(&mut self, came: Instant) -> Result<Answer, Error> {
        let Some((about, asking)) = &self.asking else { return Ok(Answer::None) };
        let Some(asked) = asking.take() else { return Ok(Answer::Waiting) };
        let answer = match asked {
            Ok(asked) => Answer::Come(asked),
            Err(Error::UnknownTopic { .. }) if *about != self.topic => {
                self.targets.is_not_there(about.clone(), came);
                Answer::None
            }
            Err(error) => return Err(error),
        };
        self.asking = None;
        Ok(answer)
    }

    /// Cuts a batch into runs; none while a topic of it is asked for, by `client`.
    pub(super) fn cut(
        &mut self,
        client: &Arc<Client>,
        batch: &Batch,
        came: Instant,
    ) -> Result<Option<VecDeque<Run>>, TaskError> {
        let (runs, unknown) = Rows::of(batch).runs(&self.targets, &mut self.keyless);
        let mut refused = Vec::new();
        for (row, unknown) in unknown {
            match self.judge(came, unknown) {
                Ok(refusal) => refused.push((row, refusal)),
                Err(topic) => {
                    self.ask_for(client, topic)?;
                    return Ok(None);
                }
            }
        }
        for (row, refusal) in refused {
            self.refusing.refuse(batch, row, batch.origin(row), &refusal)?;
        }
        Ok(Some(runs))
    }

    /// Why a row can't go where it wants to; or the topic that has to be asked for first, since it may be there by now.
    fn judge(&self, came: Instant, unknown: Unknown) -> Result<Refusal, String> {
        match unknown {
            Unknown::Topic(topic) if !self.writes(&topic) => Ok(Refusal::OtherTopic { topic }),
            Unknown::Topic(topic) | Unknown::Partition { topic, .. } if self.targets.is_missing(&topic, came) => {
                Ok(Refusal::NoTopic { topic, brokers: self.brokers.clone() })
            }
            Unknown::Topic(topic) => Err(topic),
            Unknown::Partition { topic, partition } => {
                match self.targets.get(&topic).filter(|target| target.is_known_well(came)) {
                    Some(target) => Ok(Refusal::NoPartition { topic, partition, partitions: target.partitions }),
                    None => Err(topic),
                }
            }
        }
    }

    /// Whether rows may go to a topic of that name.
    fn writes(&self, topic: &str) -> bool {
        let named = match &self.others {
            Some(Topics::Named(names)) => names.iter().any(|name| name == topic),
            Some(Topics::Pattern(pattern)) => pattern.is_match(topic),
            None => false,
        };
        named && flow_model::spec::kafka::wrong_topic(topic).is_none()
    }

    fn ask_for(&mut self, client: &Arc<Client>, topic: String) -> Result<(), Error> {
        let (client, troubles, name) = (client.clone(), self.troubles.clone(), c_topic(&topic)?);
        let work = move |awaited: &Awaited<'_>| ask(&client, &[name], false, awaited, &troubles);
        self.asking = Some((topic, Opening::start(self.wake.clone(), work)?));
        Ok(())
    }
}

/// The topics that are known by name before the first row comes.
pub(super) fn names(writing: &Writing) -> Result<Vec<CString>, Error> {
    let mut names = vec![c_topic(&writing.topic)?];
    if let Some(Topics::Named(others)) = &writing.others {
        for other in others.iter().filter(|other| **other != writing.topic) {
            names.push(c_topic(other)?);
        }
    }
    // References may have led to one name twice, and a broker refuses to be asked so.
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Asks for topics until a broker knows them all.
pub(super) fn ask(
    client: &Client,
    names: &[CString],
    starting: bool,
    awaited: &Awaited<'_>,
    troubles: &Troubles,
) -> Result<Asked, Error> {
    let what: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    let (what, serve) = (what.join(", "), &mut || ());
    let question = |client: &Client| {
        let described = client.describe(names, QUESTION)?;
        match described.iter().find(|topic| topic.code != 0 || topic.leaders.is_empty()) {
            Some(bad) => Err(Refused { code: bad.code, topic: Some(bad.name.clone()) }),
            None => Ok(described),
        }
    };
    let described = Patience { awaited, troubles, what: &what, starting, serve }.ask(client, question)?;
    let limits = client.limits(names, QUESTION);
    let with_limits = |topic: Described| {
        let limits = limits.get(&topic.name).copied().unwrap_or_default();
        (topic, limits)
    };
    Ok(described.into_iter().map(with_limits).collect())
}
