//! One value a key. The host passes the stored value in with the call and takes the new one out of the answer, so this
//! never calls it.

use std::cell::OnceCell;
use std::marker::PhantomData;

use flow_frame::layout::UNCHANGED;
use flow_frame::{BytesBuilder, Parts, id};

use super::cell::{Cell, Keys};
use super::stored::Stored;
use crate::error::{Failure, Result};
use crate::operator::{StateDescriptor, StateKind};

/// One value a key.
///
/// ```
/// # use flow_sdk::prelude::*;
/// # fn example(count: &mut Value<u64>) -> Result<()> {
/// let seen = count.get()?.copied().unwrap_or(0);
/// count.set(seen + 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Value<T> {
    id: u32,
    name: &'static str,
    /// What the host passed for the key at hand, while it is not decoded.
    stored: Option<Vec<u8>>,
    spare: Vec<u8>,
    /// The key's value as of the records that are done.
    current: OnceCell<Option<T>>,
    changed: bool,
    /// What the record at hand wrote.
    written: Option<Option<T>>,
    /// New contents for the keys that are done.
    column: BytesBuilder,
    any_changed: bool,
    of: PhantomData<T>,
}

impl<T: Stored> Value<T> {
    /// The value; none if there is none yet. An error (stored bytes that are no `T`) fails the call.
    #[inline]
    pub fn get(&self) -> Result<Option<&T>> {
        if let Some(written) = &self.written {
            return Ok(written.as_ref());
        }
        match self.current.get() {
            Some(current) => Ok(current.as_ref()),
            None => self.decode(),
        }
    }

    /// Sets the value.
    #[inline]
    pub fn set(&mut self, value: T) {
        self.written = Some(Some(value));
    }

    /// Removes the value.
    pub fn clear(&mut self) {
        self.written = Some(None);
    }

    /// Changes the value in place, starting from the default where there is none.
    ///
    /// ```
    /// # use flow_sdk::prelude::*;
    /// # fn example(count: &mut Value<u64>) -> Result<()> {
    /// let now = count.update(|n| {
    ///     *n += 1;
    ///     *n
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> Result<R>
    where
        T: Clone + Default,
    {
        let mut value = self.get()?.cloned().unwrap_or_default();
        let result = change(&mut value);
        self.set(value);
        Ok(result)
    }

    #[cold]
    fn decode(&self) -> Result<Option<&T>> {
        let decoded = self.stored.as_deref().map(T::decode).transpose().map_err(|e| self.named(e.into_failure()))?;
        Ok(self.current.get_or_init(|| decoded).as_ref())
    }

    fn named(&self, failure: Failure) -> Failure {
        Failure { message: format!("state `{}`: {}", self.name, failure.message), ..failure }
    }
}

impl<T: Stored> Cell for Value<T> {
    fn open(id: u32, name: &'static str) -> Self {
        Value {
            id,
            name,
            stored: None,
            spare: Vec::new(),
            current: OnceCell::new(),
            changed: false,
            written: None,
            column: BytesBuilder::default(),
            any_changed: false,
            of: PhantomData,
        }
    }

    fn descriptor(name: &'static str, version: u32) -> StateDescriptor {
        StateDescriptor { name, kind: StateKind::Value, version, encoding: T::ENCODING.into() }
    }

    fn begin_call(&mut self) {
        self.column.truncate(0);
        self.any_changed = false;
        self.written = None;
        self.changed = false;
    }

    #[inline]
    fn begin_key(&mut self, key_row: u32, keys: &Keys<'_>) {
        let stored = keys.stored(self.id, key_row);
        self.changed = false;
        if T::CHEAP
            && let Ok(decoded) = stored.map(T::decode).transpose()
        {
            self.current = OnceCell::from(decoded);
            return;
        }
        self.current = OnceCell::new();
        let mut bytes = self.stored.take().unwrap_or_else(|| std::mem::take(&mut self.spare));
        bytes.clear();
        match stored {
            Some(stored) => {
                bytes.extend_from_slice(stored);
                self.stored = Some(bytes);
            }
            None => {
                self.spare = bytes;
                self.current = OnceCell::from(None);
            }
        }
    }

    #[inline]
    fn end_row(&mut self, keep: bool) {
        if let Some(written) = self.written.take()
            && keep
        {
            self.current = OnceCell::from(written);
            self.changed = true;
        }
    }

    #[inline]
    fn end_key(&mut self) -> Result<(), Failure> {
        match self.current.get() {
            _ if !self.changed => self.column.push_marked(UNCHANGED),
            Some(Some(value)) => {
                self.any_changed = true;
                value.encode(&mut self.column.data).map_err(|e| self.named(e.into_failure()))?;
                self.column.end_row();
            }
            _ => {
                self.any_changed = true;
                self.column.push_null();
            }
        }
        Ok(())
    }

    fn announce(&mut self, _: u32) {}

    fn fetch(&mut self) {}

    fn end_call(&mut self) {}

    fn column(&self) -> Option<Parts<'_>> {
        self.any_changed.then(|| self.column.parts(id::DECLARED + self.id as u16))
    }
}
