//! What one guest call sees of state: the keys of the call and its own writes over the backend; all of it takes effect, or
//! nothing.
//!
//! A list keeps its length under its prefix and a 0 byte, and its entries under its prefix, a 1 byte and their position as
//! 8 bytes big endian.

use std::collections::BTreeMap;
use std::ops::Bound;

use flow_frame::layout::{Type, UNCHANGED, id};
use flow_frame::{BytesBuilder, BytesColumn, Frame, read};
use flow_model::key_group::KeyGroups;

use super::budget::{Budget, ROW_BYTES};
use super::memory::MemoryBackend;
use super::quota::{self, Quota, TooMuch, Touched};
use super::{StateBackend, key};
use crate::build::bytes_column;
use crate::element::Barrier;
use crate::function::{StateDescriptor, StateKind};
use crate::{Batch, Column, Error};

/// What a guest did wrong with its state; the call traps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The component declares no such state, or it is of another kind.
    #[error("state {0} is not a {1} of this operator")]
    State(u32, &'static str),
    /// A number that names no key of the call.
    #[error("key row {0} is not one of the {1} keys of this call")]
    Key(u32, usize),
    /// A malformed frame.
    #[error("entries of state {0}: {1}")]
    Frame(u32, read::Error),
    /// More than one request may read.
    #[error("one request reads more than {} MiB of state; ask for fewer entries at once", .0 >> 20)]
    ReadsTooMuch(usize),
    /// More than one call may write.
    #[error("the call writes more than {} MiB to state", .0 >> 20)]
    WritesTooMuch(usize),
    /// The backend failed; not the guest's fault.
    #[error("{0}")]
    Backend(String),
}

/// What a call may write, and each of its requests read, unless [`KeyedState::limit`] says otherwise.
const LIMIT: usize = 64 << 20;
/// The most bytes that one page of a scan holds (one longer entry passes alone).
const PAGE_BYTES: usize = 1 << 20;

/// The states of one keyed operator, as a call sees them.
pub struct KeyedState {
    backend: Box<dyn StateBackend>,
    kinds: Vec<StateKind>,
    /// By which number each of them is kept.
    numbers: Vec<u16>,
    key_groups: KeyGroups,
    /// Group and bytes of each key of the call.
    groups: Vec<u16>,
    keys: BytesBuilder,
    /// The call's writes to maps and lists, by full key; none removes.
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What the call may still write.
    writable: Budget,
    limit: usize,
    quota: Option<Quota>,
    failed: Option<Error>,
}

impl Default for KeyedState {
    /// A state that nobody declared; stands in while the real one is lent to a call.
    fn default() -> Self {
        KeyedState::new(Box::<MemoryBackend>::default(), &[], KeyGroups::default())
    }
}

impl KeyedState {
    /// The states of these descriptors over a backend of their own.
    pub fn new(backend: Box<dyn StateBackend>, states: &[StateDescriptor], key_groups: KeyGroups) -> KeyedState {
        KeyedState {
            backend,
            kinds: states.iter().map(|s| s.kind).collect(),
            numbers: (0..states.len() as u16).collect(),
            key_groups,
            groups: Vec::new(),
            keys: BytesBuilder::default(),
            writes: BTreeMap::new(),
            writable: Budget::of(LIMIT),
            limit: LIMIT,
            quota: None,
            failed: None,
        }
    }

    /// The same, where the states are kept by these numbers, one for each: a component may declare them in another order than
    /// the one that wrote them.
    #[must_use]
    pub fn with_numbers(self, numbers: Vec<u16>) -> KeyedState {
        debug_assert_eq!(numbers.len(), self.kinds.len(), "a number for each state");
        KeyedState { numbers, ..self }
    }

    /// The same, where the states of one key may hold so many bytes, see [`KeyedState::check`].
    #[must_use]
    pub fn with_limit_per_key(self, bytes: usize) -> KeyedState {
        KeyedState { quota: Some(Quota::of(bytes)), ..self }
    }

    /// Bytes that a call may write from now on, and that each of its requests may read: keys, values, and something for
    /// each row. A guest that asks for more traps, before the host has done much for it.
    pub fn limit(&mut self, bytes: usize) {
        self.limit = bytes;
        self.writable = Budget::of(bytes);
    }

