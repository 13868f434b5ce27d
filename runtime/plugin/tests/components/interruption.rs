//! Guests that do not come back: each is stopped by its CPU time, wherever it spends it, and the thread that called it goes
//! on unharmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use flow_dataflow::Function;
use flow_dataflow::function::{CallError, Kind};
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::state::{KeyedState, MemoryBackend};
use flow_plugin::{Engine, Limits, Options, Setup};

use crate::guest::Guest;
use crate::stage::{AT, limits, serves, setup, values};

/// Ways to spend one's time: in a loop, in and out of calls (so that first and last instructions of functions are met),
/// on a deep stack, in builtins, in the host.
const ENDLESS: [(&str, &str); 9] = [
    ("a bare loop", "(loop $l (br $l))"),
    (
        "memory",
        "(local.set $len (i32.const 65536))
         (loop $l (i32.store (local.get $len) (i32.add (i32.load (local.get $len)) (i32.const 1))) (br $l))",
    ),
    ("calls", "(loop $l (drop (call $add (i32.const 1) (i32.const 2))) (br $l))"),
    (
        "indirect calls",
        "(loop $l (drop (call_indirect $t (type $two) (i32.const 1) (i32.const 2) (i32.const 0))) (br $l))",
    ),
    ("a tree of calls without a loop", "(drop (call $tree (i32.const 200)))"),
    ("small copies", "(loop $l (memory.copy (i32.const 70000) (i32.const 80000) (local.get $len)) (br $l))"),
    ("large fills", "(loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 1000000)) (br $l))"),
    ("lines", "(loop $l (call $log (i32.const 2) (i32.const 0) (i32.const 9)) (br $l))"),
    ("failed growth", "(loop $l (drop (memory.grow (i32.const 0))) (br $l))"),
];

fn endless(body: &str) -> Guest {
    Guest::new(Kind::Map)
        .with(
            "(type $two (func (param i32 i32) (result i32)))
             (table $t funcref (elem $add))
             (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
             (func $tree (param i32) (result i32)
               (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 1)) (else (i32.add
                 (call $tree (i32.sub (local.get 0) (i32.const 1)))
                 (call $tree (i32.sub (local.get 0) (i32.const 1)))))))",
        )
        .bad_on_x(&format!("{body} unreachable"))
}

fn start(engine: &Engine, guest: &Guest, limit: Duration) -> Box<dyn Function> {
    let limits = Limits { time_per_batch: limit, ..limits() };
    let component = engine.load("guest.wasm", &guest.build(), &limits).expect("an operator");
    component.instantiate(Setup { limits, ..setup(&Arc::default()) }).expect("it starts")
}

fn engine() -> Engine {
    Engine::new(Options::default()).expect("it starts")
}

#[test]
fn whatever_a_guest_does_it_is_stopped_by_its_cpu_time() {
    let engine = engine();
    for (what, body) in ENDLESS {
        let begin = Instant::now();
        let mut function = start(&engine, &endless(body), Duration::from_millis(60));
        match function.apply(&values(&["x"]), AT) {
            Err(CallError::TimedOut { limit_ms: 60 }) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert!(begin.elapsed() >= Duration::from_millis(60), "{what}: before its time");
        serves(&mut *function);
    }
}

#[test]
fn whatever_a_guest_does_it_is_stopped_when_nobody_wants_it_any_more() {
    let engine = engine();
    let limits = Limits { time_per_batch: Duration::from_secs(3600), ..limits() };
    for (what, body) in ENDLESS {
        let component = engine.load("guest.wasm", &endless(body).build(), &limits).expect("an operator");
        let stop = Arc::<AtomicBool>::default();
        let setup = Setup { limits, stop: stop.clone(), ..setup(&Arc::default()) };
        let mut function = component.instantiate(setup).expect("it starts");
        let stops = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            stop.store(true, Relaxed);
        });
        match function.apply(&values(&["x"]), AT) {
            Err(CallError::Stopped) => {}
            other => panic!("{what}: {other:?}"),
        }
        stops.join().expect("it only waits");
    }
}

/// Functions of which each calls the next one twice.
fn wide_tree(levels: u32) -> String {
    let mut functions = "(func $level0 (nop))".to_owned();
    for level in 1..=levels {
        let call = format!("(call $level{})", level - 1);
        functions += &format!("(func $level{level} {call} {call})");
    }
    functions
}

