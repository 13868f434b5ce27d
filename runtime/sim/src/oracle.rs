//! What must hold, whatever goes wrong: judged from what stands in the store and in the broker alone, by rules of its own and not
//! by the code that is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow_dataflow::lane::Standing;
use flow_model::checkpoint::snapshot::{Part, Progress};
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation, Manifest};

use crate::Broker;
use crate::attempt::{LANES, name};
use crate::broker::Record;
use crate::input::{Counts, Input};
use crate::lane::{PROGRESS, identity};
use crate::sink::{PARTITIONS, first_partition};
use crate::state;
use crate::store::{Body, Store};

/// The judge of a run.
pub struct Oracle {
    input: Arc<Input>,
    confirmed: u64,
    /// What HEAD says.
    head: Option<Head>,
    /// All lives that the job has had, the last one last.
    lives: Vec<Incarnation>,
}

impl Oracle {
    /// Of a run with this input.
    pub fn new(input: Arc<Input>) -> Oracle {
        Oracle { input, confirmed: 0, head: None, lives: Vec::new() }
    }

    /// How many checkpoints were confirmed.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// HEAD was swapped.
    ///
    /// # Errors
    /// What is wrong about it.
    pub fn swapped(
        &mut self,
        before: Option<&Head>,
        head: &Head,
        store: &Store,
        broker: &Broker,
    ) -> Result<(), String> {
        self.head = Some(head.clone());
        if let Some(before) = before.filter(|before| before.term > head.term) {
            return Err(format!("the term falls: {before:?} becomes {head:?}"));
        }
        let before = before.filter(|before| before.incarnation == head.incarnation);
        if !self.lives.contains(&head.incarnation) {
            self.lives.push(head.incarnation.clone());
        }
        if let Some(before) = before {
            let rises = head.attempt >= before.attempt && head.latest >= before.latest;
            if !rises {
                return Err(format!("HEAD falls back: {before:?} becomes {head:?}"));
            }
        }
        self.kept(store)?;
        let latest = head.latest.filter(|latest| before.is_none_or(|before| before.latest != Some(*latest)));
        let Some(latest) = latest else { return Ok(()) };
        self.confirmed += 1;
        let manifest = find(store, head, latest)?;
        self.promise(manifest, store, broker).map_err(|what| format!("checkpoint {latest:?}: {what}"))
    }

    /// All that HEAD names is there.
    ///
    /// # Errors
    /// What is not.
    pub fn kept(&self, store: &Store) -> Result<(), String> {
        let Some(head) = &self.head else { return Ok(()) };
        for checkpoint in &head.retained {
            for node in find(store, head, *checkpoint)?.nodes.values() {
                for snapshot in &node.subtasks {
                    let runs = snapshot.state.iter().flat_map(state::objects);
                    let parts = snapshot.output.iter().flat_map(|output| &output.segments);
                    let parts = parts.flat_map(|segment| segment.parts.iter().map(|part| &part.chunk.object));
                    if let Some(gone) = runs.chain(parts).find(|object| store.get(object).is_none()) {
                        return Err(format!("{gone}, which checkpoint {checkpoint:?} names, is not in the store"));
                    }
                }
            }
        }
        Ok(())
    }

    /// An attempt is deployed.
    ///
    /// # Errors
    /// If HEAD does not say so.
    pub fn deployed(
        &self,
        incarnation: &Incarnation,
        attempt: Attempt,
        from: Option<&Manifest>,
        head: Option<&Head>,
    ) -> Result<(), String> {
        let Some(head) = head else { return Err(format!("attempt {attempt} is deployed without HEAD")) };
        if !self.lives.contains(incarnation) {
            return Err(format!("{incarnation} is deployed before HEAD names it"));
        }
        if &head.incarnation != incarnation {
            // By somebody who is deposed and does not know it.
            return Ok(());
        }
        let from = from.map(|from| from.checkpoint);
        if attempt > head.attempt {
            return Err(format!("attempt {attempt} is deployed before HEAD names it"));
        }
        if attempt == head.attempt && from > head.latest {
            return Err(format!("attempt {attempt} goes on from {from:?}, and HEAD says {:?}", head.latest));
        }
        Ok(())
    }

