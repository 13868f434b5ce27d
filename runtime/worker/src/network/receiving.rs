//! What comes in from all peers, as plain calls: which channel is whose, what was read of each, and the credit that is owed for it. No
//! connection is known here. A channel gets its first credit when its sender has announced it and its reader was opened, whichever
//! comes first: so nothing comes before somebody takes it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use flow_dataflow::Element;
use flow_dataflow::credit::{Books, Entry, Standing, Terms};
use flow_dataflow::exchange::{Inlet, Reader, Wake, inlet, size};
use flow_model::channel::{AttemptId, ChannelId};
use flow_rpc::exchange::Credit;

use super::bell::{Bell, Rope};
use super::figures::Counters;

/// What no worker does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("{0} is open twice")]
    Twice(ChannelId),
    #[error("number {0} stands for two channels")]
    Number(u32),
    #[error("{channel} is announced by worker {by:?} and expected of worker {of:?}")]
    Peer { channel: ChannelId, by: String, of: String },
    #[error("something came for channel {0}, which was not announced")]
    Unknown(u32),
    #[error("{0}: a batch came without credit")]
    Credit(ChannelId),
    #[error("{0}: more credit came back than there was")]
    GaveBack(ChannelId),
}

/// One stream from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StreamId(u64);

/// What the reader of a channel has taken.
struct Tally {
    taken: AtomicU64,
    /// When it is this much, credit is due.
    worth: AtomicU64,
    /// None until the channel is bound to a stream.
    rope: OnceLock<Rope>,
}

impl Tally {
    fn add(&self, bytes: usize) {
        let taken = self.taken.fetch_add(bytes as u64, SeqCst) + bytes as u64;
        if taken >= self.worth.load(SeqCst)
            && let Some(rope) = self.rope.get()
        {
            rope.pull();
        }
    }
}

/// The end of a channel that was opened here.
struct Receiver {
    /// The worker that is to send.
    peer: String,
    inlet: Arc<Inlet>,
    tally: Arc<Tally>,
    counters: [Arc<Counters>; 2],
    /// The stream on which it is announced.
    bound: Option<(StreamId, u32)>,
}

/// A channel that was announced on a stream.
enum Announced {
    /// Nobody has opened it here.
    Waiting(ChannelId),
    /// It is open on both sides.
    Open { id: ChannelId, entry: Entry, tally: Arc<Tally>, inlet: Arc<Inlet>, counters: [Arc<Counters>; 2] },
    /// It is over here; what still comes is of no use to anybody.
    Closed,
}

struct Stream {
    peer: String,
    bell: Arc<Bell>,
    channels: BTreeMap<u32, Announced>,
    credits: VecDeque<Credit>,
}

/// All channels into this worker.
pub(super) struct Receiving {
    books: Books,
    streams: HashMap<StreamId, Stream>,
    next: u64,
    receivers: BTreeMap<ChannelId, Receiver>,
    /// Announced and not opened.
    waiting: HashMap<ChannelId, (StreamId, u32)>,
}