#[test]
fn code_without_loops_that_takes_for_ever_is_stopped() {
    let fill = "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 8000000))";
    for (what, functions, body) in [
        ("a tree of calls", wide_tree(60), "(call $level60)"),
        ("fills in a row", format!("(func $fills {})", fill.repeat(20_000)), "(call $fills)"),
        (
            "calls in a row",
            format!("(func $few {}) (func $calls {})", fill.repeat(7), "(call $few)".repeat(3_000)),
            "(call $calls)",
        ),
    ] {
        let guest = Guest::new(Kind::Map).with(&functions).pages(200).bad_on_x(&format!("{body} unreachable"));
        match start(&engine(), &guest, Duration::from_millis(60)).apply(&values(&["x"]), AT) {
            Err(CallError::TimedOut { limit_ms: 60 }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_start_function_runs_before_anything_else_and_is_stopped_too() {
    let counts = "(global $n (mut i32) (i32.const 0))
         (func $begin (global.set $n (i32.add (global.get $n) (i32.const 1)))) (start $begin)";
    // Traps unless the start function has run once.
    let call = "(drop (i32.div_u (i32.const 1) (i32.eq (global.get $n) (i32.const 1))))
         (call $answer (local.get $ptr) (local.get $len))";
    let guest = Guest::new(Kind::Map).with(counts).call(call);
    serves(&mut *start(&engine(), &guest, Duration::from_secs(1)));

    let guest = Guest::new(Kind::Map).with("(func $begin (loop $l (br $l))) (start $begin)");
    let limits = Limits { time_per_batch: Duration::from_millis(60), ..limits() };
    let error = engine().load("guest.wasm", &guest.build(), &limits).err().expect("it does not come back");
    assert_eq!(error.to_string(), "guest.wasm failed in instantiate: the call took more than 60 ms of CPU time");
}

#[test]
fn time_in_state_counts_too() {
    let engine = engine();
    let mut guest = Guest::new(Kind::Process).state("m", 1);
    let empty = guest.data(&crate::guest::frame(0, &[]));
    let call = format!("(call $put_many (i32.const 0) (i32.const {}) (i32.const {}))", empty.offset, empty.len);
    let scan = "(call $scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)
                      (i32.const 512))";
    let guest = guest.call(&format!("(loop $l {scan} (br $l)) {call} unreachable"));
    let mut function = start(&engine, &guest, Duration::from_millis(20));
    let mut state =
        KeyedState::new(Box::<MemoryBackend>::default(), &function.description().states, Default::default());
    let mut keys = values(&[]);
    keys.set(crate::stage::strings(flow_frame::id::KEY, &[]));
    let rows = values(&["a"]);
    let column = crate::stage::strings(flow_frame::id::KEY, &["a"]);
    state.begin(column.as_bytes().expect("bytes"), 1, usize::MAX).expect("memory works");
    for _ in 0..3 {
        match function.process(&rows, &keys, &mut state, AT) {
            Err(CallError::TimedOut { limit_ms: 20 }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A log that keeps its writer waiting.
struct Slow;

impl Report for Slow {
    fn log(&self, _: Level, _: &str) {
        std::thread::sleep(Duration::from_millis(150));
    }

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("{split}:{position}").into()
    }

    fn rejected(&self, _: &Rejected) {}
}

#[test]
fn a_call_that_waits_is_not_blamed() {
    let mut guest = Guest::new(Kind::Map);
    let line = guest.data(b"hello");
    let log = format!("(call $log (i32.const 2) (i32.const {}) (i32.const {}))", line.offset, line.len);
    // The time is looked at where functions begin, so after the first line and after the last.
    let look = "(call $answer (local.get $ptr) (local.get $len))";
    let guest = guest.call(&format!("{log} (drop {look}) {log} {look}"));
    let limits = Limits { time_per_batch: Duration::from_millis(100), ..limits() };
    let component = engine().load("guest.wasm", &guest.build(), &limits).expect("an operator");
    let setup = Setup { limits, report: Arc::new(Slow), ..setup(&Arc::default()) };
    let mut function = component.instantiate(setup).expect("it starts");
    let begin = Instant::now();
    serves(&mut *function);
    assert!(begin.elapsed() >= Duration::from_millis(300), "by the clock it took three times its limit");
}
