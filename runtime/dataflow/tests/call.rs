//! Driving functions: what is checked of their answers, that a failed call leaves nothing, and who is blamed for it.

mod native;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use flow_dataflow::build::{bytes_column, fixed_column};
use flow_dataflow::call::OnError;
use flow_dataflow::function::{Answer, CallError, Kind, Rejection, StateKind};
use flow_dataflow::{Batch, Error, Operator};
use flow_frame::layout::{PRESENT, Type, UNCHANGED, id};
use flow_frame::{BytesBuilder, BytesColumn};
use native::{Call, NOW, Native, Told, records, values};

fn trap() -> CallError {
    CallError::Trap { message: "boom".into(), backtrace: vec!["inner".into(), "outer".into()] }
}

fn value_column(all: &[&str]) -> flow_dataflow::Column {
    let mut builder = BytesBuilder::default();
    all.iter().for_each(|v| builder.push(Some(v.as_bytes())));
    bytes_column(id::VALUE, builder)
}

fn input_rows(rows: &[u32]) -> flow_dataflow::Column {
    fixed_column(id::INPUT_ROW, Type::U32, rows.iter().flat_map(|r| r.to_le_bytes()).collect(), None)
}

fn texts(column: BytesColumn<'_>, rows: usize) -> Vec<String> {
    (0..rows).map(|row| String::from_utf8_lossy(column.raw(row)).into_owned()).collect()
}

/// What an answer leads to: the values that come out, or the error's text.
fn outcome(kind: Kind, answer: impl Fn() -> Answer + Send + 'static) -> Result<Vec<String>, String> {
    let told = Arc::new(Told::default());
    let mut operator = Native::new(kind, &[], move |_| Ok(answer())).operator(OnError::Fail, told);
    let mut out = Vec::new();
    let one = records(&[(Some("k"), "a")]);
    operator.process(one, NOW, &mut out).map(|()| values(&out)).map_err(|e| e.to_string())
}

#[test]
fn malformed_answers_are_refused() {
    let check = |kind, columns: Vec<flow_dataflow::Column>, expect: &str| {
        let found = outcome(kind, move || Answer { rows: columns.iter().cloned().collect(), ..Answer::default() });
        let error = found.expect_err(expect);
        assert!(error.contains(expect), "{error}");
        assert!(error.contains("test[0]@0 was rejected (bad-answer)"), "{error}");
    };
    let mask = |bytes: &[u8]| fixed_column(id::MASK, Type::U8, bytes.to_vec(), None);
    check(Kind::Map, vec![value_column(&["a", "b"])], "2 rows came back for 1");
    check(Kind::Map, vec![mask(&[1])], "column 10 is not one that an operator may set");
    check(Kind::Map, vec![fixed_column(id::POSITION, Type::I64, vec![0; 8], None)], "column 6 is not one");
    check(Kind::Map, vec![fixed_column(id::KEY, Type::U8, vec![0], None)], "column 1 has the wrong type");
    check(Kind::Map, vec![fixed_column(id::TARGET, Type::U8, vec![3], None)], "output port");
    let mut headers = BytesBuilder::default();
    headers.push(Some(b"\x09\0\0\0"));
    check(Kind::Map, vec![bytes_column(id::HEADERS, headers)], "headers of output row 0 are malformed");
    check(Kind::Filter, vec![mask(&[1, 1])], "2 rows came back for 1");
    check(Kind::Filter, vec![mask(&[2])], "a mask holds 0 and 1");
    check(Kind::Filter, vec![value_column(&["a"])], "no mask");
    check(Kind::FlatMap, vec![value_column(&["a"])], "without the column input-row");
    check(Kind::FlatMap, vec![value_column(&["a"]), input_rows(&[1])], "input row 1, of a batch of 1");
    check(Kind::FlatMap, vec![input_rows(&[0])], "output rows without values");
    check(Kind::Process, vec![value_column(&["a"]), input_rows(&[7])], "input row 7, of a batch of 1");
}

