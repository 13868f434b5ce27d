//! Keyed calls: what a guest sees of state, and that only what it returns ok takes effect.

use std::sync::Arc;

use flow_dataflow::build::fixed_column;
use flow_dataflow::element::Barrier;
use flow_dataflow::function::{Answer, CallError, Kind};
use flow_dataflow::state::{KeyedState, MemoryBackend, StateBackend};
use flow_dataflow::{Batch, Error, Function};
use flow_frame::layout::{Type, UNCHANGED};
use flow_frame::{BytesBuilder, Parts, id};

use crate::guest::{At, Guest, frame};
use crate::stage::{AT, load, setup, strings, texts, values};

/// One operator with its state; keys `a` and `b`, a row each.
struct Stage {
    function: Box<dyn Function>,
    state: KeyedState,
}

impl Stage {
    fn new(guest: &Guest, backend: Box<dyn StateBackend>) -> Stage {
        let function = load(guest).instantiate(setup(&Arc::default())).expect("it starts");
        let state = KeyedState::new(backend, &function.description().states, Default::default());
        Stage { function, state }
    }

    fn call(&mut self, rows: &[&str]) -> Result<Answer, CallError> {
        let mut keys: Batch = [strings(id::KEY, &["a", "b"])].into_iter().collect();
        let sizes = [1u32, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
        keys.set(fixed_column(id::GROUP_ROWS, Type::U32, sizes, None));
        let column = keys.bytes(id::KEY).expect("just set");
        for values in self.state.begin(column, 2, usize::MAX).expect("memory works").0 {
            keys.set(values);
        }
        self.function.process(&values(rows), &keys, &mut self.state, AT)
    }

    fn commit(&mut self, answer: &Answer) {
        self.state.commit(&answer.states).expect("memory works");
    }
}

/// `input-row` and more columns, as state imports take them.
fn entries(rows: &[u32], key: Option<&[&str]>, value: Option<&[Option<&str>]>) -> Vec<u8> {
    let numbers: Vec<u8> = rows.iter().flat_map(|r| r.to_le_bytes()).collect();
    let mut columns =
        vec![Parts { id: id::INPUT_ROW, ty: Type::U32, flags: 0, data: &numbers, offsets: None, nulls: None }];
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    if let Some(rows) = key {
        rows.iter().for_each(|r| keys.push(Some(r.as_bytes())));
        columns.push(keys.parts(id::KEY));
    }
    if let Some(rows) = value {
        rows.iter().for_each(|r| values.push(r.map(str::as_bytes)));
        columns.push(values.parts(id::VALUE));
    }
    frame(rows.len(), &columns)
}

fn call(import: &str, state: u32, at: At) -> String {
    format!("(call ${import} (i32.const {state}) (i32.const {}) (i32.const {}))", at.offset, at.len)
}

/// Reads entries and answers the frame that came back as its rows.
fn get(state: u32, at: At) -> String {
    format!(
        "(call $get_many (i32.const {state}) (i32.const {}) (i32.const {}) (i32.const 512))
         (call $keyed (i32.load (i32.const 512)) (i32.load (i32.const 516)) (i32.const 0) (i32.const 0))",
        at.offset, at.len
    )
}

/// Scans the entries of a key behind `after`, and answers the page as its rows; traps if `more` is not as expected.
fn scan(state: u32, key_row: u32, after: Option<At>, limit: u32, more: u32) -> String {
    let (is, offset, len) = after.map_or((0, 0, 0), |a| (1, a.offset, a.len));
    format!(
        "(call $scan (i32.const {state}) (i32.const {key_row}) (i32.const {is}) (i32.const {offset}) (i32.const {len})
           (i32.const {limit}) (i32.const 512))
         (if (i32.ne (i32.load8_u (i32.const 520)) (i32.const {more})) (then unreachable))
         (call $keyed (i32.load (i32.const 512)) (i32.load (i32.const 516)) (i32.const 0) (i32.const 0))"
    )
}

/// Does the first thing with rows that begin with `x`, the second with others.
fn on_x(guest: Guest, x: &str, other: &str) -> Guest {
    guest.call(&format!(
        "(if (result i32) (i32.eq (i32.load8_u (i32.add (local.get $ptr) (i32.const 48))) (i32.const 120))
           (then {x}) (else {other}))"
    ))
}

const NOTHING: &str = "(call $keyed (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";

