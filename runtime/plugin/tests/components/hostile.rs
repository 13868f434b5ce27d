//! Guests that do their worst with one batch. Each gets an error that says what it did, the next batch is served, and a
//! neighbour in another thread goes on all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flow_dataflow::function::{CallError, Kind, Limit};
use flow_dataflow::state::{KeyedState, MemoryBackend};
use flow_plugin::{Limits, Setup};

use crate::guest::Guest;
use crate::stage::{AT, ENGINE, Log, bad_then_good, limits, load, serves, setup, start, values};

#[track_caller]
fn trap(result: Result<flow_dataflow::function::Answer, CallError>) -> (String, Vec<String>) {
    match result {
        Err(CallError::Trap { message, backtrace }) => (message, backtrace),
        other => panic!("not a trap: {other:?}"),
    }
}

#[track_caller]
fn out_of_memory(result: Result<flow_dataflow::function::Answer, CallError>) -> String {
    match result {
        Err(CallError::Exceeded { limit: Limit::Memory, message, .. }) => message,
        other => panic!("there was enough: {other:?}"),
    }
}

#[test]
fn a_trap_names_the_functions_it_came_through() {
    let guest = Guest::new(Kind::Map)
        .with("(func $_ZN4user5parse17h0123456789abcdefE unreachable)")
        .bad_on_x("(call $_ZN4user5parse17h0123456789abcdefE) (unreachable)");
    let (message, backtrace) = trap(bad_then_good(&guest));
    assert_eq!(message, "it stopped itself (unreachable), without a word in the log");
    assert_eq!(backtrace, ["user::parse", "call"]);
}

#[test]
fn other_traps_say_which() {
    for (body, want) in [
        ("(i32.div_u (i32.const 1) (i32.const 0))", "it trapped: integer divide by zero"),
        (
            "(i32.load (i32.const -4))",
            "it trapped: out of bounds memory access; perhaps its own stack is full (endless recursion, or a large \
             array in a function?)",
        ),
        (
            "(call_indirect $none (result i32) (i32.const 7))",
            "it trapped: undefined element: out of bounds table access",
        ),
    ] {
        let guest = Guest::new(Kind::Map).with("(table $none 1 funcref)").bad_on_x(body);
        assert_eq!(trap(bad_then_good(&guest)).0, want);
    }
}

#[test]
fn a_panic_s_text_comes_from_the_log() {
    let mut guest = Guest::new(Kind::Map);
    let (other, text) = (guest.data(b"an earlier error"), guest.data(b"panicked at src/lib.rs:7:5: no such customer"));
    let log =
        |at: crate::guest::At| format!("(call $log (i32.const 4) (i32.const {}) (i32.const {}))", at.offset, at.len);
    let guest = guest.bad_on_x(&format!("{} {} unreachable", log(other), log(text)));
    let (message, _) = trap(bad_then_good(&guest));
    assert_eq!(message, "it panicked: panicked at src/lib.rs:7:5: no such customer");
}

#[test]
fn a_panic_s_text_is_told_by_the_error_alone() {
    let mut guest = Guest::new(Kind::Map);
    let (warning, text) = (guest.data(b"odd"), guest.data(b"panicked at src/lib.rs:7:5"));
    let log = |level: u8, at: crate::guest::At| {
        format!("(call $log (i32.const {level}) (i32.const {}) (i32.const {}))", at.offset, at.len)
    };
    let lines = |body: &str| {
        let log = Arc::new(Log::default());
        let mut function = load(&guest.clone().bad_on_x(body)).instantiate(setup(&log)).expect("it starts");
        // As when the engine looks for the record that is to blame.
        (0..2).for_each(|_| _ = function.apply(&values(&["x"]), AT).expect_err("a trap or a time-out"));
        log.lines()
    };
    let error = log(4, text);
    assert_eq!(lines(&format!("{error} unreachable")), [""; 0]);
    // Nothing else tells these.
    let panicked = "Error panicked at src/lib.rs:7:5";
    assert_eq!(lines(&format!("{error} {} unreachable", log(3, warning))), [panicked, "Warn odd"].repeat(2));
    assert_eq!(lines(&format!("{error} (loop $l (br $l)) unreachable")), [panicked; 2]);
}