    /// A checkpoint alone is enough to go on exactly once: its state is that of its positions, and what is written, with what it
    /// names of output, is what follows from them.
    fn promise(&self, manifest: &Manifest, store: &Store, broker: &Broker) -> Result<(), String> {
        let subtasks = |node: &str| manifest.nodes.get(&name(node)).map_or(&[][..], |node| &node.subtasks);
        let splits = subtasks("in").iter().flat_map(|snapshot| &snapshot.splits);
        let positions: BTreeMap<String, i64> = splits.map(|split| (split.split.clone(), split.next)).collect();
        let expected = self.input.seen(&positions);
        let mut found = Counts::new();
        for chain in subtasks("counts").iter().filter_map(|snapshot| snapshot.state.as_ref()) {
            let runs = state::objects(chain).filter_map(|object| match store.get(object) {
                Some(Body::Run(bytes)) => Some(bytes.clone()),
                _ => None,
            });
            found.extend(state::counts(&runs.collect::<Vec<_>>(), &chain.groups)?);
        }
        if found != expected {
            return Err(format!("its state is {found:?}, and that of its positions {expected:?}"));
        }
        let broker = self.decided(broker);
        let mut last = Counts::new();
        for partition in partitions(&manifest.incarnation) {
            follow(&mut last, &broker.read(partition).records)?;
        }
        for lane in 0..LANES {
            for part in unwritten(manifest, lane, &broker)? {
                let Some(Body::Part(records)) = store.get(&part.chunk.object) else { continue };
                let records: Vec<Record> = records.iter().map(|(_, record)| record.clone()).collect();
                follow(&mut last, &records)?;
            }
        }
        if last != expected {
            return Err(format!("with its output {last:?} is written, and {expected:?} follows from its positions"));
        }
        Ok(())
    }

    /// Whether all that a checkpoint names of output is written.
    ///
    /// # Errors
    /// If it is not.
    pub fn settled(&self, manifest: &Manifest, broker: &Broker) -> Result<(), String> {
        let broker = &self.decided(broker);
        for lane in 0..LANES {
            if let Some(part) = unwritten(manifest, lane, broker)?.first() {
                let (checkpoint, object) = (manifest.checkpoint, &part.chunk.object);
                return Err(format!(
                    "a barrier before {object} of checkpoint {checkpoint:?} is written by lane {lane}"
                ));
            }
        }
        Ok(())
    }

    /// What a reader of committed records sees is what comes next of each key, and lanes only go forward, not beyond HEAD.
    ///
    /// # Errors
    /// What is not so.
    pub fn committed(&self, broker: &Broker, head: Option<&Head>) -> Result<(), String> {
        for life in &self.lives {
            let mut last = Counts::new();
            for partition in partitions(life) {
                follow(&mut last, &broker.read(partition).records)?;
            }
        }
        let Some(head) = head else { return Ok(()) };
        for lane in 0..LANES {
            let (identity, mut before) = (identity(&head.incarnation, lane), Standing::default());
            for record in broker.read(PROGRESS + lane).records {
                let mut now = Standing::default();
                identity.read(&mut now, &record.key, &record.value)?;
                if now.progress.is_some() && now.progress <= before.progress {
                    return Err(format!("lane {lane} goes from {:?} to {:?}", before.progress, now.progress));
                }
                if now.attempt.is_some() && now.attempt < before.attempt {
                    return Err(format!("lane {lane} goes from attempt {:?} to {:?}", before.attempt, now.attempt));
                }
                before.progress = now.progress.or(before.progress);
                before.attempt = now.attempt.or(before.attempt);
            }
            if let Some(progress) = before.progress.filter(|progress| Some(progress.checkpoint) > head.latest) {
                return Err(format!("lane {lane} has written {progress:?}, and HEAD says {:?}", head.latest));
            }
        }
        Ok(())
    }

