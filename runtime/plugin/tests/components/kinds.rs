//! What well-behaved components of each kind answer, and what they are told.

use std::sync::Arc;

use flow_dataflow::function::{CallError, Kind};
use flow_frame::layout::Type;
use flow_frame::{Parts, id};
use flow_model::checkpoint::{Attempt, CheckpointId};
use flow_plugin::{Digest, Options};

use crate::guest::{Guest, frame, rejection};
use crate::stage::{AT, ENGINE, Log, limits, load, serves, setup, start, texts, values};

#[test]
fn a_map_gives_back_what_it_got() {
    let guest = Guest::new(Kind::Map).bad_on_x("unreachable");
    let component = load(&guest);
    assert_eq!(component.kind(), Kind::Map);
    assert_eq!(component.description().columns, [id::VALUE]);
    assert_eq!(component.description().ports, ["main"]);
    assert_eq!(component.digest(), Digest::of(&guest.build()));
    assert_eq!(component.digest().to_string().len(), 64);
    serves(&mut *start(&guest));
}

#[test]
fn a_map_is_passed_no_column_that_it_does_not_read() {
    let mut batch = values(&["a"]);
    batch.set(crate::stage::strings(id::KEY, &["key"]));
    let mut function = start(&Guest::new(Kind::Map).call("(call $answer (local.get $ptr) (local.get $len))"));
    let answer = function.apply(&batch, AT).expect("it answers");
    assert!(answer.rows.column(id::KEY).is_none());
    assert_eq!(texts(&answer.rows, id::VALUE), ["a"]);
}

#[test]
fn an_empty_answer_has_no_columns() {
    for kind in [Kind::Map, Kind::Filter, Kind::FlatMap] {
        let answer = start(&Guest::new(kind)).apply(&values(&["a"]), AT).expect("it answers");
        assert!(answer.rows.columns().is_empty() && answer.rejected.is_empty());
    }
}

#[test]
fn a_filter_answers_a_mask() {
    let mask = Parts { id: id::MASK, ty: Type::U8, flags: 0, data: &[1, 0, 1], offsets: None, nulls: None };
    let mut guest = Guest::new(Kind::Filter);
    let at = guest.data(&frame(3, &[mask]));
    let guest = guest.call(&format!("(call $answer (i32.const {}) (i32.const {}))", at.offset, at.len));
    let answer = start(&guest).apply(&values(&["a", "b", "c"]), AT).expect("it answers");
    assert_eq!(answer.rows.u8s(id::MASK), Some(&[1, 0, 1][..]));
}

#[test]
fn rejected_rows_come_with_code_and_reason() {
    let mut guest = Guest::new(Kind::Map);
    let (code, message) = (guest.data(b"bad-json"), guest.data("kein Ω".as_bytes()));
    let list = guest.data(&[rejection(0, code, message), rejection(2, code, message)].concat());
    let guest = guest.call(&format!("(call $reject (i32.const {}) (i32.const 2))", list.offset));
    let answer = start(&guest).apply(&values(&["a", "b", "c"]), AT).expect("it answers");
    let rejected: Vec<_> = answer.rejected.iter().map(|r| (r.row, r.code.as_str(), r.message.as_str())).collect();
    assert_eq!(rejected, [(0, "bad-json", "kein Ω"), (2, "bad-json", "kein Ω")]);
}