impl Receiving {
    pub(super) fn new(terms: Terms) -> Receiving {
        Receiving {
            books: Books::new(terms),
            streams: HashMap::new(),
            next: 0,
            receivers: BTreeMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// A peer begins a stream, whose bell rings when there is credit for it.
    pub(super) fn connect(&mut self, peer: String, bell: Arc<Bell>) -> StreamId {
        let id = StreamId(self.next);
        self.next += 1;
        self.streams.insert(id, Stream { peer, bell, channels: BTreeMap::new(), credits: VecDeque::new() });
        id
    }

    /// A stream is over. The attempts that had channels on it.
    pub(super) fn disconnect(&mut self, stream: StreamId) -> BTreeSet<AttemptId> {
        let mut attempts = BTreeSet::new();
        for announced in self.streams.remove(&stream).map(|stream| stream.channels).unwrap_or_default().into_values() {
            match announced {
                Announced::Waiting(id) => _ = self.waiting.remove(&id),
                Announced::Open { id, entry, .. } => {
                    self.books.close(entry);
                    self.receivers.remove(&id);
                    attempts.insert(id.attempt);
                }
                Announced::Closed => {}
            }
        }
        attempts
    }

    /// A peer says which channel a number stands for.
    pub(super) fn announce(&mut self, stream: StreamId, number: u32, id: ChannelId) -> Result<(), Error> {
        let Some(known) = self.streams.get_mut(&stream) else { return Ok(()) };
        if known.channels.contains_key(&number) {
            return Err(Error::Number(number));
        }
        let receiver = self.receivers.get(&id);
        if self.waiting.contains_key(&id) || receiver.is_some_and(|receiver| receiver.bound.is_some()) {
            return Err(Error::Twice(id));
        }
        known.channels.insert(number, Announced::Waiting(id.clone()));
        self.waiting.insert(id.clone(), (stream, number));
        if receiver.is_some() { self.bind(&id) } else { Ok(()) }
    }

    /// The end of a channel from a peer, for the task that reads it.
    pub(super) fn open(
        &mut self,
        id: ChannelId,
        peer: String,
        wake_reader: Wake,
        counters: [Arc<Counters>; 2],
    ) -> Result<Reader, Error> {
        if self.receivers.contains_key(&id) {
            return Err(Error::Twice(id));
        }
        let tally =
            Arc::new(Tally { taken: AtomicU64::new(0), worth: AtomicU64::new(u64::MAX), rope: OnceLock::new() });
        let of_reader = tally.clone();
        let (inlet, reader) = inlet(wake_reader, Arc::new(move |bytes| of_reader.add(bytes)));
        let receiver = Receiver { peer, inlet: Arc::new(inlet), tally, counters, bound: None };
        self.receivers.insert(id.clone(), receiver);
        if self.waiting.contains_key(&id)
            && let Err(error) = self.bind(&id)
        {
            self.receivers.remove(&id);
            return Err(error);
        }
        Ok(reader)
    }

    /// A channel is open on both sides: it gets its first credit.
    fn bind(&mut self, id: &ChannelId) -> Result<(), Error> {
        let (Some(receiver), Some(place)) = (self.receivers.get_mut(id), self.waiting.get(id)) else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(&place.0) else { return Ok(()) };
        if receiver.peer != stream.peer {
            let (by, of) = (stream.peer.clone(), receiver.peer.clone());
            return Err(Error::Peer { channel: id.clone(), by, of });
        }
        let (stream_id, number) = *place;
        self.waiting.remove(id);
        receiver.bound = Some((stream_id, number));
        let (entry, bytes) = self.books.open();
        receiver.tally.worth.store(self.books.worth(entry), SeqCst);
        // A channel is bound once.
        _ = receiver.tally.rope.set(Rope::new(stream.bell.clone(), number));
        let open = Announced::Open {
            id: id.clone(),
            entry,
            tally: receiver.tally.clone(),
            inlet: receiver.inlet.clone(),
            counters: receiver.counters.clone(),
        };
        stream.channels.insert(number, open);
        stream.credits.push_back(Credit { number, bytes });
        stream.bell.wake();
        Ok(())
    }

    /// Bytes of a channel have come.
    pub(super) fn count(&self, stream: StreamId, number: u32, bytes: usize) -> Result<(), Error> {
        match self.streams.get(&stream).and_then(|stream| stream.channels.get(&number)) {
            None => Err(Error::Unknown(number)),
            Some(Announced::Waiting(id)) => Err(Error::Credit(id.clone())),
            // Its first piece already: nobody has this worker keep what it did not ask for.
            Some(Announced::Open { id, entry, .. }) if bytes > 0 && self.books.standing(*entry).granted <= 0 => {
                Err(Error::Credit(id.clone()))
            }
            Some(Announced::Open { counters, .. }) => {
                counters.iter().for_each(|counters| _ = counters.received_bytes.fetch_add(bytes as u64, Relaxed));
                Ok(())
            }
            Some(Announced::Closed) => Ok(()),
        }
    }

    /// An element of a channel has come. Where it goes; nowhere if the channel is over here.
    pub(super) fn arrived(
        &mut self,
        stream: StreamId,
        number: u32,
        element: &Element,
    ) -> Result<Option<Arc<Inlet>>, Error> {
        match self.streams.get(&stream).and_then(|stream| stream.channels.get(&number)) {
            None => Err(Error::Unknown(number)),
            Some(Announced::Waiting(id)) => Err(Error::Credit(id.clone())),
            Some(Announced::Open { id, entry, inlet, counters, .. }) => {
                if let Element::Batch(_) = element {
                    if !self.books.received(*entry, size(element)) {
                        return Err(Error::Credit(id.clone()));
                    }
                    counters.iter().for_each(|counters| _ = counters.received_batches.fetch_add(1, Relaxed));
                }
                Ok(Some(inlet.clone()))
            }
            Some(Announced::Closed) => Ok(None),
        }
    }

    /// A sender has no use for so much of its credit.
    pub(super) fn gave_back(&mut self, stream: StreamId, number: u32, bytes: u64) -> Result<(), Error> {
        match self.streams.get(&stream).and_then(|stream| stream.channels.get(&number)) {
            None => Err(Error::Unknown(number)),
            Some(Announced::Open { id, entry, .. }) if !self.books.gave_back(*entry, bytes) => {
                Err(Error::GaveBack(id.clone()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Nothing follows on a channel.
    pub(super) fn ended(&mut self, stream: StreamId, number: u32) -> Result<(), Error> {
        let channels = self.streams.get_mut(&stream).map(|stream| &mut stream.channels);
        match channels.and_then(|channels| channels.remove(&number)).ok_or(Error::Unknown(number))? {
            Announced::Waiting(id) => _ = self.waiting.remove(&id),
            Announced::Open { id, entry, .. } => {
                self.books.close(entry);
                self.receivers.remove(&id);
            }
            Announced::Closed => {}
        }
        Ok(())
    }

    /// Forgets the channels of an attempt.
    pub(super) fn close(&mut self, attempt: &AttemptId) {
        let closed: Vec<ChannelId> = self.receivers.keys().filter(|id| id.attempt == *attempt).cloned().collect();
        closed.iter().for_each(|id| self.leave(id));
        let of = |(id, place): (&ChannelId, &(StreamId, u32))| (id.attempt == *attempt).then(|| (id.clone(), *place));
        let waiting: Vec<(ChannelId, (StreamId, u32))> = self.waiting.iter().filter_map(of).collect();
        for (id, (stream, number)) in waiting {
            self.waiting.remove(&id);
            self.mark_closed(stream, number);
        }
    }

    /// The reader of a channel wants no more.
    fn leave(&mut self, id: &ChannelId) {
        if let Some(Receiver { bound: Some((stream, number)), .. }) = self.receivers.remove(id) {
            self.mark_closed(stream, number);
        }
    }

    fn mark_closed(&mut self, stream: StreamId, number: u32) {
        let Some(stream) = self.streams.get_mut(&stream) else { return };
        if let Some(Announced::Open { entry, .. }) = stream.channels.insert(number, Announced::Closed) {
            self.books.close(entry);
        }
    }

    /// The next credit that goes to the peer of a stream.
    pub(super) fn next(&mut self, stream: StreamId) -> Option<Credit> {
        let stream = self.streams.get_mut(&stream)?;
        for number in stream.bell.take() {
            let Some(Announced::Open { entry, tally, .. }) = stream.channels.get(&number) else { continue };
            if let Some(rope) = tally.rope.get() {
                rope.answer();
            }
            let bytes = self.books.taken(*entry, tally.taken.swap(0, SeqCst));
            if bytes > 0 {
                stream.credits.push_back(Credit { number, bytes });
            }
        }
        stream.credits.pop_front()
    }

    /// Lets channels go whose readers are gone, and deals the credits out anew.
    pub(super) fn turn(&mut self) {
        let gone = |(id, receiver): (&ChannelId, &Receiver)| receiver.inlet.is_abandoned().then(|| id.clone());
        let gone: Vec<ChannelId> = self.receivers.iter().filter_map(gone).collect();
        gone.iter().for_each(|id| self.leave(id));
        let (books, mut places) = (&mut self.books, HashMap::new());
        for (stream_id, stream) in &mut self.streams {
            for (number, announced) in &stream.channels {
                let Announced::Open { entry, tally, .. } = announced else { continue };
                let bytes = books.taken(*entry, tally.taken.swap(0, SeqCst));
                if bytes > 0 {
                    stream.credits.push_back(Credit { number: *number, bytes });
                }
                places.insert(*entry, (*stream_id, *number));
            }
        }
        let streams = &mut self.streams;
        books.turn(|entry, bytes| {
            let Some((stream, number)) = places.get(&entry) else { return };
            let Some(stream) = streams.get_mut(stream) else { return };
            stream.credits.push_back(Credit { number: *number, bytes });
        });
        for stream in self.streams.values() {
            for announced in stream.channels.values() {
                if let Announced::Open { entry, tally, .. } = announced {
                    tally.worth.store(self.books.worth(*entry), SeqCst);
                }
            }
            if !stream.credits.is_empty() {
                stream.bell.wake();
            }
        }
    }

    /// How each channel stands. What was read is not unread, though no credit was given for it yet.
    pub(super) fn standings(&self) -> impl Iterator<Item = (&ChannelId, &str, Standing)> {
        self.streams.values().flat_map(|stream| {
            stream.channels.values().filter_map(|announced| match announced {
                Announced::Open { id, entry, tally, .. } => {
                    let standing = self.books.standing(*entry);
                    let unread = standing.unread.saturating_sub(tally.taken.load(SeqCst));
                    Some((id, &*stream.peer, Standing { unread, ..standing }))
                }
                Announced::Waiting(_) | Announced::Closed => None,
            })
        })
    }
}
