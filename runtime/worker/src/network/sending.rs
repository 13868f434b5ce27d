//! What goes out to one peer, as plain calls: channels by turns, each as far as its credit reaches. No connection is known here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use flow_dataflow::Element;
use flow_dataflow::credit::Allowance;
use flow_dataflow::exchange::{Reader, Wake, Writer, channel, size};
use flow_model::channel::{AttemptId, ChannelId};
use flow_rpc::exchange::{Announce, Close, Data, Forward, GiveBack, data::Content, forward};

use super::bell::{Bell, Rope};
use super::figures::Counters;
use super::wire::{self, Outgoing};

struct Channel {
    id: ChannelId,
    reader: Reader,
    rope: Arc<Rope>,
    /// None until the receiver has opened the channel too.
    allowance: Option<Allowance>,
    sequence: u64,
    /// The batch of which pieces are still to go.
    batch: Option<Outgoing>,
    /// It stands in `Sending::line`.
    in_line: bool,
    /// Since when it has a batch and no credit for it.
    blocked: Option<Instant>,
    counters: [Arc<Counters>; 2],
}

impl Channel {
    fn count(&self, add: impl Fn(&Counters)) {
        self.counters.iter().for_each(|counters| add(counters));
    }

    /// The next message, none if there is nothing to send now.
    fn advance(&mut self, pack_from: Option<usize>, now: Instant) -> Result<Option<Content>, wire::Error> {
        if self.batch.is_none() {
            let may_send = self.allowance.as_ref().is_some_and(Allowance::may_send);
            let element = match &self.allowance {
                None => None,
                Some(_) if may_send => self.reader.pop(),
                Some(_) => self.reader.pop_control(),
            };
            let Some(element) = element else {
                if !may_send && self.blocked.is_none() && !self.reader.is_empty() {
                    self.blocked = Some(now);
                }
                return Ok(None);
            };
            match &element {
                Element::Batch(batch) => {
                    if let Some(allowance) = &mut self.allowance {
                        allowance.sent(size(&element));
                    }
                    self.count(|counters| _ = counters.sent_batches.fetch_add(1, Relaxed));
                    self.batch = Some(Outgoing::new(batch, pack_from)?);
                }
                control => return Ok(wire::control(control)),
            }
        }
        let Some(batch) = &mut self.batch else { return Ok(None) };
        let piece = batch.piece();
        if batch.is_sent() {
            self.batch = None;
        }
        self.count(|counters| _ = counters.sent_bytes.fetch_add(piece.bytes.len() as u64, Relaxed));
        Ok(Some(Content::Piece(piece)))
    }

    fn is_over(&self) -> bool {
        self.batch.is_none() && self.reader.is_abandoned() && self.reader.is_empty()
    }
}

/// All channels to one peer.
pub(super) struct Sending {
    bell: Arc<Bell>,
    pack_from: Option<usize>,
    channels: BTreeMap<u32, Channel>,
    ids: BTreeSet<ChannelId>,
    next: u32,
    /// Channels that may have something to send, the next one first.
    line: VecDeque<u32>,
    /// What goes before all data.
    first: VecDeque<forward::Message>,
}

impl Sending {
    /// No channels yet; `greeting` goes out before all.
    pub(super) fn new(bell: Arc<Bell>, greeting: forward::Message, pack_from: Option<usize>) -> Sending {
        Sending {
            bell,
            pack_from,
            channels: BTreeMap::new(),
            ids: BTreeSet::new(),
            next: 0,
            line: VecDeque::new(),
            first: [greeting].into(),
        }
    }