#[test]
fn a_guest_is_told_who_it_is_and_what_time_it_is() {
    // Logs the operator's name and config in `init`; traps unless numbers and times are those of the test.
    let guest = Guest::new(Kind::Map)
        .init(
            "(call $log (i32.const 2) (local.get $operator) (local.get $operator_len))
             (call $log (i32.const 3) (local.get $config) (local.get $config_len))
             (if (i32.ne (local.get $subtask) (i32.const 3)) (then unreachable))
             (if (i32.ne (local.get $parallelism) (i32.const 4)) (then unreachable))
             (if (i32.ne (local.get $from) (i32.const 96)) (then unreachable))
             (if (i32.ne (local.get $to) (i32.const 127)) (then unreachable))
             (i32.store8 (i32.const 1024) (i32.const 0)) (i32.const 1024)",
        )
        .call(
            "(if (i64.ne (local.get $now) (i64.const 1700000000000)) (then unreachable))
             (if (i64.ne (local.get $watermark) (i64.const 0x8000000000000000)) (then unreachable))
             (call $answer (i32.const 0) (i32.const 0))",
        )
        .before_barrier(
            "(if (i64.ne (local.get $checkpoint) (i64.const 4294967298)) (then unreachable))
             (call $answer (i32.const 0) (i32.const 0))",
        );
    let log = Arc::new(Log::default());
    let mut function = load(&guest).instantiate(setup(&log)).expect("it starts");
    assert_eq!(log.lines(), ["Info test", r#"Warn {"a":1}"#]);
    function.apply(&values(&["a"]), AT).expect("the time is right");
    function.before_barrier(CheckpointId::new(Attempt(1), 2)).expect("the checkpoint is right");
    function.end_of_input().expect("it ends");
}

#[test]
fn what_a_guest_returns_as_an_error_keeps_its_words() {
    let mut guest = Guest::new(Kind::Map);
    let (code, text) = (guest.data(b"no-model"), guest.data(b"the model is not there yet"));
    let body = format!(
        "(call $fail (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}) (i32.const 1))",
        code.offset, code.len, text.offset, text.len
    );
    let guest = guest.bad_on_x(&body);
    match crate::stage::bad_then_good(&guest) {
        Err(CallError::Failed { code, message, retryable: true }) => {
            assert_eq!((code.as_str(), message.as_str()), ("no-model", "the model is not there yet"));
        }
        other => panic!("{other:?}"),
    }
    match load(&guest.init(&body)).instantiate(setup(&Arc::default())) {
        Err(e) => assert_eq!(e.to_string(), "guest.wasm failed in init: no-model: the model is not there yet"),
        Ok(_) => panic!("its init fails"),
    }
}

#[test]
fn instances_are_replaced_without_anybody_noticing() {
    // Counts its calls in linear memory, which is never state, and gives the count back as the row.
    let counting = Guest::new(Kind::Map).with("(global $calls (mut i32) (i32.const 48))").call(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (i32.store8 (i32.add (local.get $ptr) (i32.const 48)) (global.get $calls))
         (call $answer (local.get $ptr) (local.get $len))",
    );
    let counts = |replace_every: Option<u64>| {
        let engine = flow_plugin::Engine::new(Options { replace_every, ..Options::default() }).expect("it starts");
        let component = engine.load("guest.wasm", &counting.build(), &limits()).expect("an operator");
        let mut function = component.instantiate(setup(&Arc::default())).expect("it starts");
        (0..8)
            .map(|_| texts(&function.apply(&values(&["?"]), AT).expect("it answers").rows, id::VALUE).concat())
            .collect::<String>()
    };
    assert_eq!(counts(None), "12345678");
    assert_eq!(counts(Some(1)), "11111111");
    let some = counts(Some(3));
    assert!(some.matches('1').count() > 1 && some.contains('2'), "replaced now and then: {some}");
}

#[test]
fn an_instance_that_has_grown_is_replaced() {
    // Grows by 20 MiB at the first call, and answers how many pages it had before.
    let guest = Guest::new(Kind::Map).pages(32).call(
        "(i32.store8 (i32.add (local.get $ptr) (i32.const 48)) (memory.size))
         (if (i32.eq (memory.size) (i32.const 32)) (then (drop (memory.grow (i32.const 320)))))
         (call $answer (local.get $ptr) (local.get $len))",
    );
    let mut function = start(&guest);
    for _ in 0..3 {
        let answer = function.apply(&values(&["?"]), AT).expect("it answers");
        assert_eq!(texts(&answer.rows, id::VALUE), [" "], "32 pages: as new");
    }
    let roomy = flow_plugin::Limits { memory: 256 << 20, ..limits() };
    let component = ENGINE.load("guest.wasm", &guest.build(), &roomy).expect("an operator");
    let mut function =
        component.instantiate(flow_plugin::Setup { limits: roomy, ..setup(&Arc::default()) }).expect("it starts");
    function.apply(&values(&["?"]), AT).expect("it answers");
    let answer = function.apply(&values(&["?"]), AT).expect("it answers");
    assert_eq!(answer.rows.bytes(id::VALUE).expect("values").raw(0), [(352 % 256) as u8], "far from its limit: kept");
}
