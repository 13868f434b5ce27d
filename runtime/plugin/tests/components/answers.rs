//! Answers that can't be: whatever a guest writes into its result, the host reads it with care.

use std::sync::Arc;

use flow_dataflow::function::{CallError, Kind, Limit};
use flow_frame::layout::Type;
use flow_frame::{BytesBuilder, Parts, id};

use flow_plugin::{Limits, Setup};

use crate::guest::{Guest, frame};
use crate::stage::{AT, ENGINE, bad_then_good, limits, serves, setup, values};

/// What the host says about a map that answers these bytes.
#[track_caller]
fn refused(frame: &[u8]) -> String {
    let mut guest = Guest::new(Kind::Map);
    let at = guest.data(frame);
    let guest = guest.bad_on_x(&format!("(call $answer (i32.const {}) (i32.const {}))", at.offset, at.len));
    said(&guest)
}

#[track_caller]
fn said(guest: &Guest) -> String {
    match bad_then_good(guest) {
        Err(CallError::Answer(text) | CallError::Exceeded { limit: Limit::Output, message: text, .. }) => text,
        other => panic!("not refused: {other:?}"),
    }
}

fn value_frame() -> Vec<u8> {
    let mut values = BytesBuilder::default();
    ["ab", "cd"].iter().for_each(|v| values.push(Some(v.as_bytes())));
    frame(2, &[values.parts(id::VALUE)])
}

/// The frame of two values with a number put in somewhere.
fn with_u32(at: usize, number: u32) -> Vec<u8> {
    let mut frame = value_frame();
    frame[at..at + 4].copy_from_slice(&number.to_le_bytes());
    frame
}

#[test]
fn frames_that_are_none() {
    assert_eq!(refused(b"hello, this is no frame"), "rows: not a frame of version 1: it begins with [68, 65, 6c, 6c]");
    assert_eq!(refused(b"FLW"), "rows: frame is cut off: 16 bytes needed, 3 there");
    assert!(refused(&with_u32(8, 1_000_000)).starts_with("rows: frame with 1000000 directory entries"));
    assert!(refused(&with_u32(12, 1_000)).starts_with("rows: frame is cut off: 1000 bytes needed"));
}

#[test]
fn buffers_and_ends_out_of_range() {
    let outside = refused(&with_u32(24, 8_000));
    assert_eq!(outside, "rows: column 2: a buffer ends outside of the frame");
    assert_eq!(refused(&with_u32(24, u32::MAX - 7)), outside, "offset + length must not wrap");
    assert_eq!(refused(&with_u32(24, 49)), "rows: column 2: a buffer is not aligned to 8");
    assert_eq!(refused(&with_u32(4, 3)), "rows: column 2: a buffer's length does not fit the number of rows");
    assert_eq!(refused(&with_u32(4, u32::MAX)), "rows: column 2: a buffer's length does not fit the number of rows");
    // The offsets are the last buffer: 0, 2, 4.
    let end = value_frame().len();
    let wrong = "rows: column 2: row ends fall or lie outside of the data";
    assert_eq!(refused(&with_u32(end - 4, 5)), wrong);
    assert_eq!(refused(&with_u32(end - 8, 9)), wrong);
    assert_eq!(refused(&with_u32(end - 12, 3)), wrong);
}

#[test]
fn columns_that_contradict_themselves() {
    let one = Parts { id: id::MASK, ty: Type::U8, flags: 0, data: &[1, 1], offsets: None, nulls: None };
    assert_eq!(refused(&frame(2, &[one, one])), "rows: directory of column 10: two buffers of one role");
    let unknown = Parts { id: 13, flags: 1, ..one };
    assert_eq!(refused(&frame(2, &[unknown])), "rows: column 13 must be understood, and is not known here");
    let nulls = Parts { nulls: Some(&[1, 7]), ..one };
    assert_eq!(refused(&frame(2, &[nulls])), "rows: column 10: unknown number in the nulls");
}

