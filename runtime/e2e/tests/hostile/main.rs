//! A component that misbehaves in every way it can, in the real daemon, beside a job that must not notice.

mod canceled;
mod neighbours;

use flow_e2e::flowd::{Flowd, counter, state};

const LINES: usize = 200;
/// The lines (from 1) that set the component off.
const BAD: [usize; 2] = [7, 100];

fn line(n: usize) -> String {
    if BAD.contains(&n) { format!("bad {n}") } else { format!("line {n}") }
}

fn pipeline(mode: &str, on_error: &str) -> String {
    format!(
        "sources:
  in: {{files: {{path: lines.txt}}}}
operators:
  evil:
    component: '{{plugins}}/hostile.wasm'
    from: in
    config: {{mode: {mode}, when: bad}}
    on-error: {on_error}
    limits: {{time-per-batch: 500ms, memory: 64Mi, output-per-batch: 8Mi}}
sinks:
  out: {{files: {{path: {mode}-{on_error}}}, from: evil}}
"
    )
}

/// Modes that spoil a record, and what the error must say beside the place.
const RECORD: [(&str, &str); 7] = [
    ("panic", "it panicked: panicked at"),
    ("trap", "it stopped itself (unreachable)"),
    (
        "loop",
        "the call took more than 500 ms of CPU time; to change that, set `limits: {time-per-batch: …}` in loop.yaml:12",
    ),
    ("recurse", "hostile::recurse"),
    ("alloc", "MiB of memory, and 64 MiB is its limit; to change that, set `limits: {memory: …}` in alloc.yaml:12"),
    (
        "huge-output",
        "its answer is larger than 8Mi; to change that, set `limits: {output-per-batch: …}` in huge-output.yaml:12",
    ),
    ("reject", "(hostile): rejected as told"),
];

/// Modes that fail the operator whatever `on-error` says, since no record is to blame.
const CALL: [(&str, &str); 2] =
    [("fail", "evil: hostile: failed as told"), ("retry", "hostile: failed for now as told")];

/// Modes that fail before the job starts.
const INIT: [(&str, &str); 3] = [
    ("fail-init", "failed in init: hostile: failed in init as told"),
    ("panic-init", "failed in init: it panicked: panicked at"),
    ("loop-init", "failed in init: the call took more than 500 ms of CPU time"),
];

/// Runs all cases beside a job that counts, which must end as if nothing had been.
#[test]
fn misbehaviour_stays_where_it_is() {
    let flowd = Flowd::new();
    flowd.write("lines.txt", (1..=LINES).map(|n| line(n) + "\n").collect::<String>());
    const KEYS: u64 = 100;
    let good = |count| {
        format!(
            "sources:
  in: {{generator: {{rate: 5000, {count}keys: {KEYS}}}}}
operators:
  count: {{component: '{{plugins}}/counter.wasm', from: in, key: $key, config: {{format: number}}, parallelism: 2}}
sinks:
  out: {{files: {{path: good, format: records}}, from: count}}
"
        )
    };
    let good = flowd.deploy("good", &good("count: 20000, "));

    for (mode, reason) in RECORD {
        fails(&flowd, mode, &["evil: ", "lines.txt:7 was rejected", reason]);
        skips(&flowd, mode);
    }
    for (mode, reason) in CALL {
        fails(&flowd, mode, &[reason]);
    }
    for (mode, reason) in INIT {
        let file = flowd.pipeline(mode, &pipeline(mode, "skip"));
        let called = flowd.ctl(&["deploy", &file]);
        assert_eq!(called.code, 2, "{mode}: {}", called.stderr);
        let place = format!("{mode}.yaml:10:13: operator \"evil\": ");
        assert!(called.stderr.starts_with(&place) && called.stderr.contains(reason), "{mode}: {}", called.stderr);
        // A check says the same, wherever it runs.
        for arguments in [&["check", &file][..], &["check", &file, "--server", &flowd.url]] {
            let checked = flowd.ctl(arguments);
            assert_eq!((checked.code, &checked.stderr), (2, &called.stderr), "{mode}");
        }
    }
    rejects_everything(&flowd);
    fails_slowly_in_the_log(&flowd);

    flowd.finished(&good);
    lines_of_the_log(&flowd);
    let mut counts = vec![0; KEYS as usize];
    for line in flowd.lines("good") {
        let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let number =
            |field: &str| record[field].as_str().and_then(|text| text.parse::<usize>().ok()).expect("a number");
        let count = &mut counts[number("key")];
        *count += 1;
        assert_eq!(number("value"), *count, "{line}");
    }
    assert_eq!(counts, vec![20_000 / KEYS as usize; KEYS as usize]);
}

