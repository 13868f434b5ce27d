//! How far a job is behind its topic, what became dead letters and how long calls take: in every place where one looks.
//! `FLOW_SCREENSHOTS=DIR` keeps a picture of the page.

use std::path::PathBuf;

use flow_e2e::broker::Broker;
use flow_e2e::chromium::Chromium;
use flow_e2e::flowd::{Flowd, counter};
use flow_e2e::topic::{self, Record};

const N: usize = 20_000;
const BAD: usize = N / 10;

/// Some work for each record, so that one can look on meanwhile.
fn pipeline(broker: &Broker, topic: &str) -> String {
    let slow = format!("value + 0 * {:?}.map(n, n * value).size()", [1; 100]);
    format!(
        "
sources:
  orders: {{kafka: {{brokers: '{}', topic: {topic}}}}}
operators:
  json: {{component: '{{plugins}}/json-map.wasm', from: orders, config: {{expression: '{slow}'}}, on-error: dead-letter}}
  counts: {{component: '{{plugins}}/counter.wasm', from: json, key: $value, parallelism: 2, on-error: dead-letter}}
sinks:
  out: {{blackhole: {{}}, from: counts}}
  dead: {{blackhole: {{}}, from: dead-letter}}
",
        broker.address
    )
}

/// The value of a series in the text for Prometheus.
fn series(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim().parse().expect("a number"))
}

#[test]
fn lag_and_dead_letters_and_calls() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let topic = broker.topic(3, &[]);
    let value = |n: usize| if n.is_multiple_of(10) { "no json".to_owned() } else { n.to_string() };
    let records: Vec<Record> = (0..N).map(|n| Record::new(Some(&n.to_string()), Some(&value(n)))).collect();
    topic::write(broker, &topic, &records);
    let job = flowd.deploy("orders", &pipeline(broker, &topic));

    // While it is behind.
    let description = flowd.until(&job, |description| description["operators"][0]["lag"].as_u64() > Some(0));
    let partitions = description["operators"][0]["partitions"].as_array().expect("a list");
    assert!(partitions.iter().all(|partition| partition["topic"] == topic.as_str()), "{partitions:?}");
    let mut browser = Chromium::new(1280, 1000);
    browser.open(&flowd.url);
    browser.until("document.querySelectorAll('.graph .node').length === 5");
    let rate = "document.querySelector('[data-operator=orders] .node-rate').textContent";
    browser.until(&format!("/· lag [0-9.]+k?$/.test({rate})"));
    // From the operators themselves, though one's keys are taken in the task of another.
    assert_eq!(browser.value("document.querySelectorAll('.graph .edge.dead').length"), 2);
    assert_eq!(browser.value("document.querySelectorAll('.graph .edge').length"), 5);
    let cell = |operator: &str, column: &str| {
        format!(
            "document.querySelector('tbody th[title={operator}]').parentElement.cells[Array.from(\
             document.querySelectorAll('thead th')).findIndex((th) => th.textContent === '{column}')].textContent"
        )
    };
    browser.until(&format!("parseInt({}) > 0", cell("json", "dead letters")));
    if let Some(directory) = std::env::var_os("FLOW_SCREENSHOTS").map(PathBuf::from) {
        browser.prefer("light");
        browser.screenshot(&directory.join("behind-light.png"));
        browser.prefer("dark");
        browser.screenshot(&directory.join("behind-dark.png"));
    }

    // Once it is not.
    let description = flowd.until(&job, |description| {
        description["operators"][0]["lag"] == 0 && counter(description, "dead", "records-in") == BAD as u64
    });
    assert_eq!(
        (counter(&description, "json", "rejected"), counter(&description, "json", "dead-letters")),
        (BAD as u64, BAD as u64)
    );
    browser.until(&format!("/· lag 0$/.test({rate})"));
    let shown = format!("{}.replace(/\\D/g, '')", cell("json", "dead letters"));
    browser.until(&format!("{shown} === '{BAD}'"));
    assert_eq!(browser.complaints(), [""; 0]);

    let text = flowd.get("/metrics");
    let check = |name: &str, expect: f64| assert_eq!(series(&text, name), Some(expect), "{name} in {text}");
    check(r#"flow_source_lag_records{pipeline="orders",operator="orders"}"#, 0.0);
    check(r#"flow_source_partitions{pipeline="orders",operator="orders"}"#, 3.0);
    for partition in 0..3 {
        let labels = format!(r#"pipeline="orders",operator="orders",topic="{topic}",partition="{partition}""#);
        check(&format!("flow_source_partition_lag_records{{{labels}}}"), 0.0);
    }
    check(r#"flow_operator_dead_letters_total{pipeline="orders",operator="json"}"#, BAD as f64);
    check(r#"flow_operator_dead_letters_total{pipeline="orders",operator="counts"}"#, 0.0);
    let calls = |suffix: &str, le: &str| {
        let name = format!(r#"flow_operator_call_duration_seconds_{suffix}{{{le}pipeline="orders",operator="json"}}"#);
        series(&text, &name).unwrap_or_else(|| panic!("{name} in {text}"))
    };
    let count = calls("count", "");
    assert!(count >= 3.0 && count <= N as f64, "a call is a batch: {count}");
    assert_eq!(calls("bucket", r#"le="+Inf","#), count);
    assert!(calls("bucket", r#"le="0.00001","#) <= count && calls("sum", "") > 0.0, "{text}");
    assert!(!text.contains(r#"flow_operator_call_duration_seconds_count{pipeline="orders",operator="out"}"#), "{text}");

    let wide = flowd.ctl(&["describe", &job, "-o", "wide"]).stdout;
    let titles = wide.lines().find(|line| line.starts_with("OPERATOR")).expect("a table");
    assert!(["DEAD LETTERS", "LAG", "CALLS", "P99"].iter().all(|title| titles.contains(title)), "{wide}");
    let partition = wide.lines().filter(|line| line.starts_with("orders ") && line.contains(&topic)).count();
    assert_eq!(partition, 3, "{wide}");
    let top = flowd.json(&["top", &job, "--interval", "200ms"]);
    let [source, json] = [0, 1].map(|n| &top["jobs"][0]["operators"][n]);
    assert_eq!((&source["lag"], &json["dead-letters"]), (&0.into(), &BAD.into()), "{top}");
    assert!(json["calls"]["per-second"].is_number() && source.get("calls").is_none(), "{top}");
    let graph = flowd.ctl(&["graph", &job]).stdout;
    assert_eq!(graph.matches("[dead letters]").count(), 2, "{graph}");
}