    /// Begins a call for these keys, each once, and reads their value states: one column a state, `DECLARED + state`. Also says
    /// how many of the keys these cover: all, or as many as it took for more than about `most` bytes, at least one. In that
    /// case the columns are of no use, and a call for so many keys has to begin.
    pub fn begin(&mut self, keys: BytesColumn<'_>, rows: usize, most: usize) -> Result<(Vec<Column>, usize), Error> {
        self.abort();
        self.keys = BytesBuilder::with_capacity(rows, rows * 16);
        self.groups.clear();
        for row in 0..rows {
            let bytes = keys.raw(row);
            self.keys.push(Some(bytes));
            self.groups.push(self.key_groups.of(bytes).0);
        }
        let (mut columns, mut covered) = (Vec::new(), rows);
        let most = most / self.value_states().count().max(1);
        for state in self.value_states() {
            let at = self.value_keys(state);
            let mut values = BytesBuilder::with_capacity(rows, rows * 8);
            self.backend.get_many(&at, &mut values, most)?;
            covered = covered.min(values.rows());
            columns.push(bytes_column(id::DECLARED + state, values));
        }
        if let Some(quota) = &mut self.quota
            && covered == rows
        {
            quota.begin(&columns, rows);
            if self.kinds.iter().any(|kind| *kind != StateKind::Value) {
                let mut at = BytesBuilder::default();
                for (row, group) in self.groups.iter().enumerate() {
                    quota::place(*group, self.keys.column().raw(row), &mut at.data);
                    at.end_row();
                }
                quota.read(&at, &mut *self.backend)?;
            }
        }
        Ok((columns, covered))
    }

    /// Whether every key of the call may hold what it would with these value states (a row for each key) and what the call
    /// wrote. To be asked before [`KeyedState::commit`].
    pub fn check(&mut self, states: &Batch) -> Result<Result<(), TooMuch>, Error> {
        let Some(mut quota) = self.quota.take() else { return Ok(Ok(())) };
        let mut result = Ok(Ok(()));
        for row in 0..self.groups.len() {
            let prefixes = self.entry_prefixes(row);
            let written = prefixes.iter().map(|prefix| self.bytes_under(prefix)).sum();
            let (keys, backend, writes) = (&self.keys, &mut *self.backend, &self.writes);
            let touched = Touched { row, key: keys.column().raw(row), written };
            let count = || {
                let mut bytes = written;
                for prefix in &prefixes {
                    let mut each = |key: &[u8], value: &[u8]| {
                        bytes += if writes.contains_key(key) { 0 } else { key.len() - prefix.len() + value.len() };
                        true
                    };
                    backend.scan(prefix, None, &mut each)?;
                }
                Ok(bytes)
            };
            result = quota.check(&touched, states, count);
            if !matches!(result, Ok(Ok(()))) {
                break;
            }
        }
        self.quota = Some(quota);
        result
    }

    /// What the entries of a key begin with, in each map and list.
    fn entry_prefixes(&self, row: usize) -> Vec<Vec<u8>> {
        let entries = self.kinds.iter().enumerate().filter(|(_, kind)| **kind != StateKind::Value);
        let prefix = |(state, _): (usize, &StateKind)| {
            let mut prefix = Vec::new();
            key::encode(self.groups[row], self.numbers[state], self.keys.column().raw(row), &mut prefix);
            prefix
        };
        entries.map(prefix).collect()
    }

    /// Ends a call that succeeded: its writes, and the value states that it returned (a row for each key), take effect.
    pub fn commit(&mut self, states: &Batch) -> Result<(), Error> {
        let (mut at, mut to) = (BytesBuilder::default(), BytesBuilder::default());
        for state in self.value_states() {
            let Some(values) = states.bytes(id::DECLARED + state) else { continue };
            for row in 0..self.groups.len() {
                if values.presence(row) == UNCHANGED {
                    continue;
                }
                key::encode(
                    self.groups[row],
                    self.numbers[usize::from(state)],
                    self.keys.column().raw(row),
                    &mut at.data,
                );
                at.end_row();
                to.push(values.get(row));
            }
        }
        for (row, count) in self.quota.as_mut().map(Quota::take_counted).unwrap_or_default() {
            quota::place(self.groups[row], self.keys.column().raw(row), &mut at.data);
            at.end_row();
            to.push(Some(&count));
        }
        self.writable = Budget::of(self.limit);
        for (key, value) in std::mem::take(&mut self.writes) {
            at.push(Some(&key));
            to.push(value.as_deref());
        }
        if at.is_empty() { Ok(()) } else { self.backend.put_many(&at, &to) }
    }