#[test]
fn value_states_come_and_go_with_the_call() {
    // Answers a new value for `a` and leaves `b` alone; gives the `keys` back as rows, so that the test sees them.
    let mut guest = Guest::new(Kind::Process).state("total", 0);
    let mut states = BytesBuilder::default();
    states.push(Some(b"7"));
    states.push_marked(UNCHANGED);
    let at = guest.data(&frame(2, &[states.parts(id::DECLARED)]));
    let guest = guest.call(&format!(
        "(call $keyed (local.get $keys) (local.get $keys_len) (i32.const {}) (i32.const {}))",
        at.offset, at.len
    ));
    let mut stage = Stage::new(&guest, Box::<MemoryBackend>::default());
    let first = stage.call(&["1", "2"]).expect("it answers");
    assert_eq!(texts(&first.rows, id::KEY), ["a", "b"]);
    assert_eq!(first.rows.u32s(id::GROUP_ROWS), Some(&[[1, 0, 0, 0], [1, 0, 0, 0]][..]));
    let present =
        |answer: &Answer, row| answer.rows.bytes(id::DECLARED).expect("prefetched").get(row).map(<[u8]>::to_vec);
    assert_eq!((present(&first, 0), present(&first, 1)), (None, None));
    stage.commit(&first);
    let second = stage.call(&["1", "2"]).expect("it answers");
    assert_eq!((present(&second, 0), present(&second, 1)), (Some(b"7".to_vec()), None));
}

#[test]
fn a_call_reads_what_it_wrote_and_leaves_nothing_when_it_fails() {
    let mut guest = Guest::new(Kind::Process).state("seen", 1);
    let put = guest.data(&entries(&[0, 1], Some(&["k", "l"]), Some(&[Some("one"), Some("two")])));
    let read = guest.data(&entries(&[0, 0, 1], Some(&["k", "l", "l"]), None));
    let write_read = format!("{} {}", call("put_many", 0, put), get(0, read));
    let mut stage = Stage::new(
        &on_x(guest.clone(), &format!("{} unreachable", call("put_many", 0, put)), &get(0, read)),
        Box::<MemoryBackend>::default(),
    );
    let found = |answer: &Answer| {
        let column = answer.rows.bytes(id::VALUE).expect("values");
        (0..3).map(|row| column.get(row).map(|v| String::from_utf8_lossy(v).into_owned())).collect::<Vec<_>>()
    };
    // Fails after its write: nothing of it is there at the next call.
    assert!(matches!(stage.call(&["x", "x"]), Err(CallError::Trap { .. })));
    stage.state.abort();
    assert_eq!(found(&stage.call(&["?", "?"]).expect("it reads")), [None, None, None]);

    let mut stage = Stage::new(&on_x(guest, &write_read, &get(0, read)), Box::<MemoryBackend>::default());
    let all = [Some("one".to_owned()), None, Some("two".to_owned())];
    let answer = stage.call(&["x", "x"]).expect("it writes and reads");
    assert_eq!(found(&answer), all, "its own writes");
    stage.commit(&answer);
    assert_eq!(found(&stage.call(&["?", "?"]).expect("it reads")), all, "what it committed");
}

#[test]
fn a_scan_pages_in_order_through_stored_and_new_entries() {
    let mut guest = Guest::new(Kind::Process).state("m", 1).state("l", 2);
    let first = guest.data(&entries(&[0, 0], Some(&["b", "d"]), Some(&[Some("2"), Some("4")])));
    let second = guest.data(&entries(&[0, 0, 0], Some(&["a", "c", "d"]), Some(&[Some("1"), Some("3"), None])));
    let after = guest.data(b"b");
    let list = guest.data(&entries(&[1, 1], None, Some(&[Some("p"), Some("q")])));
    let clear = guest.data(&entries(&[1], None, None));
    let run = |body: &str, stage: &mut Stage| {
        // A guest of its own each, over the same state.
        stage.function = load(&guest.clone().call(body)).instantiate(setup(&Arc::default())).expect("it starts");
        let answer = stage.call(&["?"]).expect("it answers");
        stage.commit(&answer);
        answer
    };
    let mut stage = Stage::new(&guest.clone(), Box::<MemoryBackend>::default());
    run(&format!("{} {NOTHING}", call("put_many", 0, first)), &mut stage);
    let page = run(&format!("{} {}", call("put_many", 0, second), scan(0, 0, None, 2, 1)), &mut stage);
    assert_eq!(
        (texts(&page.rows, id::KEY), texts(&page.rows, id::VALUE)),
        (vec!["a".into(), "b".into()], vec!["1".to_owned(), "2".to_owned()])
    );
    let page = run(&scan(0, 0, Some(after), 2, 0), &mut stage);
    assert_eq!(texts(&page.rows, id::KEY), ["c"], "`d` was removed");
    assert_eq!(run(&scan(0, 1, None, 9, 0), &mut stage).rows.rows(), 0, "another key's entries are its own");
    let page = run(&format!("{} {}", call("append_many", 1, list), scan(1, 1, None, 9, 0)), &mut stage);
    assert_eq!(texts(&page.rows, id::VALUE), ["p", "q"]);
    let page = run(&format!("{} {}", call("clear_many", 1, clear), scan(1, 1, None, 9, 0)), &mut stage);
    assert_eq!(page.rows.rows(), 0);
}

