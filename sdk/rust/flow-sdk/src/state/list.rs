//! An append-only list a key. What the call appends waits here and leaves in one import at its end.

use std::marker::PhantomData;

use flow_frame::{BytesBuilder, Parts, assemble, id};

use super::cell::{Cell, Keys};
use super::map::{Scan, key_rows};
use super::stored::Stored;
use crate::error::{Failure, Result};
use crate::host;
use crate::operator::{StateDescriptor, StateKind};

/// A list a key.
///
/// ```
/// # use flow_sdk::prelude::*;
/// # fn example(history: &mut ListState<String>) -> Result<()> {
/// history.push(&"came".to_string())?;
/// let all: Vec<String> = history.iter().collect::<Result<_>>()?;
/// if all.len() > 100 {
///     history.clear();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ListState<T> {
    id: u32,
    key_row: u32,
    /// What the key's records so far have appended.
    appended: Vec<Vec<u8>>,
    /// Whether everything stored of this key is void.
    cleared: bool,
    /// How many of `appended` come from records that are done.
    done: usize,
    /// What the record at hand has cleared.
    before_clear: Option<(Vec<Vec<u8>>, bool)>,
    append_rows: Vec<u8>,
    appends: BytesBuilder,
    clears: Vec<u8>,
    of: PhantomData<T>,
}

impl<T: Stored> ListState<T> {
    /// Appends an item.
    pub fn push(&mut self, item: &T) -> Result<()> {
        let mut bytes = Vec::new();
        item.encode(&mut bytes)?;
        self.appended.push(bytes);
        Ok(())
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        let mut appended = std::mem::take(&mut self.appended);
        if self.before_clear.is_none() {
            appended.truncate(self.done);
            self.before_clear = Some((appended, self.cleared));
        }
        self.cleared = true;
    }

    /// All items in order. Reads in pages: what is stored need not fit into memory.
    pub fn iter(&self) -> impl Iterator<Item = Result<T>> + use<'_, T> {
        let stored = Scan::new(self.id, self.key_row, None, self.cleared);
        let stored = stored.map(|entry| entry.and_then(|(_, item)| T::decode(&item)));
        stored.chain(self.appended.iter().map(|item| T::decode(item)))
    }
}

impl<T: Stored> Cell for ListState<T> {
    fn open(id: u32, _name: &'static str) -> Self {
        ListState {
            id,
            key_row: 0,
            appended: Vec::new(),
            cleared: false,
            done: 0,
            before_clear: None,
            append_rows: Vec::new(),
            appends: BytesBuilder::default(),
            clears: Vec::new(),
            of: PhantomData,
        }
    }

    fn descriptor(name: &'static str, version: u32) -> StateDescriptor {
        StateDescriptor { name, kind: StateKind::List, version, encoding: T::ENCODING.into() }
    }

    fn begin_call(&mut self) {
        self.appended.clear();
        self.done = 0;
        self.before_clear = None;
        self.append_rows.clear();
        self.appends.truncate(0);
        self.clears.clear();
    }

    fn begin_key(&mut self, key_row: u32, _keys: &Keys<'_>) {
        self.key_row = key_row;
        self.cleared = false;
        self.done = 0;
    }

    fn end_row(&mut self, keep: bool) {
        let before = self.before_clear.take();
        if keep {
            self.done = self.appended.len();
            return;
        }
        match before {
            Some((appended, cleared)) => (self.appended, self.cleared) = (appended, cleared),
            None => self.appended.truncate(self.done),
        }
    }

    fn end_key(&mut self) -> Result<(), Failure> {
        if self.cleared {
            self.clears.extend(self.key_row.to_le_bytes());
        }
        for item in self.appended.drain(..) {
            self.append_rows.extend(self.key_row.to_le_bytes());
            self.appends.push(Some(&item));
        }
        Ok(())
    }

    fn announce(&mut self, _: u32) {}

    fn fetch(&mut self) {}

    fn end_call(&mut self) {
        let mut frame = Vec::new();
        if !self.clears.is_empty() {
            assemble(self.clears.len() / 4, &[key_rows(&self.clears)], &mut frame);
            host::clear_many(self.id, &frame);
        }
        if self.appends.rows() > 0 {
            let parts = [key_rows(&self.append_rows), self.appends.parts(id::VALUE)];
            assemble(self.appends.rows(), &parts, &mut frame);
            host::append_many(self.id, &frame);
        }
    }

    fn column(&self) -> Option<Parts<'_>> {
        None
    }
}
