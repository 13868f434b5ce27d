//! What an operator may use: who asks for more is told which limit it was, what it used, and where to change that.

use flow_e2e::flowd::{Flowd, counter};

use crate::letters;

#[test]
fn each_limit_has_its_code_and_its_place() {
    let flowd = Flowd::new();
    flowd.write(
        "lines.txt",
        (1..=50).map(|n| if n == 20 { "bad\n".into() } else { format!("{n}\n") }).collect::<String>(),
    );
    let limits = "memory: 64Mi, time-per-batch: 300ms, output-per-batch: 8Mi";
    for (mode, code, reason) in [
        ("alloc", "memory-limit", "MiB of memory, and 64 MiB is its limit; to change that, set `limits: {memory: …}`"),
        ("loop", "timeout", "the call took more than 300 ms of CPU time; to change that, set `limits: {time-per-batch"),
        (
            "huge-output",
            "output-limit",
            "its answer is larger than 8Mi; to change that, set `limits: {output-per-batch",
        ),
    ] {
        let pipeline = format!(
            "sources:
  in: {{files: {{path: lines.txt}}}}
operators:
  evil:
    component: '{{plugins}}/hostile.wasm'
    from: in
    config: {{mode: {mode}, when: bad}}
    limits: {{{limits}}}
    on-error: dead-letter
sinks:
  out: {{files: {{path: out-{mode}}}, from: evil}}
  dead: {{files: {{path: dead-{mode}}}, from: dead-letter}}
"
        );
        let description = flowd.finished(&flowd.deploy(mode, &pipeline));
        assert_eq!((counter(&description, "evil", "dead-letters"), flowd.lines(&format!("out-{mode}")).len()), (1, 49));
        let letter = &letters(&flowd, &format!("dead-{mode}"))["bad"]["error"];
        assert_eq!(letter["code"], code);
        let text = letter["reason"].as_str().unwrap_or_default();
        assert!(text.contains(reason) && text.ends_with(&format!(" in {mode}.yaml:11")), "{text}");
    }
}

#[test]
fn a_key_that_hoards_is_stopped_and_its_neighbours_go_on() {
    let flowd = Flowd::new();
    // Every record of the key 0 is remembered for good; the other keys have one each.
    let line =
        |n: usize| format!("{{\"key\": \"{}\", \"id\": \"{n:0>100}\"}}\n", if n.is_multiple_of(2) { 0 } else { n });
    flowd.write("lines.txt", (0..400).map(line).collect::<String>());
    let pipeline = "sources:
  in: {files: {path: lines.txt}}
operators:
  seen:
    component: '{plugins}/hoard.wasm'
    from: in
    key: key
    limits: {state-per-key: 8Ki}
    on-error: dead-letter
sinks:
  out: {files: {path: out}, from: seen}
  dead: {files: {path: dead}, from: dead-letter}
";
    let description = flowd.finished(&flowd.deploy("hoard", pipeline));
    let dead = counter(&description, "seen", "dead-letters");
    let all = letters(&flowd, "dead");
    assert!((100..150).contains(&dead) && all.len() as u64 == dead, "{dead} of 200 are beyond 8 KiB");
    assert_eq!(flowd.lines("out").len() as u64, 400 - dead);
    for letter in all.values() {
        assert_eq!(letter["error"]["code"], "state-limit");
        let text = letter["error"]["reason"].as_str().unwrap_or_default();
        assert!(
            text.starts_with("the states of the key \"0\" would hold 8") && text.contains("8192 is the limit"),
            "{text}"
        );
        assert!(text.ends_with("set `limits: {state-per-key: …}` in hoard.yaml:11"), "{text}");
    }
}