    /// Ends a call that failed: nothing of it is left.
    pub fn abort(&mut self) {
        self.writes.clear();
        self.writable = Budget::of(self.limit);
        self.failed = None;
    }

    /// The backend's own failure during the call, if a [`Misuse::Backend`] was one.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// Everything committed so far belongs to the checkpoint.
    pub fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.backend.snapshot(barrier)
    }

    /// Bytes of keys and values that the call wrote to maps and lists so far.
    pub fn written(&self) -> usize {
        self.writes.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len)).sum()
    }

    fn value_states(&self) -> impl Iterator<Item = u16> + use<> {
        let kinds = self.kinds.clone();
        (0..kinds.len() as u16).filter(move |s| kinds[*s as usize] == StateKind::Value)
    }

    fn value_keys(&self, state: u16) -> BytesBuilder {
        let keys = self.keys.column();
        let mut at = BytesBuilder::with_capacity(self.groups.len(), self.keys.data.len() + self.groups.len() * 8);
        for (row, group) in self.groups.iter().enumerate() {
            key::encode(*group, self.numbers[usize::from(state)], keys.raw(row), &mut at.data);
            at.end_row();
        }
        at
    }
}

/// The imports of `flow:operator/state`. Frames in, frames out, as `wit/operator-0.1.0/kinds.wit` says.
impl KeyedState {
    /// Reads entries of a map.
    pub fn get_many(&mut self, state: u32, entries: &[u8]) -> Result<Vec<u8>, Misuse> {
        let state = self.of_kind(state, StateKind::Map, "map")?;
        let mut readable = Budget::of(self.limit);
        let too_much = Misuse::ReadsTooMuch(self.limit);
        let at = self.entry_keys(state, entries, &mut readable, &too_much)?;
        let mut stored = BytesBuilder::default();
        self.backend.get_many(&at, &mut stored, readable.left()).map_err(|e| failed(&mut self.failed, e))?;
        let mut values = BytesBuilder::with_capacity(at.rows(), stored.data.len());
        for row in 0..stored.rows() {
            let value = match self.writes.get(at.column().raw(row)) {
                Some(written) => written.as_deref(),
                None => stored.column().get(row),
            };
            readable.spend(value.map_or(0, <[u8]>::len)).ok_or_else(|| too_much.clone())?;
            values.push(value);
        }
        if values.rows() < at.rows() { Err(too_much) } else { Ok(frame(at.rows(), &[values.parts(id::VALUE)])) }
    }

    /// Writes or removes entries of a map.
    pub fn put_many(&mut self, state: u32, entries: &[u8]) -> Result<(), Misuse> {
        let state = self.of_kind(state, StateKind::Map, "map")?;
        let mut writable = self.writable;
        let too_much = Misuse::WritesTooMuch(self.limit);
        let at = self.entry_keys(state, entries, &mut writable, &too_much)?;
        self.writable = writable;
        let parsed = parse(state, entries)?;
        let values = parsed.bytes(id::VALUE).map_err(|e| Misuse::Frame(state.into(), e))?;
        for row in 0..at.rows() {
            self.writes.insert(at.column().raw(row).to_vec(), values.get(row).map(<[u8]>::to_vec));
        }
        Ok(())
    }

