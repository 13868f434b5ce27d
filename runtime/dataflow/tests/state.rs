//! What a call may ask of state: that its requests are bounded in bytes and in work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use flow_dataflow::build::bytes_column;
use flow_dataflow::element::Barrier;
use flow_dataflow::function::{StateDescriptor, StateKind};
use flow_dataflow::state::call::Misuse;
use flow_dataflow::state::{KeyedState, MemoryBackend, StateBackend};
use flow_dataflow::{Batch, Error};
use flow_frame::layout::{Type, id};
use flow_frame::{BytesBuilder, Frame, Parts};
use flow_model::key_group::KeyGroups;

const LIMIT: usize = 1 << 20;

/// The memory backend, and how much it was asked.
#[derive(Default)]
struct Counted {
    data: MemoryBackend,
    scans: Arc<AtomicUsize>,
    bytes_read: Arc<AtomicUsize>,
}

impl StateBackend for Counted {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        let result = self.data.get_many(keys, values, most);
        self.bytes_read.fetch_add(values.data.len(), Relaxed);
        result
    }

    fn put_many(&mut self, keys: &BytesBuilder, values: &BytesBuilder) -> Result<(), Error> {
        self.data.put_many(keys, values)
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.scans.fetch_add(1, Relaxed);
        self.data.scan(prefix, after, each)
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.data.snapshot(barrier)
    }
}

/// A map and a list behind a backend that counts, with a limit of a MiB.
fn states(backend: Counted) -> KeyedState {
    let state = |name: &str, kind| StateDescriptor { name: name.into(), kind, version: 0, encoding: "bytes".into() };
    let states = [state("m", StateKind::Map), state("l", StateKind::List)];
    let mut new = KeyedState::new(Box::new(backend), &states, KeyGroups::default());
    new.limit(LIMIT);
    new
}

/// A call for one key of so many bytes.
fn begin(state: &mut KeyedState, key_bytes: usize) {
    let mut keys = BytesBuilder::default();
    keys.push(Some(&vec![b'k'; key_bytes]));
    state.begin(keys.column(), 1, usize::MAX).expect("memory works");
}

/// So many rows for the call's one key; each with this entry key and value, where given.
fn entries(rows: usize, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let numbers = vec![0; rows * 4];
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    let mut columns =
        vec![Parts { id: id::INPUT_ROW, ty: Type::U32, flags: 0, data: &numbers, offsets: None, nulls: None }];
    if let Some(key) = key {
        (0..rows).for_each(|_| keys.push(Some(key)));
        columns.push(keys.parts(id::KEY));
    }
    if let Some(value) = value {
        (0..rows).for_each(|_| values.push(Some(value)));
        columns.push(values.parts(id::VALUE));
    }
    let mut out = Vec::new();
    flow_frame::assemble(rows, &columns, &mut out);
    out
}

fn commit(state: &mut KeyedState) {
    state.commit(&Batch::default()).expect("memory works");
}

#[test]
fn equal_rows_of_one_request_do_not_multiply_a_value_without_end() {
    let backend = Counted::default();
    let bytes_read = backend.bytes_read.clone();
    let mut state = states(backend);
    let value = vec![b'v'; 100_000];
    begin(&mut state, 3);
    state.put_many(0, &entries(1, Some(b"e"), Some(&value))).expect("it fits");
    commit(&mut state);
    begin(&mut state, 3);
    assert_eq!(state.get_many(0, &entries(400, Some(b"e"), None)), Err(Misuse::ReadsTooMuch(LIMIT)));
    assert!(bytes_read.load(Relaxed) <= LIMIT + value.len(), "{} bytes were gathered", bytes_read.load(Relaxed));
    // Requests that fit may follow each other for as long as the call has time.
    for _ in 0..5 {
        let answer = state.get_many(0, &entries(9, Some(b"e"), None)).expect("it fits");
        let parsed = Frame::parse(&answer).expect("a frame");
        assert_eq!((parsed.rows(), parsed.bytes(id::VALUE).expect("values").raw(8)), (9, &value[..]));
    }
    // What the call itself wrote counts too.
    state.put_many(0, &entries(1, Some(b"f"), Some(&value))).expect("it fits");
    assert_eq!(state.get_many(0, &entries(400, Some(b"f"), None)), Err(Misuse::ReadsTooMuch(LIMIT)));
}