#[test]
fn malformed_rejections_and_states_are_refused() {
    let rejection = |row| Rejection { row, code: "x".into(), message: "y".into() };
    let twice = outcome(Kind::Map, move || Answer { rejected: vec![rejection(0), rejection(0)], ..Answer::default() });
    assert!(twice.unwrap_err().contains("rejected row 0 of a batch of 1 rows is out of range or out of order"));
    let output_of_rejected = outcome(Kind::FlatMap, move || Answer {
        rows: [value_column(&["a"]), input_rows(&[0])].into_iter().collect(),
        rejected: vec![rejection(0)],
        ..Answer::default()
    });
    assert!(output_of_rejected.unwrap_err().contains("which is rejected"));
    let states = outcome(Kind::Process, || Answer { states: Batch::new(0), ..Answer::default() });
    assert_eq!(states, Ok(vec![]));
    let wrong = |column: flow_dataflow::Column| {
        outcome(Kind::Process, move || Answer { states: [column.clone()].into_iter().collect(), ..Answer::default() })
            .unwrap_err()
    };
    assert!(wrong(value_column(&["a"])).contains("column 2 of the states is not a value state"));
    assert!(wrong(value_column(&["a", "b"])).contains("2 rows of states came back for 1 keys"));
}

/// Upper-cases values, fails on "bad" and rejects "no".
fn shout((batch, ..): Call<'_>) -> Result<Answer, CallError> {
    let column = batch.bytes(id::VALUE).expect("asked for");
    let all = texts(column, batch.rows());
    if all.iter().any(|v| v == "bad") {
        return Err(trap());
    }
    let rejected = all.iter().enumerate().filter(|(_, v)| *v == "no");
    let rejected = rejected.map(|(row, _)| Rejection { row: row as u32, code: "no".into(), message: "no!".into() });
    let upper: Vec<String> = all.iter().map(|v| v.to_uppercase()).collect();
    let upper = value_column(&upper.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(Answer { rows: [upper].into_iter().collect(), rejected: rejected.collect(), ..Answer::default() })
}

#[test]
fn one_bad_record_is_found_and_the_rest_goes_on_in_order() {
    let told = Arc::new(Told::default());
    let mut operator = Native::new(Kind::Map, &[], shout).operator(OnError::Skip, told.clone());
    let names: Vec<String> = (0..150).map(|i| format!("v{i}")).collect();
    let mut all: Vec<(Option<&str>, &str)> = names.iter().map(|n| (None, n.as_str())).collect();
    (all[7].1, all[70].1, all[71].1) = ("no", "bad", "bad");
    let mut out = Vec::new();
    operator.process(records(&all), NOW, &mut out).unwrap();
    let expect: Vec<String> = all.iter().map(|r| r.1.to_uppercase()).filter(|v| v != "NO" && v != "BAD").collect();
    assert_eq!(values(&out), expect);
    assert_eq!(told.codes(), [(Some(7), "no".into()), (Some(70), "trap".into()), (Some(71), "trap".into())]);
    assert_eq!(told.lines(), [""; 0], "the rejections say it all");
}

#[test]
fn by_default_a_bad_record_fails_the_job_by_name() {
    let mut operator = Native::new(Kind::Map, &[], shout).operator(OnError::Fail, Arc::default());
    let error = operator.process(records(&[(None, "a"), (None, "bad")]), NOW, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Plugin(_)));
    let text = error.to_string();
    assert!(text.starts_with("test[0]@1 was rejected (trap): boom\n    at inner\n    at outer"), "{text}");
}

#[test]
fn an_operator_that_is_always_late_does_not_hold_up_its_slot_for_ever() {
    let mut calls = 0;
    let always = move |_: Call<'_>| {
        calls += 1;
        assert!(calls < 100, "no end of calls");
        Err(CallError::TimedOut { limit_ms: 5 })
    };
    let mut operator = Native::new(Kind::Map, &[], always).operator(OnError::Skip, Arc::default());
    let error = operator.process(records(&[(None, "x"); 1000]), NOW, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("more than 16 calls for one batch"), "{error}");
}