    /// The broker when nothing is open any more: what is decided is visible, and what is not is aborted.
    fn decided(&self, broker: &Broker) -> Broker {
        let mut broker = broker.clone();
        broker.settle();
        for (life, lane) in self.lives.iter().flat_map(|life| (0..LANES).map(move |lane| (life, lane))) {
            // Nothing is about to end, so it is not refused.
            _ = broker.init(&identity(life, lane).transactional_id());
        }
        broker
    }

    /// Records that are missing in the end, and such as are there more than once or should not be.
    pub fn compare(&self, broker: &Broker) -> (u64, u64) {
        let broker = self.decided(broker);
        let mut seen: BTreeMap<(String, String), u64> = BTreeMap::new();
        for record in
            self.lives.last().into_iter().flat_map(partitions).flat_map(|partition| broker.read(partition).records)
        {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            *seen.entry((text(record.key), text(record.value))).or_default() += 1;
        }
        let expected = self.input.counts();
        let all = expected.iter().flat_map(|(key, count)| (1..=*count).map(move |n| (key.clone(), n.to_string())));
        let all: BTreeSet<(String, String)> = all.collect();
        let missing = all.iter().filter(|one| !seen.contains_key(*one)).count() as u64;
        let once = seen.keys().filter(|one| all.contains(*one)).count() as u64;
        (missing, seen.values().sum::<u64>() - once)
    }
}

fn find<'a>(store: &'a Store, head: &Head, checkpoint: CheckpointId) -> Result<&'a Manifest, String> {
    let name = flow_model::checkpoint::ObjectName::manifest(&head.incarnation, checkpoint);
    store.manifest(&name).ok_or_else(|| format!("{name}, which HEAD names, is not in the store"))
}

/// The partitions that a life writes.
fn partitions(incarnation: &Incarnation) -> std::ops::Range<u32> {
    let first = first_partition(incarnation);
    first..first + PARTITIONS
}

/// Takes records into what was seen: of each key the counts come one after the other.
fn follow(last: &mut Counts, records: &[Record]) -> Result<(), String> {
    for Record { key, value } in records {
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        let last = last.entry(key.clone().into_owned()).or_default();
        if value.parse() != Ok(*last + 1) {
            return Err(format!("{value} of {key} comes after {last}"));
        }
        *last += 1;
    }
    Ok(())
}

/// The parts of a lane that a manifest names and that are not written, in order: by checkpoint, subtask and part, numbered from 1
/// in each checkpoint.
fn unwritten<'a>(manifest: &'a Manifest, lane: u32, broker: &Broker) -> Result<Vec<&'a Part>, String> {
    let identity = identity(&manifest.incarnation, lane);
    let mut standing = Standing::default();
    for record in broker.read(PROGRESS + lane).records {
        identity.read(&mut standing, &record.key, &record.value)?;
    }
    let mut parts: BTreeMap<(CheckpointId, usize, usize), &Part> = BTreeMap::new();
    let subtasks = manifest.nodes.get(&name("out")).map_or(&[][..], |node| &node.subtasks);
    for (subtask, snapshot) in subtasks.iter().enumerate() {
        for output in snapshot.output.iter().filter(|output| output.lane == lane) {
            for segment in &output.segments {
                let numbered = segment.parts.iter().enumerate();
                parts.extend(numbered.map(|(at, part)| ((segment.checkpoint, subtask, at), part)));
            }
        }
    }
    let mut number = Progress { checkpoint: CheckpointId::NONE, part: 0 };
    let mut left = Vec::new();
    for ((checkpoint, ..), part) in parts {
        let first = number.checkpoint != checkpoint;
        number = Progress { checkpoint, part: if first { 1 } else { number.part + 1 } };
        if Some(number) > standing.progress {
            left.push(part);
        }
    }
    Ok(left)
}
