//! `GET /metrics`, held against the rules of the text format and of Prometheus' naming.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::api::part;

use crate::bodies::exchange;
use crate::server::{ENDLESS, FINITE, Server, form};

/// The family that a series' name belongs to.
fn family(name: &str) -> &str {
    ["_total", "_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// Series and values, if the text keeps to the rules.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let (mut series, mut types, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(!help.is_empty() && helped.insert(name), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(is_name(name) && name.starts_with("flow_") && helped.contains(name), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(!name.ends_with("_total"), "a counter's family has no suffix: {line}");
            // Base units only.
            assert!(
                !["_ms", "_us", "_milliseconds", "_kilobytes", "_percent"].iter().any(|unit| name.ends_with(unit)),
                "{line}"
            );
            assert!(types.insert(name, kind).is_none(), "twice: {line}");
        } else {
            let (what, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = what.split_once('{').expect("labels");
            let family = family(name);
            let kind = types.get(family).unwrap_or_else(|| panic!("no type before {line}"));
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{line}");
            for label in labels.trim_end_matches('}').split(',') {
                let (key, text) = label.split_once('=').expect("a label");
                assert!(is_name(key) && text.starts_with('"') && text.ends_with('"'), "{line}");
                // What Prometheus itself says of a target.
                assert!(!["job", "instance"].contains(&key), "{line}");
            }
            let value = value.parse().expect("a number");
            assert!(series.insert(what.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    series
}

#[test]
fn prometheus_reads_what_jobs_do() {
    let server = Server::start();
    server.submit(FINITE).expect("a good pipeline");
    server.ended("finite");
    // The newest of a name counts.
    server.submit(FINITE).expect("a good pipeline");
    server.ended("finite");
    let two = ENDLESS.replace("value: x}", "value: x}, parallelism: 2");
    server.submit(&two).expect("a good pipeline");
    server.send::<serde_json::Value>("/jobs/submit", form(ENDLESS).text(part::NAME, "other")).expect("a good pipeline");

    let head = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = exchange(&server, head, b"");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    let (_, text) = answer.split_once("\r\n\r\n").expect("a body");
    let series = parse(text);
    let check = |what: &str, value: f64| assert_eq!(series.get(what), Some(&value), "{what} in {text}");
    check(r#"flow_operator_records_in_total{pipeline="finite",operator="in"}"#, 10.0);
    check(r#"flow_operator_records_out_total{pipeline="finite",operator="out"}"#, 10.0);
    check(r#"flow_job_state{pipeline="finite",state="finished"}"#, 1.0);
    check(r#"flow_job_state{pipeline="finite",state="running"}"#, 0.0);
    check(r#"flow_job_state{pipeline="other",state="running"}"#, 1.0);
    check(r#"flow_operator_subtasks{pipeline="endless",operator="in"}"#, 2.0);
    let page = include_str!("../../../../docs/src/reference/metrics.md");
    for name in series.keys().filter_map(|series| series.split('{').next()) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in the book");
    }
    let of_endless = series.keys().filter(|name| name.contains("endless") && name.contains("operator=")).count();
    let of_other = series.keys().filter(|name| name.contains("other") && name.contains("operator=")).count();
    assert_eq!(of_endless, of_other, "more subtasks are no more series");
}
