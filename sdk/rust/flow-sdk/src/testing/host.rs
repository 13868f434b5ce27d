//! The host's part in a native test: states in memory, and lines kept for the test. The call at work is in a slot of its
//! thread, since an operator calls the host as if it were global.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use flow_frame::{BytesBuilder, Frame, assemble, id};

use crate::log::Level;

/// The entries of one key's map or list.
pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a component would leave with its host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub logs: Vec<(Level, String)>,
    /// Keys of the call, by row.
    pub keys: Vec<Vec<u8>>,
    /// Contents of value states, by state and key.
    pub values: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
    /// Entries of maps and items of lists (under their position, big endian), by state and key.
    pub entries: BTreeMap<(u32, Vec<u8>), Entries>,
}

thread_local! {
    static AT_WORK: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Runs a call with this host at work.
pub(crate) fn with<R>(host: &mut Host, call: impl FnOnce() -> R) -> R {
    AT_WORK.replace(Some(std::mem::take(host)));
    let result = call();
    *host = AT_WORK.take().unwrap_or_default();
    result
}

pub(crate) fn log(level: Level, message: &str) {
    AT_WORK.with_borrow_mut(|host| match host {
        Some(host) => host.logs.push((level, message.into())),
        // Outside of a harness, as in an author's unit test of a function.
        None => eprintln!("{level:?}: {message}"),
    });
}

fn at_work<R>(call: impl FnOnce(&mut Host) -> R) -> R {
    AT_WORK.with_borrow_mut(|host| call(host.as_mut().expect("states are used in calls of a harness only")))
}

impl Host {
    fn of(&mut self, state: u32, key_row: u32) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        let key = self.keys.get(key_row as usize).expect("a row of the call's keys").clone();
        self.entries.entry((state, key)).or_default()
    }
}

/// Calls `each` with the key row of each row.
fn rows(frame: &[u8], mut each: impl FnMut(&Frame<'_>, usize, u32)) {
    let f = Frame::parse(frame).expect("the SDK writes well-formed frames");
    let key_rows = f.u32s(id::INPUT_ROW).expect("the SDK names the key of each row");
    key_rows.iter().enumerate().for_each(|(row, key)| each(&f, row, u32::from_le_bytes(*key)));
}

fn column(frame: &Frame<'_>, id: u16, row: usize) -> Option<Vec<u8>> {
    frame.bytes(id).expect("the SDK writes the columns that an import takes").get(row).map(<[u8]>::to_vec)
}

pub(crate) fn get_many(state: u32, entries: &[u8]) -> Vec<u8> {
    at_work(|host| {
        let mut values = BytesBuilder::default();
        rows(entries, |f, row, key| {
            let name = column(f, id::KEY, row).unwrap_or_default();
            values.push(host.of(state, key).get(&name).map(|v| &v[..]));
        });
        let mut out = Vec::new();
        assemble(values.rows(), &[values.parts(id::VALUE)], &mut out);
        out
    })
}

pub(crate) fn put_many(state: u32, entries: &[u8]) {
    at_work(|host| {
        rows(entries, |f, row, key| {
            let name = column(f, id::KEY, row).unwrap_or_default();
            match column(f, id::VALUE, row) {
                Some(value) => drop(host.of(state, key).insert(name, value)),
                None => drop(host.of(state, key).remove(&name)),
            }
        });
    });
}

pub(crate) fn append_many(state: u32, entries: &[u8]) {
    at_work(|host| {
        rows(entries, |f, row, key| {
            let list = host.of(state, key);
            let next = list.len() as u64;
            list.insert(next.to_be_bytes().to_vec(), column(f, id::VALUE, row).unwrap_or_default());
        });
    });
}

pub(crate) fn clear_many(state: u32, keys: &[u8]) {
    at_work(|host| rows(keys, |_, _, key| host.of(state, key).clear()));
}

pub(crate) fn scan(state: u32, key_row: u32, after: Option<&[u8]>, limit: u32) -> (Vec<u8>, bool) {
    at_work(|host| {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = host.of(state, key_row).range::<[u8], _>((from, Bound::Unbounded)).peekable();
        let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
        for (key, value) in found.by_ref().take(limit as usize) {
            keys.push(Some(key));
            values.push(Some(value));
        }
        let mut out = Vec::new();
        assemble(keys.rows(), &[keys.parts(id::KEY), values.parts(id::VALUE)], &mut out);
        (out, found.peek().is_some())
    })
}
