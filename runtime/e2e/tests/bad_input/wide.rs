//! A job that is too wide for the process: refused, with the daemon and its other jobs unharmed.

use flow_e2e::flowd::Flowd;

/// The most that an operator may have.
const PARALLELISM: usize = 256;

#[test]
fn a_job_too_wide_for_the_process_is_refused_and_harms_nobody() {
    let flowd = Flowd::new();
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("Linux");
    let most: usize = most.trim().parse().expect("a number");
    // An instance takes several maps, so the limit is passed whatever it is.
    let operators = most / PARALLELISM / 4 + 1;
    let operator = |n: usize| {
        let from = if n == 0 { "in".to_owned() } else { format!("id{}", n - 1) };
        let component = "'{plugins}/identity.wasm'";
        format!("  id{n}: {{component: {component}, from: {from}, parallelism: {PARALLELISM}}}\n")
    };
    let text: String = (0..operators).map(operator).collect();
    let wide = format!(
        "sources:\n  in: {{generator: {{rate: 1}}}}\noperators:\n{text}sinks:\n  out: {{blackhole: {{}}, from: id{}}}\n",
        operators - 1
    );
    let file = flowd.pipeline("wide", &wide);
    let called = flowd.ctl(&["deploy", &file]);
    assert_eq!(called.code, 2, "{}", called.stderr);
    for part in
        ["no room for the job: it takes about ", " memory maps, and ", "lower its `parallelism`", "vm.max_map_count"]
    {
        assert!(called.stderr.contains(part), "{part} is not in: {}", called.stderr);
    }
    let narrow = "sources:
  in: {generator: {count: 10}}
operators:
  id: {component: '{plugins}/identity.wasm', from: in, parallelism: 2}
sinks:
  out: {files: {path: out}, from: id}
";
    flowd.finished(&flowd.deploy("narrow", narrow));
    assert_eq!(flowd.lines("out").len(), 10);
}