#[test]
fn rows_cost_the_key_that_they_name() {
    let backend = Counted::default();
    let bytes_read = backend.bytes_read.clone();
    let mut state = states(backend);
    begin(&mut state, 100_000);
    assert_eq!(state.get_many(0, &entries(11, Some(b"e"), None)), Err(Misuse::ReadsTooMuch(LIMIT)));
    assert_eq!(state.put_many(0, &entries(11, Some(b"e"), Some(b""))), Err(Misuse::WritesTooMuch(LIMIT)));
    assert_eq!(bytes_read.load(Relaxed), 0);
    begin(&mut state, 1);
    assert_eq!(state.get_many(0, &entries(100_000, Some(b""), None)), Err(Misuse::ReadsTooMuch(LIMIT)));
}

#[test]
fn a_clear_looks_through_each_key_once() {
    let backend = Counted::default();
    let scans = backend.scans.clone();
    let mut state = states(backend);
    begin(&mut state, 1);
    state.append_many(1, &entries(3, None, Some(b"x"))).expect("it fits");
    commit(&mut state);
    begin(&mut state, 1);
    state.clear_many(1, &entries(10_000, None, None)).expect("it fits");
    assert_eq!(scans.load(Relaxed), 1);
    let (page, more) = state.scan(1, 0, None, 10).expect("a page");
    assert_eq!((Frame::parse(&page).expect("a frame").rows(), more), (0, false));
}

#[test]
fn what_a_clear_removes_counts_as_written() {
    let mut state = states(Counted::default());
    // Three calls may write more than one may remove.
    for _ in 0..3 {
        begin(&mut state, 1);
        state.append_many(1, &entries(6_000, None, Some(b""))).expect("it fits");
        commit(&mut state);
    }
    begin(&mut state, 1);
    assert_eq!(state.clear_many(1, &entries(1, None, None)), Err(Misuse::WritesTooMuch(LIMIT)));
    assert!(state.written() <= LIMIT);
    state.abort();
    begin(&mut state, 1);
    let (page, _) = state.scan(1, 0, None, 20_000).expect("a page");
    assert_eq!(Frame::parse(&page).expect("a frame").rows(), 18_000, "the failed call removed nothing");
}

/// Bytes that the states of a key would hold, where that is too much; else they take effect.
fn commit_within(state: &mut KeyedState, values: &Batch) -> Result<(), usize> {
    match state.check(values).expect("memory works") {
        Ok(()) => {
            state.commit(values).expect("memory works");
            Ok(())
        }
        Err(too_much) => {
            state.abort();
            Err(too_much.bytes)
        }
    }
}

#[test]
fn the_entries_of_a_key_have_a_limit_together_and_are_seldom_counted() {
    let scans = Arc::<AtomicUsize>::default();
    let mut state = states(Counted { scans: scans.clone(), ..Counted::default() }).with_limit_per_key(1000);
    let put = |state: &mut KeyedState, key: &[u8], value: usize| {
        begin(state, 3);
        state.put_many(0, &entries(1, Some(key), Some(&vec![b'v'; value]))).expect("it may");
        commit_within(state, &Batch::default())
    };
    assert_eq!(put(&mut state, b"a", 400), Ok(()));
    assert_eq!(put(&mut state, b"b", 400), Ok(()));
    assert_eq!(scans.swap(0, Relaxed), 0, "nothing was near the limit");
    assert_eq!(put(&mut state, b"c", 400), Err(3 * 401), "what it would hold");
    assert_eq!(put(&mut state, b"b", 300), Ok(()), "to replace is not to add");
    assert_eq!(scans.swap(0, Relaxed), 4, "a map and a list, counted twice");
    // 702 bytes are there now. A list adds to them; what is removed counts no more.
    begin(&mut state, 3);
    state.append_many(1, &entries(1, None, Some(&[b'v'; 400]))).expect("it may");
    assert!(commit_within(&mut state, &Batch::default()).is_err_and(|bytes| bytes > 1100));
    begin(&mut state, 3);
    state.clear_many(0, &entries(1, None, None)).expect("it may");
    assert_eq!(commit_within(&mut state, &Batch::default()), Ok(()), "less is always allowed");
    begin(&mut state, 3);
    state.append_many(1, &entries(1, None, Some(&[b'v'; 400]))).expect("it may");
    assert_eq!(commit_within(&mut state, &Batch::default()), Ok(()));
    // Another key has nothing to do with it.
    begin(&mut state, 4);
    state.put_many(0, &entries(1, Some(b"a"), Some(&[b'v'; 900]))).expect("it may");
    assert_eq!(commit_within(&mut state, &Batch::default()), Ok(()));
}