    /// Appends to lists.
    pub fn append_many(&mut self, state: u32, entries: &[u8]) -> Result<(), Misuse> {
        let state = self.of_kind(state, StateKind::List, "list")?;
        self.write(entries.len())?;
        let parsed = parse(state, entries)?;
        let values = parsed.bytes(id::VALUE).map_err(|e| Misuse::Frame(state.into(), e))?;
        for (row, number) in key_rows(state, &parsed)?.enumerate() {
            let prefix = self.prefix(state, number)?;
            self.write(2 * (prefix.len() + ROW_BYTES))?;
            let length = [&prefix[..], &[0]].concat();
            let next = self.read(&length)?.and_then(|v| v.first_chunk().map(|b| u64::from_le_bytes(*b))).unwrap_or(0);
            let entry = [&prefix[..], &[1], &next.to_be_bytes()].concat();
            self.writes.insert(entry, Some(values.raw(row).to_vec()));
            self.writes.insert(length, Some((next + 1).to_le_bytes().to_vec()));
        }
        Ok(())
    }

    /// Removes all entries of maps or lists. Each entry that there is counts as one that the call writes.
    pub fn clear_many(&mut self, state: u32, keys: &[u8]) -> Result<(), Misuse> {
        let state = self.entries_state(state)?;
        self.write(keys.len())?;
        let parsed = parse(state, keys)?;
        // Each key once, however often it is named.
        let mut cleared = vec![false; self.groups.len()];
        for number in key_rows(state, &parsed)? {
            let prefix = self.prefix(state, number)?;
            if std::mem::replace(&mut cleared[number as usize], true) {
                continue;
            }
            let mut writable = self.writable;
            let (mut found, mut fits) = (Vec::new(), true);
            let mut each = |key: &[u8], _: &[u8]| {
                fits = writable.spend(key.len() + ROW_BYTES).is_some();
                found.push(key.to_vec());
                fits
            };
            self.backend.scan(&prefix, None, &mut each).map_err(|e| failed(&mut self.failed, e))?;
            if !fits {
                return Err(Misuse::WritesTooMuch(self.limit));
            }
            self.writable = writable;
            // What the call itself wrote has been counted.
            found.extend(self.written_under(&prefix).map(|(k, _)| k.clone()));
            self.writes.extend(found.into_iter().map(|key| (key, None)));
        }
        Ok(())
    }

