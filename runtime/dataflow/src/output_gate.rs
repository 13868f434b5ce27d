//! A subtask's outputs: for each edge one channel to each subtask downstream that it may reach. What a full channel does not
//! take stays here as the edge's unsent tail, and later rows are appended to it, so that wide jobs keep large batches; while
//! there is a tail, the task takes no input.

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

/// Rows of one batch on an exchange, at most; what is cut smaller costs more a row than it saves in latency.
const TAIL_ROWS: usize = 1024;

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
        if self.tail.as_ref().is_some_and(|tail| tail.rows() + rows.len() > TAIL_ROWS || !tail.fits(batch)) {
            self.close_tail();
        }
        self.tail.get_or_insert_with(|| Gather::like(batch)).append(batch, rows);
    }

    fn close_tail(&mut self) {
        if let Some(tail) = self.tail.take() {
            self.pending.push_back(Element::Batch(tail.finish()));
        }
    }

    fn enqueue(&mut self, element: Element) {
        self.close_tail();
        self.pending.push_back(element);
    }

    /// True when nothing is left.
    fn flush(&mut self) -> bool {
        while let Some(element) = self.pending.pop_front() {
            if let Err(element) = self.writer.push(element) {
                self.pending.push_front(element);
                return false;
            }
        }
        if let Some(tail) = self.tail.take()
            && let Err(element) = self.writer.push(Element::Batch(tail.finish()))
        {
            self.pending.push_front(element);
            return false;
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
}

impl Edge {
    /// An edge to these channels, by subtask downstream; one for [`Partitioner::Forward`].
    pub fn new(partitioner: Partitioner, writers: Vec<Writer>) -> Edge {
        let rows = writers.iter().map(|_| Vec::new()).collect();
        let channel = |writer| Channel { writer, pending: VecDeque::new(), tail: None };
        Edge { partitioner, channels: writers.into_iter().map(channel).collect(), next: 0, rows }
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
            }
            Partitioner::Rebalance | Partitioner::Forward => {
                self.next = (self.next + 1) % width;
                self.channels[self.next].enqueue(Element::Batch(batch.clone()));
            }
        }
        Ok(())
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
                other => edge.channels.iter_mut().for_each(|c| c.enqueue(other.clone())),
            }
        }
        Ok(())
    }

    /// Passes on what it can. True when nothing is left.
    pub fn flush(&mut self) -> bool {
        let mut done = true;
        for channel in self.edges.iter_mut().flat_map(|e| &mut e.channels) {
            done &= channel.flush();
        }
        done
    }
}