#[test]
fn an_operator_that_traps_at_everything_skips_everything() {
    let told = Arc::new(Told::default());
    let mut operator = Native::new(Kind::Map, &[], |_: Call<'_>| Err(trap())).operator(OnError::Skip, told.clone());
    let mut out = Vec::new();
    operator.process(records(&[(None, "x"); 200]), NOW, &mut out).unwrap();
    assert_eq!((values(&out).len(), told.codes().len()), (0, 200));
}

#[test]
fn failures_that_no_record_is_to_blame_for_fail_at_once() {
    let check = |error: CallError, expect: fn(&Error) -> bool| {
        let failing = move |_: Call<'_>| Err(error.clone());
        let mut operator = Native::new(Kind::Map, &[], failing).operator(OnError::Skip, Arc::default());
        let found = operator.process(records(&[(None, "x"), (None, "y")]), NOW, &mut Vec::new()).unwrap_err();
        assert!(expect(&found), "{found:?}");
    };
    let failed = |retryable| CallError::Failed { code: "c".into(), message: "m".into(), retryable };
    check(failed(true), |e| matches!(e, Error::Retryable(_)));
    check(failed(false), |e| matches!(e, Error::Plugin(_)));
    check(CallError::Host(Error::Fatal("disk".into())), |e| matches!(e, Error::Fatal(_)));
}

#[test]
fn a_slow_record_costs_its_limit_twice_and_no_more() {
    let timeouts = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = timeouts.clone();
    let slow = move |(batch, ..): Call<'_>| {
        if texts(batch.bytes(id::VALUE).expect("asked for"), batch.rows()).iter().any(|v| v == "slow") {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Err(CallError::TimedOut { limit_ms: 5 });
        }
        Ok(Answer::default())
    };
    let told = Arc::new(Told::default());
    let mut operator = Native::new(Kind::Map, &[], slow).operator(OnError::Skip, told.clone());
    let mut all = vec![(None, "x"); 64];
    all[40].1 = "slow";
    let mut out = Vec::new();
    operator.process(records(&all), NOW, &mut out).unwrap();
    assert_eq!((values(&out).len(), told.codes()), (63, vec![(Some(40), "timeout".into())]));
    assert_eq!(timeouts.swap(0, std::sync::atomic::Ordering::Relaxed), 2);
    operator.process(records(&[(None, "slow")]), NOW, &mut out).unwrap();
    assert_eq!(timeouts.load(std::sync::atomic::Ordering::Relaxed), 2, "a batch of one is tried twice too");
}

#[test]
fn a_record_that_timed_out_is_tried_once_more_alone() {
    let mut alone = 0;
    let slow_once = move |(batch, ..): Call<'_>| {
        let all = texts(batch.bytes(id::VALUE).expect("asked for"), batch.rows());
        let slow = all.iter().any(|v| v == "slow");
        alone += u32::from(slow && batch.rows() == 1);
        if slow && alone < 1 { Err(CallError::TimedOut { limit_ms: 5 }) } else { Ok(Answer::default()) }
    };
    let told = Arc::new(Told::default());
    let mut operator = Native::new(Kind::Map, &[], slow_once).operator(OnError::Skip, told.clone());
    let mut out = Vec::new();
    operator.process(records(&[(None, "a"), (None, "slow"), (None, "b")]), NOW, &mut out).unwrap();
    assert_eq!(values(&out), ["a", "slow", "b"]);
    assert_eq!(told.codes(), []);
    let late =
        "Warn a call with 3 records took more than 5 ms of CPU time; what it had is tried once more, record by record";
    let nobody =
        "Warn a call with 3 records failed, but no record does alone: the call took more than 5 ms of CPU time";
    assert_eq!(told.lines(), [late, nobody]);
}

#[test]
fn a_failure_that_does_not_come_again_is_told() {
    let mut calls = 0;
    let once = move |_: Call<'_>| {
        calls += 1;
        if calls == 1 { Err(trap()) } else { Ok(Answer::default()) }
    };
    let told = Arc::new(Told::default());
    let mut operator = Native::new(Kind::Map, &[], once).operator(OnError::Skip, told.clone());
    let mut out = Vec::new();
    operator.process(records(&[(None, "a"), (None, "b")]), NOW, &mut out).unwrap();
    assert_eq!(values(&out), ["a", "b"]);
    assert_eq!(told.lines(), ["Warn a call with 2 records failed, but no record does alone: boom"]);
}