#[test]
fn an_endless_loop_is_stopped_by_its_cpu_time() {
    let guest = Guest::new(Kind::Map).bad_on_x("(loop $l (br $l)) unreachable");
    let begin = Instant::now();
    match bad_then_good(&guest) {
        Err(CallError::TimedOut { limit_ms: 100 }) => {}
        other => panic!("{other:?}"),
    }
    assert!(begin.elapsed() >= Duration::from_millis(100), "never before its time");
}

#[test]
fn endless_recursion_fills_its_own_stack_only() {
    let guest = Guest::new(Kind::Map)
        .with("(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))")
        .bad_on_x("(call $deep (i32.const 1))");
    let (message, backtrace) = trap(bad_then_good(&guest));
    assert_eq!(message, "its calls go too deep: the stack is full (endless recursion?)");
    assert_eq!(backtrace[0], "deep");
    assert!(backtrace.len() <= 20, "a backtrace is short: {}", backtrace.len());
}

#[test]
fn memory_ends_at_the_limit() {
    let guest = Guest::new(Kind::Map).bad_on_x("(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable");
    assert_eq!(out_of_memory(bad_then_good(&guest)), "it needs 33 MiB of memory, and 32 MiB is its limit");
}

#[test]
fn tables_count_as_memory() {
    let table = "(table 1000000 funcref) ";
    let guest = Guest::new(Kind::Map).with(&table.repeat(5)).bad_on_x("unreachable");
    let error = ENGINE.load("tables.wasm", &guest.build(), &limits()).err().expect("40 MB of tables");
    let text = error.to_string();
    assert!(text.starts_with("tables.wasm failed in instantiate: it needs 3"), "{text}");
    assert!(text.ends_with(" MiB of memory, and 32 MiB is its limit"), "{text}");
}

#[test]
fn tables_end_somewhere() {
    let guest = Guest::new(Kind::Map)
        .with("(table $t 1 funcref)")
        .bad_on_x("(loop $l (drop (table.grow $t (ref.null func) (i32.const 100000))) (br $l)) unreachable");
    let (message, _) = trap(bad_then_good(&guest));
    assert!(message.starts_with("it asks for a table of "), "{message}");
}

#[test]
fn a_batch_that_does_not_fit_is_the_guest_s_lack_of_memory() {
    let big = "x".repeat(60 << 20);
    let mut function = start(&Guest::new(Kind::Map).bad_on_x("unreachable"));
    let message = out_of_memory(function.apply(&values(&[&big]), AT));
    assert!(message.starts_with("it needs 6") && message.ends_with(", and 32 MiB is its limit"), "{message}");
    serves(&mut *function);
}

#[test]
fn a_million_lines_fill_no_log() {
    let mut guest = Guest::new(Kind::Map);
    let text = guest.data(b"spam");
    let guest = guest.with("(global $n (mut i32) (i32.const 0))").call(&format!(
        "(loop $l (call $log (i32.const 2) (i32.const {}) (i32.const {}))
           (global.set $n (i32.add (global.get $n) (i32.const 1)))
           (br_if $l (i32.lt_u (global.get $n) (i32.const 1000000))))
         (call $answer (i32.const 0) (i32.const 0))",
        text.offset, text.len
    ));
    let log = Arc::new(Log::default());
    let patient = Limits { time_per_batch: Duration::from_secs(20), ..limits() };
    let mut function = load(&guest).instantiate(Setup { limits: patient, ..setup(&log) }).expect("it starts");
    let begin = Instant::now();
    function.apply(&values(&["a"]), AT).expect("logging is no crime");
    drop(function);
    let (lines, seconds) = (log.lines(), begin.elapsed().as_secs());
    // Five a second, and one that says how many were left out.
    assert!(lines.len() as u64 <= 6 * (seconds + 2), "{} lines passed in {seconds} s", lines.len());
    let left_out = |line: &str| line.strip_prefix("Warn ")?.split_once(" lines left out")?.0.parse::<usize>().ok();
    let counted: usize = lines.iter().filter_map(|l| left_out(l)).sum();
    let passed = lines.iter().filter(|l| *l == "Info spam").count();
    assert_eq!(counted + passed, 1_000_000, "every line is there or counted");
}