    /// Reads entries of one key in order; returns the page's frame and whether more follow.
    pub fn scan(
        &mut self,
        state: u32,
        key_row: u32,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<(Vec<u8>, bool), Misuse> {
        let state = self.entries_state(state)?;
        let mut prefix = self.prefix(state, key_row)?;
        if self.kinds[state as usize] == StateKind::List {
            prefix.push(1);
        }
        // Bytes of a key that nobody has would be copied for nothing.
        if after.is_some_and(|a| a.len() > self.limit) {
            return Err(Misuse::ReadsTooMuch(self.limit));
        }
        let after = after.map(|a| [&prefix[..], a].concat());
        let (mut keys, mut values, mut more) = (BytesBuilder::default(), BytesBuilder::default(), false);
        let mut emit = |key: &[u8], value: &[u8]| {
            let full =
                keys.rows() >= limit as usize || (keys.rows() > 0 && keys.data.len() + values.data.len() > PAGE_BYTES);
            if full {
                more = true;
                return false;
            }
            keys.push(Some(&key[prefix.len()..]));
            values.push(Some(value));
            true
        };
        // A merge of the backend's entries with the call's own writes; the writes hide what they replace.
        let from = after.as_ref().map_or(Bound::Included(&prefix), Bound::Excluded);
        let mut written = self
            .writes
            .range::<Vec<u8>, _>((from, Bound::Unbounded))
            .take_while(|(k, _)| k.starts_with(&prefix))
            .peekable();
        let mut going = true;
        let merged = self.backend.scan(&prefix, after.as_deref(), &mut |key, value| {
            while let Some((k, v)) = written.next_if(|(k, _)| k.as_slice() < key) {
                going = going && v.as_ref().is_none_or(|v| emit(k, v));
            }
            going = going
                && match written.next_if(|(k, _)| k.as_slice() == key) {
                    Some((k, v)) => v.as_ref().is_none_or(|v| emit(k, v)),
                    None => emit(key, value),
                };
            going
        });
        for (k, v) in written {
            going = going && v.as_ref().is_none_or(|v| emit(k, v));
        }
        merged.map_err(|e| failed(&mut self.failed, e))?;
        Ok((frame(keys.rows(), &[keys.parts(id::KEY), values.parts(id::VALUE)]), more))
    }

    fn of_kind(&self, state: u32, kind: StateKind, name: &'static str) -> Result<u16, Misuse> {
        match self.kinds.get(state as usize) {
            Some(k) if *k == kind => Ok(state as u16),
            _ => Err(Misuse::State(state, name)),
        }
    }

    fn entries_state(&self, state: u32) -> Result<u16, Misuse> {
        self.of_kind(state, StateKind::Map, "map or list")
            .or_else(|_| self.of_kind(state, StateKind::List, "map or list"))
    }

    fn prefix(&self, state: u16, key_row: u32) -> Result<Vec<u8>, Misuse> {
        let row = key_row as usize;
        let group = *self.groups.get(row).ok_or(Misuse::Key(key_row, self.groups.len()))?;
        let mut prefix = Vec::new();
        key::encode(group, self.numbers[usize::from(state)], self.keys.column().raw(row), &mut prefix);
        Ok(prefix)
    }

    /// The full key of each row, if the budget lasts.
    fn entry_keys(
        &self,
        state: u16,
        entries: &[u8],
        budget: &mut Budget,
        too_much: &Misuse,
    ) -> Result<BytesBuilder, Misuse> {
        budget.spend(entries.len()).ok_or_else(|| too_much.clone())?;
        let parsed = parse(state, entries)?;
        let names = parsed.bytes(id::KEY).map_err(|e| Misuse::Frame(state.into(), e))?;
        let mut at = BytesBuilder::default();
        for (row, number) in key_rows(state, &parsed)?.enumerate() {
            let prefix = self.prefix(state, number)?;
            budget.spend(prefix.len() + ROW_BYTES).ok_or_else(|| too_much.clone())?;
            at.data.extend(prefix);
            at.push(Some(names.raw(row)));
        }
        Ok(at)
    }

    fn write(&mut self, bytes: usize) -> Result<(), Misuse> {
        self.writable.spend(bytes).ok_or(Misuse::WritesTooMuch(self.limit))
    }

    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Misuse> {
        if let Some(written) = self.writes.get(key) {
            return Ok(written.clone());
        }
        let (mut at, mut found) = (BytesBuilder::default(), BytesBuilder::default());
        at.push(Some(key));
        self.backend.get_many(&at, &mut found, usize::MAX).map_err(|e| failed(&mut self.failed, e))?;
        Ok(found.column().get(0).map(<[u8]>::to_vec))
    }

    /// Bytes of the entries that the call writes below a prefix, which counts for nothing.
    fn bytes_under(&self, prefix: &[u8]) -> usize {
        let size = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            value.as_ref().map_or(0, |value| key.len() - prefix.len() + value.len())
        };
        self.written_under(prefix).map(size).sum()
    }

    fn written_under<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)> {
        self.writes.range(prefix.to_vec()..).take_while(move |(k, _)| k.starts_with(prefix))
    }
}

fn failed(slot: &mut Option<Error>, error: Error) -> Misuse {
    let misuse = Misuse::Backend(error.to_string());
    *slot = Some(error);
    misuse
}

fn parse(state: u16, entries: &[u8]) -> Result<Frame<'_>, Misuse> {
    let bad = |e| Misuse::Frame(state.into(), e);
    let parsed = Frame::parse(entries).map_err(bad)?;
    parsed.columns().iter().try_for_each(|c| c.check()).map_err(bad)?;
    Ok(parsed)
}

fn key_rows<'a>(state: u16, entries: &Frame<'a>) -> Result<impl Iterator<Item = u32> + use<'a>, Misuse> {
    let rows = entries.u32s(id::INPUT_ROW).map_err(|e| Misuse::Frame(state.into(), e))?;
    Ok(rows.iter().map(|b| u32::from_le_bytes(*b)))
}

fn frame(rows: usize, columns: &[flow_frame::Parts<'_>]) -> Vec<u8> {
    debug_assert!(columns.iter().all(|c| c.ty == Type::Bytes));
    let mut out = Vec::new();
    flow_frame::assemble(rows, columns, &mut out);
    out
}
