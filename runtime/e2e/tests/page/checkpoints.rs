//! What the page shows of checkpoints.

use flow_e2e::chromium::Chromium;
use flow_e2e::flowd::Flowd;

use crate::keep;

pub const TAKING: &str = "
checkpoint: {interval: 500ms}
sources:
  in: {generator: {rate: 1000, keys: 50}}
operators:
  counts: {component: '{plugins}/counter.wasm', from: in, key: $key}
sinks:
  out: {blackhole: {}, from: counts}
";

#[test]
fn checkpoints_that_fail_and_that_count_and_the_one_it_went_on_from() {
    // The second manifest can't be written, for all that the job knows.
    let mut flowd = Flowd::with_env(&[("FLOW_FAILPOINT", "manifest-written=fail:2")]);
    let mut browser = Chromium::new(1280, 1200);
    // Not before: of what failed no more is known when fifty have followed.
    let job = flowd.deploy("taking", TAKING);
    browser.open(&format!("{}/#{job}", flowd.url));
    let cells = |state: &str| {
        format!(
            "Array.from(document.querySelectorAll('#checkpoints tbody tr')).find((r) => r.cells[1].textContent === '{state}')?.cells"
        )
    };
    // Seconds and bytes of one that counts, and why another one does not.
    let completed = cells("completed");
    browser.until(&format!("/^\\d+ ms$/.test({completed}?.[4].textContent)"));
    browser.until(&format!("/^[\\d.]+ (K?i?B)$/.test({completed}[5].textContent)"));
    browser.until(&format!("/failpoint/.test({}?.[8].textContent)", cells("failed")));
    browser
        .until("/1 failed.*the latest is 00000001/.test(document.querySelector('#checkpoints caption').textContent)");
    browser.until("document.getElementById('attempt').textContent === 'attempt 1'");
    let newest = "document.querySelector('#checkpoints tbody th').textContent";
    let ids = "Array.from(document.querySelectorAll('#checkpoints tbody th'), (h) => h.textContent)";
    browser.until(&format!("{ids}.length > 4 && {ids}.join() === {ids}.sort().reverse().join()"));
    // New ones come on top, and what is below them stays where it is.
    let log = "document.getElementById('log').getBoundingClientRect().top";
    let (before, place) = (browser.value(newest), browser.value(log));
    browser.until(&format!("{newest} > {before}"));
    assert_eq!(browser.value(log), place);
    browser.prefer("light");
    keep(&mut browser, "checkpoints-light");

    flowd.kill();
    flowd.start_again();
    browser.open(&format!("{}/#{job}", flowd.url));
    browser.until("/went on from 00000001/.test(document.querySelector('#checkpoints caption')?.textContent)");
    browser.until("/restored from/.test(document.getElementById('checkpoints').textContent)");
    // Which attempt took each; why the first one ended the killed process can't tell.
    browser.until("document.getElementById('attempt').textContent === 'attempt 2'");
    let taken_by =
        "new Set(Array.from(document.querySelectorAll('#checkpoints tbody tr'), (r) => r.cells[2].textContent))";
    browser.until(&format!("[...{taken_by}].join() === '2,1'"));
    browser.prefer("dark");
    keep(&mut browser, "checkpoints-dark");
    // The daemon that was asked before is gone, of which the browser complains.
    let others: Vec<_> = browser.complaints().iter().filter(|complaint| !complaint.contains("net::ERR_")).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// A job without checkpoints has no table of them, and nobody asks for one.
#[test]
fn a_job_without_checkpoints_shows_none() {
    let flowd = Flowd::new();
    let job = flowd.deploy("plain", &TAKING.replace("checkpoint: {interval: 500ms}", ""));
    let mut browser = Chromium::new(900, 700);
    browser.open(&format!("{}/#{job}", flowd.url));
    browser.until("/job started/.test(document.getElementById('log')?.textContent)");
    browser.until("document.querySelectorAll('.state.running').length === 2");
    assert_eq!(browser.value("document.getElementById('checkpoints')"), serde_json::Value::Null);
    assert_eq!(browser.complaints(), [""; 0]);
}