#[test]
fn lists_and_texts_out_of_range() {
    let point = |rows: &str, len: &str| format!("(call $answer (i32.const {rows}) (i32.const {len}))");
    let outside = "list pointer/length out of bounds of memory";
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x(&point("-8", "16"))), outside);
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x(&point("0", "-1"))), outside);
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x(&point("0", "1048577"))), "its answer is larger than 1Mi");
    let rejections = "(call $reject (i32.const 0) (i32.const 100000000))";
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x(rejections)), outside);
    let rejections = "(call $reject (i32.const 0) (i32.const 100000))";
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x(rejections)), "its answer is larger than 1Mi");
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x("(i32.const -4)")), "pointer out of bounds of memory");
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x("(i32.const 1026)")), "return pointer not aligned");
    let odd = "(i32.store8 (i32.const 1024) (i32.const 9)) (i32.const 1024)";
    assert_eq!(said(&Guest::new(Kind::Map).bad_on_x(odd)), "invalid expected discriminant");
}

#[test]
fn texts_that_are_no_utf8() {
    let mut guest = Guest::new(Kind::Map);
    let bad = guest.data(&[0xff, 0xfe]);
    let list = guest.data(&crate::guest::rejection(0, bad, bad));
    let text = said(&guest.bad_on_x(&format!("(call $reject (i32.const {}) (i32.const 1))", list.offset)));
    assert!(text.contains("invalid utf-8"), "{text}");
}

#[test]
fn long_texts_of_rejections_and_failures_are_cut() {
    let mut guest = Guest::new(Kind::Map);
    let long = guest.data("ä".repeat(10_000).as_bytes());
    let list = guest.data(&crate::guest::rejection(0, long, long));
    let body = format!("(call $reject (i32.const {}) (i32.const 1))", list.offset);
    let answer = bad_then_good(&guest.clone().bad_on_x(&body)).expect("a good answer");
    let (word, message) = ("ä… (19744 bytes more)", "ä… (15904 bytes more)");
    let rejection = &answer.rejected[0];
    assert!(rejection.code.ends_with(word) && rejection.code.len() < 300, "{}", rejection.code);
    assert!(rejection.message.ends_with(message) && rejection.message.len() < 4200, "{}", rejection.message);
    let of = format!("(i32.const {}) (i32.const {})", long.offset, long.len);
    match bad_then_good(&guest.bad_on_x(&format!("(call $fail {of} {of} (i32.const 0))"))) {
        Err(CallError::Failed { code, message: text, .. }) => {
            assert!(code.ends_with(word) && text.ends_with(message), "{code}: {text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_checks_hold_for_keyed_answers() {
    use flow_dataflow::state::{KeyedState, MemoryBackend};
    let mut guest = Guest::new(Kind::Process);
    let at = guest.data(b"no frame at all, but long");
    let guest = guest
        .state("v", 0)
        .call(&format!("(call $keyed (i32.const 0) (i32.const 0) (i32.const {}) (i32.const {}))", at.offset, at.len));
    let mut function = crate::stage::load(&guest).instantiate(crate::stage::setup(&Arc::default())).expect("it starts");
    let mut state =
        KeyedState::new(Box::<MemoryBackend>::default(), &function.description().states, Default::default());
    let keys = crate::stage::values(&[]);
    match function.process(&crate::stage::values(&["a"]), &keys, &mut state, crate::stage::AT) {
        Err(CallError::Answer(text)) => assert!(text.starts_with("states: not a frame of version 1"), "{text}"),
        other => panic!("{other:?}"),
    }
}

/// What makes it stoppable is handed over before, and is no answer.
#[test]
fn the_smallest_limit_of_output_is_one_for_answers() {
    let smallest = Limits { output: 1 << 10, ..limits() };
    let component = ENGINE
        .load("guest.wasm", &Guest::new(Kind::Map).bad_on_x("(unreachable)").build(), &smallest)
        .expect("it is an operator");
    let setup = Setup { limits: smallest, ..setup(&Arc::default()) };
    let mut function = component.instantiate(setup).expect("it starts");
    serves(&mut *function);
    let error = function.apply(&values(&[&"y".repeat(2000)]), AT).expect_err("too much");
    assert!(matches!(error, CallError::Exceeded { limit: Limit::Output, .. }), "{error:?}");
}