    /// A channel to the peer whose queue holds `capacity` bytes. None if it is open already.
    pub(super) fn open(
        &mut self,
        id: ChannelId,
        capacity: usize,
        wake_writer: Wake,
        counters: [Arc<Counters>; 2],
    ) -> Option<Writer> {
        if !self.ids.insert(id.clone()) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let rope = Arc::new(Rope::new(self.bell.clone(), number));
        let of_reader = rope.clone();
        let (writer, reader) = channel(capacity, Arc::new(move || of_reader.pull()), wake_writer);
        self.first.push_back(forward::Message::Announce(Announce { number, channel: Some((&id).into()) }));
        let channel = Channel {
            id,
            reader,
            rope,
            allowance: None,
            sequence: 0,
            batch: None,
            in_line: false,
            blocked: None,
            counters,
        };
        self.channels.insert(number, channel);
        Some(writer)
    }

    /// The peer gives credit. It may come late, for a channel that is closed here.
    pub(super) fn credit(&mut self, number: u32, bytes: u64, now: Instant) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        match &mut channel.allowance {
            None => channel.allowance = Some(Allowance::open(bytes)),
            Some(allowance) => allowance.grant(bytes),
        }
        if channel.allowance.as_ref().is_some_and(Allowance::may_send) {
            if let Some(since) = channel.blocked.take() {
                let blocked = now.saturating_duration_since(since).as_nanos() as u64;
                channel.count(|counters| _ = counters.blocked_nanos.fetch_add(blocked, Relaxed));
            }
            self.line_up(number);
        }
    }

    /// Lets channels go whose writers are gone, and gives back what idle ones don't need.
    pub(super) fn turn(&mut self) {
        let mut over = Vec::new();
        for (number, channel) in &mut self.channels {
            let back = channel.allowance.as_mut().map_or(0, Allowance::turn);
            if back > 0 {
                self.first.push_back(forward::Message::GiveBack(GiveBack { number: *number, bytes: back }));
            }
            if channel.is_over() {
                over.push(*number);
            }
        }
        over.into_iter().for_each(|number| self.remove(number));
    }

    /// What goes out next.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<Forward>, wire::Error> {
        if let Some(message) = self.first.pop_front() {
            return Ok(Some(Forward { message: Some(message) }));
        }
        for number in self.bell.take() {
            if let Some(channel) = self.channels.get(&number) {
                channel.rope.answer();
                self.line_up(number);
            }
        }
        while let Some(number) = self.line.pop_front() {
            let Some(channel) = self.channels.get_mut(&number) else { continue };
            channel.in_line = false;
            if let Some(content) = channel.advance(self.pack_from, now)? {
                let data = Data { number, sequence: channel.sequence, content: Some(content) };
                channel.sequence += 1;
                self.line_up(number);
                return Ok(Some(Forward { message: Some(forward::Message::Data(data)) }));
            }
        }
        Ok(None)
    }

    fn line_up(&mut self, number: u32) {
        if let Some(channel) = self.channels.get_mut(&number)
            && !channel.in_line
        {
            channel.in_line = true;
            self.line.push_back(number);
        }
    }

    /// Forgets the channels of an attempt, with what waits in them.
    pub(super) fn close(&mut self, attempt: &AttemptId) {
        let of = |(number, channel): (&u32, &Channel)| (channel.id.attempt == *attempt).then_some(*number);
        let closed: Vec<u32> = self.channels.iter().filter_map(of).collect();
        closed.into_iter().for_each(|number| self.remove(number));
    }

    fn remove(&mut self, number: u32) {
        if let Some(channel) = self.channels.remove(&number) {
            self.ids.remove(&channel.id);
            self.first.push_back(forward::Message::Close(Close { number }));
        }
    }

    /// The attempts that have channels.
    pub(super) fn attempts(&self) -> BTreeSet<AttemptId> {
        self.ids.iter().map(|id| id.attempt.clone()).collect()
    }

    /// The credit of each channel.
    pub(super) fn credits(&self) -> impl Iterator<Item = (&ChannelId, i64)> {
        self.channels.values().map(|channel| (&channel.id, channel.allowance.as_ref().map_or(0, Allowance::credit)))
    }
}