#[test]
fn state_outside_of_a_call_is_refused() {
    let guest = Guest::new(Kind::Process).state("m", 1).end_of_input(
        "(call $put_many (i32.const 0) (i32.const 0) (i32.const 0)) (call $answer (i32.const 0) (i32.const 0))",
    );
    let mut function = start(&guest);
    assert_eq!(trap(function.end_of_input()).0, "state is there in `process` only");
    assert_eq!(trap(function.end_of_input()).0, "state is there in `process` only");
    let mut state =
        KeyedState::new(Box::<MemoryBackend>::default(), &function.description().states, Default::default());
    function.process(&values(&["a"]), &values(&[]), &mut state, AT).expect("the operator goes on");
}

#[test]
fn failures_before_the_first_batch_are_told_with_their_place() {
    for (body, want) in [
        ("unreachable", "guest.wasm failed in init: it stopped itself (unreachable), without a word in the log\n  in "),
        ("(loop $l (br $l)) unreachable", "guest.wasm failed in init: the call took more than 100 ms of CPU time"),
    ] {
        match load(&Guest::new(Kind::Map).init(body)).instantiate(setup(&Arc::default())) {
            Err(e) => assert!(e.to_string().starts_with(want), "{e}"),
            Ok(_) => panic!("its init fails"),
        }
    }
    for (guest, want) in [
        (Guest::new(Kind::Map).describe("unreachable"), "guest.wasm failed in describe: it stopped itself"),
        (
            Guest::new(Kind::Map).describe("(loop $l (br $l)) unreachable"),
            "guest.wasm failed in describe: the call took",
        ),
        (Guest::new(Kind::Map).describe("(i32.const -1)"), "guest.wasm failed in describe: malformed answer: "),
        (
            Guest::new(Kind::Map).pages(1024),
            "guest.wasm failed in instantiate: it needs 64 MiB of memory, and 32 MiB is its limit",
        ),
        (
            Guest::new(Kind::Map).with("(func $boom unreachable) (start $boom)"),
            "guest.wasm failed in instantiate: it st",
        ),
        (
            Guest::new(Kind::Map).with("(func $l (loop $l (br $l))) (start $l)"),
            "guest.wasm failed in instantiate: the c",
        ),
    ] {
        match ENGINE.load("guest.wasm", &guest.build(), &limits()) {
            Err(e) => assert!(e.to_string().starts_with(want), "{e}"),
            Ok(_) => panic!("expected: {want}"),
        }
    }
}

#[test]
fn a_guest_may_fail_any_number_of_times() {
    let mut function = start(&Guest::new(Kind::Map).bad_on_x("unreachable"));
    for _ in 0..300 {
        assert!(matches!(function.apply(&values(&["x"]), AT), Err(CallError::Trap { .. })));
    }
    serves(&mut *function);
}

#[test]
fn a_neighbour_goes_on() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let neighbour = std::thread::spawn(|| {
        let mut good = start(&Guest::new(Kind::Map).bad_on_x("unreachable"));
        let mut served = 0;
        while !DONE.load(Ordering::Relaxed) {
            serves(&mut *good);
            served += 1;
        }
        served
    });
    let worst = [
        "(loop $l (br $l)) unreachable",
        "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable",
        "(loop $l (call $log (i32.const 2) (i32.const 0) (i32.const 9)) (br $l)) unreachable",
        "unreachable",
        "(call $answer (i32.const 0) (i32.const -1))",
    ];
    for body in worst {
        assert!(bad_then_good(&Guest::new(Kind::Map).bad_on_x(body)).is_err());
    }
    DONE.store(true, Ordering::Relaxed);
    let served = neighbour.join().expect("the neighbour never fails");
    assert!(served > 10, "it served {served} batches meanwhile");
}

#[test]
fn an_instance_whose_answer_is_refused_is_not_used_again() {
    let body = "(if (global.get $used) (then unreachable)) (global.set $used (i32.const 1))
                (call $answer (i32.const 0) (i32.const 0))";
    let guest = Guest::new(Kind::Map).with("(global $used (mut i32) (i32.const 0))").call(body);
    let mut function = start(&guest);
    function.apply(&values(&["a"]), AT).expect("its first call");
    function.refuse();
    function.apply(&values(&["a"]), AT).expect("another instance's first call");
    assert!(matches!(function.apply(&values(&["a"]), AT), Err(CallError::Trap { .. })), "the same instance again");
}