#[test]
fn the_values_of_a_key_have_a_limit_together() {
    let value = |name: &str| StateDescriptor {
        name: name.into(),
        kind: StateKind::Value,
        version: 0,
        encoding: "bytes".into(),
    };
    let backend = Box::<MemoryBackend>::default();
    let mut state = KeyedState::new(backend, &[value("a"), value("b")], KeyGroups::default()).with_limit_per_key(1000);
    let set = |column: u16, bytes: usize| -> Batch {
        let mut values = BytesBuilder::default();
        values.push(Some(&vec![b'v'; bytes]));
        [bytes_column(id::DECLARED + column, values)].into_iter().collect()
    };
    for (column, bytes, expect) in [
        (0, 600, Ok(())),
        (1, 400, Ok(())),
        (1, 401, Err(1001)),
        (0, 1001, Err(1401)),
        (0, 100, Ok(())),
        (1, 900, Ok(())),
    ] {
        begin(&mut state, 3);
        assert_eq!(commit_within(&mut state, &set(column, bytes)), expect, "{column} {bytes}");
    }
}

/// A backend that outlives the operator.
#[derive(Clone, Default)]
struct Kept(Arc<std::sync::Mutex<MemoryBackend>>);

impl Kept {
    fn lock(&self) -> std::sync::MutexGuard<'_, MemoryBackend> {
        self.0.lock().expect("no panic")
    }
}

impl StateBackend for Kept {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        self.lock().get_many(keys, values, most)
    }

    fn put_many(&mut self, keys: &BytesBuilder, values: &BytesBuilder) -> Result<(), Error> {
        self.lock().put_many(keys, values)
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.lock().scan(prefix, after, each)
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.lock().snapshot(barrier)
    }
}

#[test]
fn states_are_found_again_under_their_numbers() {
    let backend = Kept::default();
    let declared = |kinds: [StateKind; 3], numbers: Vec<u16>| {
        let state = |kind| StateDescriptor { name: String::new(), kind, version: 0, encoding: "bytes".into() };
        KeyedState::new(Box::new(backend.clone()), &kinds.map(state), KeyGroups::default()).with_numbers(numbers)
    };
    let (value, map, list) = (StateKind::Value, StateKind::Map, StateKind::List);
    let mut before = declared([value, map, list], vec![0, 1, 2]);
    begin(&mut before, 3);
    before.put_many(1, &entries(1, Some(b"e"), Some(b"mapped"))).expect("it fits");
    before.append_many(2, &entries(1, None, Some(b"listed"))).expect("it fits");
    let mut valued = BytesBuilder::default();
    valued.push(Some(b"valued"));
    let column = bytes_column(id::DECLARED, valued);
    let mut values = Batch::new(1);
    values.set(column);
    before.commit(&values).expect("memory works");

    let mut after = declared([list, value, map], vec![2, 0, 1]);
    let mut keys = BytesBuilder::default();
    keys.push(Some(b"kkk"));
    let (columns, _) = after.begin(keys.column(), 1, usize::MAX).expect("memory works");
    assert_eq!(columns[0].as_bytes().expect("bytes").get(0), Some(&b"valued"[..]));
    let mapped = after.get_many(2, &entries(1, Some(b"e"), None)).expect("it reads");
    assert_eq!(Frame::parse(&mapped).expect("a frame").bytes(id::VALUE).expect("values").get(0), Some(&b"mapped"[..]));
    let (listed, _) = after.scan(0, 0, None, 9).expect("it reads");
    assert_eq!(Frame::parse(&listed).expect("a frame").bytes(id::VALUE).expect("values").get(0), Some(&b"listed"[..]));
}
