//! Who is blamed for failed calls and what it costs to find out, what is tried again and when, and where dead letters go.

mod native;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_dataflow::call::{FunctionOperator, OnError};
use flow_dataflow::dead_letter::{DeadLetters, Exit, Outbox, Sender};
use flow_dataflow::exchange::channel;
use flow_dataflow::function::{Answer, CallError, Kind, Rejection};
use flow_dataflow::input_gate::InputGate;
use flow_dataflow::output_gate::{Edge, OutputGate, Partitioner};
use flow_dataflow::task::{Head, Link, Step, Tail, Task};
use flow_dataflow::{Batch, Error, Moment, Operator};
use flow_frame::id;
use flow_model::spec::Retry;
use native::{Call, Collected, Given, NOW, Native, Told, records, values};

fn trap() -> CallError {
    CallError::Trap { message: "boom".into(), backtrace: Vec::new() }
}

fn down() -> CallError {
    CallError::Failed { code: "down".into(), message: "not now".into(), retryable: true }
}

fn texts(batch: &Batch) -> Vec<String> {
    values(std::slice::from_ref(batch))
}

fn letters(outbox: &Outbox) -> OnError {
    let sender = Sender {
        pipeline: "p".into(),
        operator: "op".into(),
        component: Some("sha256:0".into()),
        subtask: 0,
        clock: || 0,
    };
    OnError::DeadLetter(DeadLetters::new(sender, outbox.clone()))
}

fn done(operator: &mut FunctionOperator, batch: Batch) -> Vec<String> {
    let mut out = Vec::new();
    operator.process(batch, NOW, &mut out).expect("it goes on");
    assert!(operator.held().is_none());
    values(&out)
}

#[test]
fn a_call_that_is_ended_with_its_job_blames_nobody() {
    for on_error in [OnError::Fail, OnError::Skip, letters(&Outbox::default())] {
        let stopped = |_: Call<'_>| Err(CallError::Stopped);
        let told = Arc::new(Told::default());
        let mut native = Native::new(Kind::Map, &[], stopped);
        native.retry = Some(Retry { times: 3, backoff: Duration::from_millis(1) });
        let mut operator = native.operator(on_error, told.clone());
        let error = operator.process(records(&[(None, "v"); 60]), NOW, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Closed(_)), "{error:?}");
        assert_eq!((told.codes(), told.lines()), (Vec::new(), Vec::new()));
    }
}

/// Calls, of which so many failed, for a run of rows of which every `nth` traps.
fn cost(rows: usize, is_bad: impl Fn(usize) -> bool) -> (usize, usize) {
    let (calls, failures) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (all, failed) = (calls.clone(), failures.clone());
    let poisoned = move |(batch, ..): Call<'_>| {
        all.fetch_add(1, Relaxed);
        if texts(batch).iter().any(|v| v == "bad") {
            failed.fetch_add(1, Relaxed);
            return Err(trap());
        }
        Ok(Answer::default())
    };
    let told = Arc::new(Told::default());
    let mut native = Native::new(Kind::Map, &[], poisoned);
    native.max_rows = 1024;
    let mut operator = native.operator(OnError::Skip, told.clone());
    let mut good = 0;
    for from in (0..rows).step_by(1024) {
        let all: Vec<(Option<&str>, &str)> =
            (from..rows.min(from + 1024)).map(|n| (None, if is_bad(n) { "bad" } else { "good" })).collect();
        good += done(&mut operator, records(&all)).len();
    }
    let bad = (0..rows).filter(|n| is_bad(*n)).count();
    assert_eq!((good, told.codes().len()), (rows - bad, bad), "exactly the bad ones");
    (calls.load(Relaxed), failures.load(Relaxed))
}

#[test]
fn poison_is_found_in_few_calls() {
    // One of a hundred, in no rhythm: a failed call costs as much as forty that pass.
    let scattered = |n: usize| n.wrapping_mul(0x9e37_79b9) % 0x1_0000 < 655;
    let (calls, failures) = cost(200_000, scattered);
    let bad = (0..200_000).filter(|n| scattered(*n)).count();
    assert!((1900..2100).contains(&bad), "{bad}");
    assert!(calls < 25 * bad, "{calls} calls for {bad} records");
    assert!(failures * 10 < 22 * bad, "{failures} failed calls for {bad} records");

    let (calls, failures) = cost(10_000, |_| true);
    assert!(calls < 10_100 && failures == calls, "where all fail each costs one call: {calls}");

    let (calls, failures) = cost(100_000, |n| n == 50_000);
    assert!(calls < 500 && failures == 3, "a single one: {calls} calls, {failures} of them failed");

    let (calls, _) = cost(100_000, |n| (40_000..41_000).contains(&n));
    assert!(calls < 1400, "after a run of bad ones calls grow again: {calls}");
}

