//! A subtask's outputs: for each edge one channel to each subtask downstream that it may reach. Rows of an exchange by key are
//! collected in a tail for each channel, so that wide jobs keep large batches: a tail is closed when it is large, when the task
//! has nothing else to do ([`OutputGate::close`]), and after a while of work if its reader has nothing else to read
//! ([`OutputGate::close_awaited`]). While a full channel does not take what is closed, the task takes no input.

use std::collections::VecDeque;

use flow_frame::layout::id;
use flow_model::ids::SubtaskIndex;
use flow_model::key_group::KeyGroups;

use crate::build::Gather;
use crate::exchange::Writer;
use crate::key_by::KeyBy;
use crate::{Batch, Element, Error};

/// Which channel of an edge a row takes.
pub enum Partitioner {
    /// The only one.
    Forward,
    /// That of the subtask that owns the group of the key that is selected here.
    Hash(KeyBy, KeyGroups),
    /// By turns, a batch each.
    Rebalance,
}

/// Rows of one tail, about: one more batch may come on top. What is cut smaller costs more a row than it saves in latency.
const TAIL_ROWS: usize = 1024;
/// Bytes of one tail, about.
const TAIL_BYTES: usize = 256 << 10;
/// Bytes of all tails of an edge, about, however many channels it has.
const EDGE_BYTES: usize = 2 << 20;

struct Channel {
    writer: Writer,
    pending: VecDeque<Element>,
    /// Rows that wait to become an element behind `pending`.
    tail: Option<Gather>,
}

impl Channel {
    fn append(&mut self, batch: &Batch, rows: &[u32]) {
        if rows.is_empty() {
            return;
        }
        if self.tail.as_ref().is_some_and(|tail| !tail.fits(batch)) {
            self.close();
        }
        let tail = self.tail.get_or_insert_with(|| Gather::like(batch));
        tail.append(batch, rows);
        if tail.rows() >= TAIL_ROWS || tail.size() >= TAIL_BYTES {
            self.close();
        }
    }

    /// True if there was a tail.
    fn close(&mut self) -> bool {
        let tail = self.tail.take().map(|tail| Element::Batch(tail.finish()));
        let any = tail.is_some();
        self.pending.extend(tail);
        any
    }

    fn enqueue(&mut self, element: Element) {
        self.close();
        self.pending.push_back(element);
    }

    /// True when nothing that is closed is left.
    fn flush(&mut self) -> bool {
        while let Some(element) = self.pending.pop_front() {
            if let Err(element) = self.writer.push(element) {
                self.pending.push_front(element);
                return false;
            }
        }
        true
    }
}

/// One edge's channels, and how rows are spread over them.
pub struct Edge {
    partitioner: Partitioner,
    channels: Vec<Channel>,
    next: usize,
    /// For each channel the rows of the batch at hand.
    rows: Vec<Vec<u32>>,
    /// Bytes that have come since all tails were closed.
    collected: usize,
}

impl Edge {
    /// An edge to these channels, by subtask downstream; one for [`Partitioner::Forward`].
    pub fn new(partitioner: Partitioner, writers: Vec<Writer>) -> Edge {
        let rows = writers.iter().map(|_| Vec::new()).collect();
        let channel = |writer| Channel { writer, pending: VecDeque::new(), tail: None };
        Edge { partitioner, channels: writers.into_iter().map(channel).collect(), next: 0, rows, collected: 0 }
    }

    fn push(&mut self, batch: &Batch) -> Result<(), Error> {
        let width = self.channels.len();
        match &self.partitioner {
            Partitioner::Hash(key_by, groups) => {
                let batch = key_by.apply(batch.clone())?;
                if width == 1 {
                    self.channels[0].enqueue(Element::Batch(batch));
                    return Ok(());
                }
                let Some(keys) = batch.bytes(id::KEY) else { return Ok(()) };
                self.rows.iter_mut().for_each(Vec::clear);
                for row in 0..batch.rows() {
                    let SubtaskIndex(to) = groups.subtask(groups.of(keys.raw(row)), width as u32);
                    self.rows[to as usize].push(row as u32);
                }
                for (channel, rows) in self.channels.iter_mut().zip(&self.rows) {
                    channel.append(&batch, rows);
                }
                self.collected += batch.size();
                if self.collected >= EDGE_BYTES {
                    self.close();
                }
            }
            Partitioner::Rebalance | Partitioner::Forward => {
                self.next = (self.next + 1) % width;
                self.channels[self.next].enqueue(Element::Batch(batch.clone()));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> bool {
        self.collected = 0;
        self.channels.iter_mut().fold(false, |any, channel| any | channel.close())
    }
}

/// All outputs of one subtask.
pub struct OutputGate {
    edges: Vec<Edge>,
}

impl OutputGate {
    /// A gate over these edges; each gets every element.
    pub fn new(edges: Vec<Edge>) -> OutputGate {
        OutputGate { edges }
    }

    /// Takes an element for every edge: batches by their partitioner, everything else to every channel.
    pub fn push(&mut self, element: &Element) -> Result<(), Error> {
        for edge in &mut self.edges {
            match element {
                Element::Batch(batch) => edge.push(batch)?,
                other => {
                    edge.collected = 0;
                    edge.channels.iter_mut().for_each(|c| c.enqueue(other.clone()));
                }
            }
        }
        Ok(())
    }

    /// No more rows are coming now: closes all tails. True if there were any.
    pub fn close(&mut self) -> bool {
        self.edges.iter_mut().fold(false, |any, edge| any | edge.close())
    }

    /// Closes the tails whose readers have nothing else to read: behind what they have, these rows would only wait. True if there
    /// were any.
    pub fn close_awaited(&mut self) -> bool {
        let awaited = self.channels().filter(|channel| channel.writer.is_empty());
        awaited.fold(false, |any, channel| any | channel.close())
    }

    /// Passes on what is closed, as far as there is room. True when nothing of it is left.
    pub fn flush(&mut self) -> bool {
        self.channels().fold(true, |done, channel| done & channel.flush())
    }

    fn channels(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.edges.iter_mut().flat_map(|edge| &mut edge.channels)
    }
}