#[track_caller]
fn fails(flowd: &Flowd, mode: &str, parts: &[&str]) {
    let job = flowd.deploy(mode, &pipeline(mode, "fail"));
    let description = flowd.ended(&job);
    let error = description["error"].as_str().unwrap_or_default();
    assert_eq!(state(&description), "failed", "{mode}");
    for part in parts {
        assert!(error.contains(part), "{mode}: {part} is not in: {error}");
    }
}

#[track_caller]
fn skips(flowd: &Flowd, mode: &str) {
    let description = flowd.finished(&flowd.deploy(mode, &pipeline(mode, "skip")));
    assert_eq!(counter(&description, "evil", "rejected"), BAD.len() as u64, "{mode}");
    let wanted: Vec<String> = (1..=LINES).filter(|n| !BAD.contains(n)).map(line).collect();
    assert_eq!(flowd.lines(&format!("{mode}-skip")), wanted, "{mode}");
    // Nothing is lost silently: each record that is gone has its line in the log.
    let log = flowd.ctl(&["logs", mode, "--tail", "1000"]).stdout;
    for n in BAD {
        assert!(log.contains(&format!("lines.txt:{n} was skipped")), "{mode}: {log}");
    }
}

/// Guests write line ends and more; a line of the log stays a line. Each job's end stands there once.
fn lines_of_the_log(flowd: &Flowd) {
    let log = flowd.log();
    let is_time = |line: &str| line.get(..11).is_some_and(|day| day.starts_with("20") && day.ends_with('T'));
    let odd = log.lines().find(|line| !is_time(line) || line.contains(|c: char| c.is_control()));
    assert_eq!(odd, None);
    let ends = |how: &str| log.matches(&format!(" flow_coordinator::jobs::end: {how} after ")).count();
    assert_eq!((ends("failed"), ends("finished")), (RECORD.len() + CALL.len(), RECORD.len() + 3));
    let of_job = flowd.ctl(&["logs", "panic", "--tail", "1000"]).stdout;
    assert!(of_job.lines().all(|line| is_time(&line.replacen(' ', "T", 1))), "{of_job}");
    // One line for each of the two records, though the guest panicked again and again while they were looked for.
    assert_eq!(of_job.matches("panicked as told").count(), BAD.len(), "{of_job}");
}

fn rejects_everything(flowd: &Flowd) {
    let all = pipeline("reject", "skip").replace(", when: bad", "").replace("reject-skip", "reject-all");
    let description = flowd.finished(&flowd.deploy("reject-all", &all));
    assert_eq!(counter(&description, "evil", "rejected"), LINES as u64);
    assert_eq!(flowd.lines("reject-all"), [""; 0]);
}

/// Two hundred thousand lines in the log do no harm: what is kept is bounded.
fn fails_slowly_in_the_log(flowd: &Flowd) {
    let flood = pipeline("log-flood", "fail").replace(", when: bad", "");
    flowd.finished(&flowd.deploy("log-flood", &flood));
    assert_eq!(flowd.lines("log-flood-fail").len(), LINES);
    let kept = flowd.ctl(&["logs", "log-flood", "--tail", "1000000"]).stdout.lines().count();
    assert!((1..=20_000).contains(&kept), "{kept} lines");
}