#[test]
fn a_record_is_blamed_only_for_what_it_does_to_a_new_instance() {
    // Every third call fails, whatever it gets: as an instance whose memory is nearly full would.
    let mut calls = 0;
    let worn = move |_: Call<'_>| {
        calls += 1;
        if calls % 3 == 0 { Err(trap()) } else { Ok(Answer::default()) }
    };
    let told = Arc::new(Told::default());
    let mut operator = Native::new(Kind::Map, &[], worn).operator(OnError::Skip, told.clone());
    for n in 0..10 {
        assert_eq!(done(&mut operator, records(&[(None, "x")])), ["x"], "record {n}");
    }
    assert_eq!(told.codes(), []);
    assert_eq!(told.lines().len(), 4, "{:?}", told.lines());
    assert_eq!(told.lines()[0], "Warn a call with 1 record failed, but no record does alone: boom");
}

/// Fails as if something outside were down until the calls have been made so often.
fn retrying(
    times: u32,
    fails: usize,
    on_error: OnError,
    told: &Arc<Told>,
) -> (FunctionOperator, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = calls.clone();
    let flaky = move |(batch, ..): Call<'_>| {
        let mut seen = seen.lock().expect("no test panics with it");
        seen.push(texts(batch).join(""));
        let is_bad = seen.last().is_some_and(|call| call.contains('b'));
        if is_bad && seen.iter().filter(|call| call.contains('b')).count() <= fails {
            Err(down())
        } else {
            Ok(Answer::default())
        }
    };
    let mut native = Native::new(Kind::Map, &[], flaky);
    native.retry = Some(Retry { times, backoff: Duration::from_millis(100) });
    (native.operator(on_error, told.clone()), calls)
}

fn at(now: i64) -> Moment {
    Moment { now, ..NOW }
}

#[test]
fn what_may_pass_is_tried_again_after_a_pause_that_doubles() {
    let told = Arc::new(Told::default());
    let (mut operator, calls) = retrying(3, 2, OnError::Fail, &told);
    let mut out = Vec::new();
    operator.process(records(&[(None, "a"), (None, "b")]), at(1000), &mut out).expect("it waits");
    assert_eq!((operator.held(), values(&out)), (Some(1100), vec![]));
    operator.process(records(&[(None, "c")]), at(1050), &mut out).expect("it waits behind");
    operator.resume(at(1100), &mut out).expect("it waits again");
    assert_eq!((operator.held(), values(&out)), (Some(1300), vec![]));
    operator.resume(at(1300), &mut out).expect("it passes");
    assert_eq!((operator.held(), values(&out)), (None, vec!["a".into(), "b".into(), "c".into()]));
    assert_eq!(*calls.lock().unwrap(), ["ab", "ab", "ab", "c"]);
    assert_eq!(
        told.lines(),
        [
            "Warn a call with 2 records failed: down: not now; retry 1 of 3 in 100ms",
            "Warn a call with 2 records failed: down: not now; retry 2 of 3 in 200ms"
        ]
    );
}

#[test]
fn after_the_last_retry_comes_what_on_error_says() {
    let run = |on_error| {
        let told = Arc::new(Told::default());
        let (mut operator, _) = retrying(2, usize::MAX, on_error, &told);
        let mut out = Vec::new();
        let mut result = operator.process(records(&[(None, "a"), (None, "b"), (None, "c")]), at(0), &mut out);
        while let (Ok(()), Some(until)) = (&result, operator.held()) {
            result = operator.resume(at(until), &mut out);
        }
        (result.map_err(|e| (matches!(e, Error::Retryable(_)), e.to_string())), values(&out), told.codes())
    };
    assert_eq!(run(OnError::Fail).0, Err((true, "after 3 attempts: down: not now".into())));
    let rest = vec!["a".to_owned(), "c".into()];
    assert_eq!(run(OnError::Skip), (Ok(()), rest.clone(), vec![(Some(1), "down".into())]));
    let outbox = Outbox::default();
    assert_eq!(run(letters(&outbox)), (Ok(()), rest, vec![(Some(1), "down".into())]));
    let dead = outbox.take().expect("a dead letter");
    assert_eq!(texts(&dead), ["b"]);
    assert_eq!(told(&dead, "attempts"), ["3"]);
}

/// What each dead letter tells under a name.
fn told(dead: &Batch, name: &str) -> Vec<String> {
    let headers = dead.bytes(id::HEADERS).expect("dead letters have headers");
    let name = format!("flow.error.{name}");
    let find = |row: usize| {
        let mut all = flow_frame::headers::decode(headers.raw(row));
        let found = all.find_map(|(key, value)| if key == name.as_bytes() { value } else { None });
        String::from_utf8_lossy(found.unwrap_or(b"-")).into_owned()
    };
    (0..dead.rows()).map(find).collect()
}

