//! A guest that does not come back, and a user who does not want to wait for it.

use std::time::{Duration, Instant};

use flow_e2e::flowd::{Flowd, counter, state};

#[test]
fn a_cancel_ends_the_call_at_hand() {
    let flowd = Flowd::new();
    let job = flowd.deploy(
        "endless",
        "sources:
  in: {generator: {rate: 100}}
operators:
  evil:
    component: '{plugins}/hostile.wasm'
    from: in
    config: {mode: loop}
    on-error: dead-letter
    limits: {time-per-batch: 1h}
sinks:
  out: {files: {path: out}, from: evil}
  dead: {files: {path: dead}, from: dead-letter}
",
    );
    // Its figures come when a call is over, so there is nothing to wait for.
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let called = flowd.ctl(&["cancel", &job, "--wait"]);
    assert_eq!((called.code, called.stdout), (0, format!("{job} canceled\n")), "{}", called.stderr);
    assert!(begun.elapsed() < Duration::from_secs(60), "the call went on for {:?}", begun.elapsed());
    let description = flowd.describe(&job);
    assert_eq!((state(&description), &description["error"]), ("canceled", &serde_json::Value::Null));
    assert_eq!(counter(&description, "evil", "rejected"), 0);
    assert_eq!((flowd.lines("out"), flowd.lines("dead")), (Vec::new(), Vec::new()));
}