/// Counts records by key in a value state and lists them in a list state; emits one row for each input row, in the order in
/// which it gets them; fails after its writes when a value is "bad".
fn count((rows, keys, state): Call<'_>) -> Result<Answer, CallError> {
    let (names, sizes) = (keys.bytes(id::KEY).expect("a key"), keys.u32s(id::GROUP_ROWS).expect("sizes"));
    let before = keys.bytes(id::DECLARED).expect("prefetched");
    let all = texts(rows.bytes(id::VALUE).expect("asked for"), rows.rows());
    let (mut after, mut out, mut row) = (BytesBuilder::default(), Vec::new(), 0);
    for (group, size) in sizes.iter().enumerate() {
        let mut n: u32 = before.get(group).map_or(0, |v| String::from_utf8_lossy(v).parse().expect("a number"));
        for _ in 0..u32::from_le_bytes(*size) {
            n += 1;
            out.push(format!("{}={n} {}", String::from_utf8_lossy(names.raw(group)), all[row]));
            let mut value = BytesBuilder::default();
            value.push(Some(all[row].as_bytes()));
            let number = (group as u32).to_le_bytes();
            let number = flow_frame::Parts {
                id: id::INPUT_ROW,
                ty: Type::U32,
                flags: 0,
                data: &number,
                offsets: None,
                nulls: None,
            };
            let mut frame = Vec::new();
            flow_frame::assemble(1, &[number, value.parts(id::VALUE)], &mut frame);
            state.append_many(1, &frame).expect("a list");
            row += 1;
        }
        after.data.extend(n.to_string().as_bytes());
        after.push_marked(if n == 1 && names.raw(group) == b"skip" { UNCHANGED } else { PRESENT });
    }
    if all.iter().any(|v| v == "bad") {
        return Err(trap());
    }
    let rows: Vec<u32> = (0..rows.rows() as u32).collect();
    let out = value_column(&out.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(Answer {
        rows: [out, input_rows(&rows)].into_iter().collect(),
        states: [bytes_column(id::DECLARED, after)].into_iter().collect(),
        rejected: Vec::new(),
    })
}

#[test]
fn keyed_calls_group_keep_arrival_order_and_leave_nothing_when_they_fail() {
    let told = Arc::new(Told::default());
    let counter = Native::new(Kind::Process, &[StateKind::Value, StateKind::List], count);
    let mut operator = counter.operator(OnError::Skip, told.clone());
    let mut run = |all: &[(Option<&str>, &str)]| {
        let mut out = Vec::new();
        operator.process(records(all), NOW, &mut out).unwrap();
        values(&out)
    };
    let (a, b, c, skip) = (Some("a"), Some("b"), Some("c"), Some("skip"));
    assert_eq!(run(&[(a, "1"), (b, "2"), (a, "3"), (c, "4"), (b, "5")]), ["a=1 1", "b=1 2", "a=2 3", "c=1 4", "b=2 5"]);
    assert_eq!(run(&[(a, "6"), (a, "bad"), (b, "7")]), ["a=3 6", "b=3 7"], "the failed call counted nothing");
    assert_eq!(run(&[(a, "8"), (skip, "x")]), ["a=4 8", "skip=1 x"]);
    assert_eq!(run(&[(skip, "y")]), ["skip=1 y"], "a state marked as unchanged stays as it is");
    assert_eq!(told.codes(), [(Some(1), "trap".into())]);
}

#[test]
fn rejected_rows_of_keyed_calls_are_named_by_their_place_in_arrival_order() {
    let reject_b = |(rows, ..): Call<'_>| {
        let all = texts(rows.bytes(id::VALUE).expect("asked for"), rows.rows());
        let bad = all.iter().enumerate().filter(|(_, v)| *v == "b");
        let rejected = bad.map(|(row, _)| Rejection { row: row as u32, code: "b".into(), message: String::new() });
        Ok(Answer { rejected: rejected.collect(), ..Answer::default() })
    };
    let told = Arc::new(Told::default());
    let mut operator = Native::new(Kind::Process, &[], reject_b).operator(OnError::Skip, told.clone());
    let (x, y) = (Some("x"), Some("y"));
    operator.process(records(&[(x, "a"), (y, "b"), (x, "c"), (y, "d"), (x, "b")]), NOW, &mut Vec::new()).unwrap();
    assert_eq!(told.codes(), [(Some(1), "b".into()), (Some(4), "b".into())]);
}

#[test]
fn an_answer_that_is_refused_counts_as_a_failed_call() {
    let check = |kind, good: bool| {
        let answer = move |(batch, keys, _): Call<'_>| {
            let rows = if good { batch.rows() } else { batch.rows() + 1 };
            let all = vec!["v"; rows];
            let mut columns = vec![value_column(&all)];
            if !keys.columns().is_empty() {
                columns.push(input_rows(&(0..rows as u32).collect::<Vec<_>>()));
            }
            Ok(Answer { rows: columns.into_iter().collect(), ..Answer::default() })
        };
        let native = Native::new(kind, &[], answer);
        let refused = native.refused.clone();
        let mut operator = native.operator(OnError::Skip, Arc::default());
        operator.process(records(&[(Some("k"), "a")]), NOW, &mut Vec::new()).unwrap();
        refused.load(Relaxed)
    };
    assert_eq!((check(Kind::Map, true), check(Kind::Process, true)), (0, 0));
    assert_eq!((check(Kind::Map, false), check(Kind::Process, false)), (1, 1));
}