/// A task of one operator, whose values with a digit 3 in them are refused, and the sink of its dead letters.
fn with_dead_letters(batches: Vec<Batch>, good: &Collected, dead: &Collected, capacity: usize) -> [Task; 2] {
    let refuse = |(batch, ..): Call<'_>| {
        let bad = texts(batch).into_iter().enumerate().filter(|(_, v)| v.contains('3'));
        let rejection = |(row, message)| Rejection { row: row as u32, code: "three".into(), message };
        Ok(Answer { rejected: bad.map(rejection).collect(), ..Answer::default() })
    };
    let outbox = Outbox::default();
    let operator = Native::new(Kind::Map, &[], refuse).operator(letters(&outbox), Arc::default());
    let link = Link { name: "op".into(), operator: Box::new(operator), counters: None };
    let (writer, reader) = channel(capacity, Arc::new(|| ()), Arc::new(|| ()));
    let exit = Exit { outbox, gate: OutputGate::new(vec![Edge::new(Partitioner::Forward, vec![writer])]) };
    let source = Head::Source(Box::new(Given(batches.into())), Arc::default());
    let sink = |collected: &Collected| Tail::Sink(Box::new(collected.clone()), Arc::default());
    [
        Task::new(source, vec![link], sink(good), || 0).with_exits(vec![exit]),
        Task::new(Head::Gate(InputGate::new(vec![reader])), vec![], sink(dead), || 0),
    ]
}

#[test]
fn a_sink_of_dead_letters_that_is_down_holds_the_task_back_and_gets_them_all() {
    let names: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    let batches = names.chunks(10).map(|c| records(&c.iter().map(|n| (None, n.as_str())).collect::<Vec<_>>()));
    let (good, dead) = (Collected::default(), Collected { slow: 300, ..Collected::default() });
    let mut tasks = with_dead_letters(batches.collect(), &good, &dead, 500);
    let mut taken = 0;
    for _ in 0..250 {
        taken += usize::from(tasks[0].step(0).expect("nothing fails") == Step::Progress);
        tasks[1].step(0).expect("nothing fails");
    }
    assert_eq!(tasks[0].step(0).expect("nothing fails"), Step::Blocked);
    assert!(taken < 20 && dead.values.lock().unwrap().is_empty(), "{taken} batches passed");
    let before = good.values.lock().unwrap().len();
    assert!(before < 200, "{before} records passed while nobody took the dead letters");
    for _ in 0..100_000 {
        tasks.iter_mut().for_each(|task| _ = task.step(0).expect("nothing fails"));
        if tasks.iter().all(Task::is_finished) {
            break;
        }
    }
    assert!(tasks.iter().all(Task::is_finished), "the end of input passes to the dead letters");
    let (bad, rest): (Vec<String>, Vec<String>) = names.into_iter().partition(|n| n.contains('3'));
    assert_eq!(*dead.values.lock().unwrap(), bad, "each once and in order");
    assert_eq!(*good.values.lock().unwrap(), rest);
}

#[test]
fn a_task_whose_operator_waits_takes_no_input_and_passes_nothing_by() {
    let told = Arc::new(Told::default());
    let (operator, _) = retrying(5, 2, OnError::Fail, &told);
    let link = Link { name: "op".into(), operator: Box::new(operator), counters: None };
    let good = Collected::default();
    let batches = vec![records(&[(None, "a"), (None, "b")]), records(&[(None, "c")])];
    let source = Head::Source(Box::new(Given(batches.into())), Arc::default());
    let mut task = Task::new(source, vec![link], Tail::Sink(Box::new(good.clone()), Arc::default()), || 0);
    assert_eq!(task.step(0).unwrap(), Step::Progress);
    assert_eq!((task.step(0).unwrap(), task.step(99).unwrap()), (Step::Waiting, Step::Waiting));
    assert_eq!((task.step(100).unwrap(), task.step(101).unwrap()), (Step::Progress, Step::Waiting));
    assert_eq!(task.step(300).unwrap(), Step::Progress);
    assert_eq!(*good.values.lock().unwrap(), ["a", "b"]);
    while !task.is_finished() {
        task.step(300).unwrap();
    }
    assert_eq!(*good.values.lock().unwrap(), ["a", "b", "c"]);
}

#[test]
fn the_end_of_input_waits_for_a_link_that_waits() {
    // The first operator emits its last row at the end of input, and the second has trouble with just that.
    let native = Native::new(Kind::FlatMap, &[], |_: Call<'_>| Ok(Answer::default()));
    let emits = native.at_end(&["b"]).operator(OnError::Fail, Arc::default());
    let (waits, _) = retrying(5, 1, OnError::Fail, &Arc::default());
    let link = |operator| Link { name: "op".into(), operator: Box::new(operator), counters: None };
    let good = Collected::default();
    let source = Head::Source(Box::new(Given([].into())), Arc::default());
    let tail = Tail::Sink(Box::new(good.clone()), Arc::default());
    let mut task = Task::new(source, vec![link(emits), link(waits)], tail, || 0);
    assert_eq!(task.step(0).unwrap(), Step::Progress);
    assert_eq!(task.step(50).unwrap(), Step::Waiting);
    while !task.is_finished() {
        task.step(100).unwrap();
    }
    assert_eq!(*good.values.lock().unwrap(), ["b"]);
}
