//! Operators of several languages in one chain of one process: Rust, Python, Rust. And what the one in Python does with
//! input and settings that it can't work with.

mod example;
mod wrong;

use flow_e2e::flowd::{Flowd, counter};

/// So many that the garbage collector of Python runs inside the sandbox, many times: each rejection is an object that it
/// looks after.
const N: usize = 100_000;
const COUNTRIES: [&str; 4] = ["de", "fr", "jp", "xx"];

fn order(n: usize) -> String {
    format!(r#"{{"id":{n},"country":"{}","amount":{}}}"#, COUNTRIES[n % 4], n % 100)
}

/// What must come of it: small amounts are filtered out, the country's name is looked up, a text is made of it.
fn expected(n: usize) -> Option<String> {
    let name = match COUNTRIES[n % 4] {
        "de" => "Deutschland",
        "fr" => "France",
        "jp" => "日本",
        _ => return None,
    };
    (n % 100 >= 10).then(|| format!(r#"{{"text":"{n}: {name}","twice":{}}}"#, n % 100 * 2))
}

#[test]
fn rust_and_python_make_one_chain() {
    let flowd = Flowd::new();
    flowd.write("orders.jsonl", (0..N).map(|n| order(n) + "\n").collect::<String>());
    let pipeline = "\
sources:
  in: {files: {path: orders.jsonl, format: json}}
operators:
  large:
    component: '{plugins}/json-filter.wasm'
    from: in
    config: {expression: value.amount >= 10}
  named:
    component: '{plugins}/python-enrich.wasm'
    from: large
    config: {field: country, into: name, table: {de: Deutschland, fr: France, jp: 日本}}
    on-error: skip
  text:
    component: '{plugins}/json-map.wasm'
    from: named
    config: {expression: '{\"text\": string(value.id) + \": \" + value.name, \"twice\": value.amount * 2}'}
sinks:
  out: {files: {path: out}, from: text}
";
    let job = flowd.deploy("mixed", pipeline);
    let description = flowd.finished(&job);
    let tasks = description["plan"]["tasks"].as_array().expect("a list");
    assert_eq!(tasks.len(), 1, "one chain: {tasks:?}");
    let wanted: Vec<String> = (0..N).filter_map(expected).collect();
    let lines = flowd.lines("out");
    let different = wanted.iter().zip(&lines).find(|(w, l)| w != l);
    assert_eq!(different, None);
    assert_eq!(lines.len(), wanted.len());
    let large = (0..N).filter(|n| n % 100 >= 10).count();
    assert_eq!(counter(&description, "named", "rejected"), (large - wanted.len()) as u64);
    let log = flowd.ctl(&["logs", &job, "--tail", "1000"]).stdout;
    assert!(log.contains("orders.jsonl:12 was skipped (unknown-value): the table has nothing for 'xx'"), "{log}");
}