#[test]
fn a_call_s_rows_have_an_end_in_bytes_too() {
    for kind in [Kind::Map, Kind::Process] {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = sizes.clone();
        let note = move |(batch, ..): Call<'_>| {
            seen.lock().unwrap().push(batch.rows());
            Ok(Answer::default())
        };
        let mut operator = Native::new(kind, &[], note).operator(OnError::Fail, Arc::default());
        let (big, huge) = ("v".repeat(1 << 20), "v".repeat(20 << 20));
        let mut all = vec![(Some("k"), big.as_str()); 10];
        all[5].1 = &huge;
        operator.process(records(&all), NOW, &mut Vec::new()).unwrap();
        assert_eq!(*sizes.lock().unwrap(), [3, 2, 1, 3, 1], "{kind}");
    }
}

#[test]
fn a_call_s_states_have_an_end_in_bytes_too() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    // Gives each key a MiB in the first of two states; traps for "x".
    let grow = move |(rows, keys, _): Call<'_>| {
        let all = texts(rows.bytes(id::VALUE).expect("asked for"), rows.rows());
        seen.lock().unwrap().push(all.join(""));
        if all.iter().any(|v| v == "x") {
            return Err(trap());
        }
        let mut after = BytesBuilder::default();
        (0..keys.rows()).for_each(|_| after.push(Some(&vec![b's'; 1 << 20])));
        let states = [bytes_column(id::DECLARED, after)].into_iter().collect();
        Ok(Answer { states, ..Answer::default() })
    };
    let states = [StateKind::Value, StateKind::Value];
    let mut operator = Native::new(Kind::Process, &states, grow).operator(OnError::Skip, Arc::default());
    let mut run = |all: &[(Option<&str>, &str)]| {
        operator.process(records(all), NOW, &mut Vec::new()).unwrap();
        std::mem::take(&mut *sizes.lock().unwrap())
    };
    let keys: Vec<String> = (0..7).map(|n| format!("k{n}")).collect();
    let of = |values: &[&'static str; 7]| -> Vec<(Option<&str>, &'static str)> {
        keys.iter().map(String::as_str).map(Some).zip(*values).collect()
    };
    assert_eq!(run(&of(&["a"; 7])), ["aaaaaaa"], "there is no state yet");
    // 2 MiB a state: the third key is the one that is more.
    assert_eq!(run(&of(&["b"; 7])), ["bbb", "bbb", "b"]);
    let mut twice = of(&["c"; 7]);
    twice.splice(1..1, [(Some("k0"), "d"), (Some("k0"), "d")]);
    assert_eq!(run(&twice), ["cddcc", "ccc", "c"]);
    assert_eq!(run(&of(&["e", "x", "e", "e", "e", "e", "e"])), ["exe", "e", "x", "e", "eee", "e"]);
}

#[test]
fn after_a_time_out_calls_begin_small() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    let slow_in_company = move |(batch, ..): Call<'_>| {
        seen.lock().unwrap().push(batch.rows());
        if batch.rows() > 20 { Err(CallError::TimedOut { limit_ms: 5 }) } else { Ok(Answer::default()) }
    };
    let mut operator = Native::new(Kind::Map, &[], slow_in_company).operator(OnError::Fail, Arc::default());
    operator.process(records(&[(None, "v"); 70]), NOW, &mut Vec::new()).unwrap();
    let expect: Vec<usize> = [64].into_iter().chain([1; 64]).chain([1, 2, 3]).collect();
    assert_eq!(*sizes.lock().unwrap(), expect);
}

#[test]
fn no_call_is_made_once_the_job_is_to_stop() {
    let calls = Arc::new(Mutex::new(0));
    let count = calls.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let ends_here = stop.clone();
    let late = move |_: Call<'_>| {
        *count.lock().unwrap() += 1;
        ends_here.store(true, Relaxed);
        Err(CallError::TimedOut { limit_ms: 5 })
    };
    let mut native = Native::new(Kind::Map, &[], late);
    native.stop = stop;
    let mut operator = native.operator(OnError::Skip, Arc::default());
    let error = operator.process(records(&[(None, "v"); 60]), NOW, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Closed(_)), "{error:?}");
    assert_eq!(*calls.lock().unwrap(), 1);
}