#[test]
fn misuse_traps_with_its_reason() {
    let mut guest = Guest::new(Kind::Process).state("total", 0).state("seen", 1);
    let good = guest.data(&entries(&[0], Some(&["k"]), Some(&[Some("v")])));
    let far = guest.data(&entries(&[9], Some(&["k"]), Some(&[Some("v")])));
    let keyless = guest.data(&entries(&[0], None, Some(&[Some("v")])));
    let garbage = guest.data(b"garbage, and not a frame");
    for (body, want) in [
        (call("put_many", 7, good), "state 7 is not a map of this operator"),
        (call("put_many", 0, good), "state 0 is not a map of this operator"),
        (call("append_many", 1, good), "state 1 is not a list of this operator"),
        (call("put_many", 1, far), "key row 9 is not one of the 2 keys of this call"),
        (call("put_many", 1, keyless), "entries of state 1: column 1 is missing or has another type"),
        (
            call("clear_many", 1, garbage),
            "entries of state 1: not a frame of version 1: it begins with [67, 61, 72, 62]",
        ),
        (call("put_many", 1, At { offset: 0, len: u32::MAX }), "list pointer/length out of bounds of memory"),
    ] {
        let mut stage =
            Stage::new(&on_x(guest.clone(), &format!("{body} unreachable"), NOTHING), Box::<MemoryBackend>::default());
        match stage.call(&["x"]) {
            Err(CallError::Trap { message, backtrace }) => {
                assert_eq!(message, want);
                assert_eq!(backtrace.last().map(String::as_str), Some("call"));
            }
            other => panic!("{other:?}"),
        }
        stage.call(&["?"]).expect("the next call is served, with its state");
    }
}

#[test]
fn what_a_call_writes_has_an_end() {
    let mut guest = Guest::new(Kind::Process).state("l", 2);
    let big = "v".repeat(100_000);
    let at = guest.data(&entries(&[0], None, Some(&[Some(&big)])));
    let body = format!("(loop $l {} (br $l)) unreachable", call("append_many", 0, at));
    let mut stage = Stage::new(&on_x(guest, &body, NOTHING), Box::<MemoryBackend>::default());
    match stage.call(&["x"]) {
        Err(CallError::Trap { message, .. }) => assert_eq!(message, "the call writes more than 1 MiB to state"),
        other => panic!("{other:?}"),
    }
    assert!(stage.state.written() <= 1 << 20, "no more than that was ever held");
    stage.call(&["?"]).expect("the next call is served");
}

#[test]
fn what_one_request_reads_has_an_end() {
    let mut guest = Guest::new(Kind::Process).state("m", 1);
    let big = "v".repeat(100_000);
    let put = guest.data(&entries(&[0], Some(&["k"]), Some(&[Some(&big)])));
    let read = guest.data(&entries(&[0; 400], Some(&["k"; 400]), None));
    let guest = guest.pages(200);
    let mut stage = Stage::new(
        &on_x(guest, &get(0, read), &format!("{} {NOTHING}", call("put_many", 0, put))),
        Box::<MemoryBackend>::default(),
    );
    let answer = stage.call(&["?"]).expect("it writes");
    stage.commit(&answer);
    match stage.call(&["x"]) {
        Err(CallError::Trap { message, .. }) => {
            assert_eq!(message, "one request reads more than 1 MiB of state; ask for fewer entries at once");
        }
        other => panic!("{other:?}"),
    }
    stage.call(&["?"]).expect("the next call is served");
}

/// A backend whose disk is gone.
struct Broken;

impl StateBackend for Broken {
    fn get_many(&mut self, _: &BytesBuilder, _: &mut BytesBuilder, _: usize) -> Result<(), Error> {
        Err(Error::Retryable("the disk is gone".into()))
    }

    fn put_many(&mut self, _: &BytesBuilder, _: &BytesBuilder) -> Result<(), Error> {
        Err(Error::Retryable("the disk is gone".into()))
    }

    fn scan(&mut self, _: &[u8], _: Option<&[u8]>, _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        Err(Error::Retryable("the disk is gone".into()))
    }

    fn snapshot(&mut self, _: Barrier) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn a_broken_backend_is_not_the_guest_s_fault() {
    let mut guest = Guest::new(Kind::Process).state("m", 1);
    let at = guest.data(&entries(&[0], Some(&["k"]), None));
    let mut stage = Stage::new(&on_x(guest, &get(0, at), NOTHING), Box::new(Broken));
    for _ in 0..2 {
        match stage.call(&["x"]) {
            Err(CallError::Host(Error::Retryable(text))) => assert_eq!(text, "the disk is gone"),
            other => panic!("{other:?}"),
        }
        stage.call(&["?"]).expect("a call that needs no state is served");
    }
}
