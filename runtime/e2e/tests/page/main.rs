//! The page at `/` in a real Chromium, against a real daemon. `FLOW_SCREENSHOTS=DIR` keeps pictures of what it looked like.

mod checkpoints;
mod cut;
mod workers;

use std::path::PathBuf;

use flow_e2e::chromium::Chromium;
use flow_e2e::flowd::Flowd;

const TOKEN: &str = "0123456789abcdef-of-a-test";

/// Endless, with an exchange in it.
const WORDS: &str = "
sources:
  orders: {generator: {rate: 2000, keys: 100, value: 'the {{key}} quick brown foxes {{seq}}'}}
operators:
  words: {component: '{plugins}/tokenizer.wasm', from: orders}
  counts: {component: '{plugins}/counter.wasm', from: words, key: $value, parallelism: 2}
sinks:
  totals: {blackhole: {}, from: counts}
  raw: {blackhole: {}, from: orders}
";

/// Every record is refused; their places have a file's name in them.
const REFUSED: &str = "
sources:
  in: {files: {path: evil}}
operators:
  json: {component: '{plugins}/json-map.wasm', from: in, config: {expression: value}, on-error: ON-ERROR}
sinks:
  out: {blackhole: {}, from: json}
";

/// Markup that would run where it is taken for such.
const MARKUP: &str = "<img src=x onerror=document.title=1>";

fn keep(browser: &mut Chromium, name: &str) {
    if let Some(directory) = std::env::var_os("FLOW_SCREENSHOTS") {
        browser.screenshot(&PathBuf::from(directory).join(format!("{name}.png")));
    }
}

#[test]
fn jobs_graph_rates_errors_and_logs() {
    let flowd = Flowd::new();
    flowd.write(&format!("evil/{MARKUP}.txt"), "no json\n".repeat(3));
    let words = flowd.deploy("words", WORDS);
    let skipped = flowd.deploy("skipped", &REFUSED.replace("ON-ERROR", "skip"));
    flowd.finished(&skipped);
    let failed = flowd.deploy("refused", &REFUSED.replace("ON-ERROR", "fail"));
    let error = flowd.ended(&failed)["error"].as_str().expect("a reason").to_owned();

    let mut browser = Chromium::new(1280, 1000);
    browser.prefer("light");
    // No percent-encoding at all is a wish for no job.
    browser.open(&format!("{}/#%", flowd.url));
    // The newest one is shown until another is chosen: why it failed, as text.
    browser.until("document.querySelector('.error')?.textContent");
    assert_eq!(browser.value("document.querySelector('.error').textContent"), error.as_str());
    assert!(error.contains(MARKUP), "{error}");
    assert_eq!(browser.value("document.querySelector('.title .state').textContent"), "failed");
    keep(&mut browser, "failed-light");

    // By keyboard alone: to the last of the list, which is the first job.
    let to_words = format!("document.activeElement.getAttribute('href') === '#{words}'");
    for _ in 0..20 {
        browser.key("Tab");
        if browser.value(&to_words) == true {
            break;
        }
    }
    assert_eq!(browser.value(&to_words), true, "the list is reached by Tab");
    browser.key("Enter");
    browser.until("document.querySelectorAll('.graph .node').length === 5");
    let names = "Array.from(document.querySelectorAll('.graph .node'), (n) => n.dataset.operator).sort().join()";
    assert_eq!(browser.value(names), "counts,orders,raw,totals,words");
    assert_eq!(browser.value("document.querySelectorAll('.graph .edge').length"), 4);
    let rate = "document.querySelector('[data-operator=orders] .node-rate').textContent";
    browser.until(&format!("/^[12](\\.\\d)?k\\/s$/.test({rate})"));
    browser.until("Number(document.querySelector('[data-operator=words] .bar-busy').getAttribute('width')) > 0");
    let state =
        "Array.from(document.querySelectorAll('tbody tr')).find((r) => r.cells[0].textContent === 'counts').cells[13]";
    browser.until(&format!("/[KM]iB/.test({state}.textContent)"));
    browser.until("/job started/.test(document.getElementById('log').textContent)");
    // Numbers change, and nothing moves.
    let places = "JSON.stringify(Array.from(document.querySelectorAll('.node, h3, table'), (n) => n.getBoundingClientRect().top))";
    let before = browser.value(places);
    let shown = browser.value("document.querySelector('tbody tr td:nth-child(4)').textContent");
    browser.until(&format!("document.querySelector('tbody tr td:nth-child(4)').textContent !== {shown}"));
    assert_eq!(browser.value(places), before);
    keep(&mut browser, "running-light");
    browser.prefer("dark");
    keep(&mut browser, "running-dark");

    browser.open(&format!("{}/#{skipped}", flowd.url));
    browser.until("/was skipped/.test(document.getElementById('log')?.textContent)");
    let log = browser.value("document.getElementById('log').textContent");
    assert!(log.as_str().expect("text").contains(MARKUP), "{log}");
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0, "text is not markup");
    assert_eq!(browser.value("document.title"), "skipped · Flow");
    assert_eq!(browser.value("document.querySelector('td.some').textContent"), "3");
    keep(&mut browser, "skipped-dark");

    // What ends while somebody looks on says so.
    browser.open(&format!("{}/#{words}", flowd.url));
    browser.until("document.querySelector('.title .state')?.textContent === 'running'");
    assert_eq!(flowd.ctl(&["cancel", &words]).code, 0, "it stops");
    browser.until("document.querySelector('.title .state').textContent === 'canceled'");
    browser.until("/job is canceled/.test(document.getElementById('log').textContent)");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_server_with_a_token_is_asked_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let flowd = Flowd::with(&["--token-file", file.to_str().expect("text")]);
    let mut browser = Chromium::new(900, 700);
    browser.open(&flowd.url);
    browser.until("document.activeElement?.id === 'token'");
    assert_eq!(browser.value("document.getElementById('content').hidden"), true);
    browser.type_text("not the token of this server");
    browser.key("Enter");
    browser.until("document.getElementById('login-error').textContent === \"This token is not the server's.\"");
    keep(&mut browser, "login");
    browser.type_text(TOKEN);
    browser.key("Enter");
    browser.until("!document.getElementById('no-jobs').hidden && document.getElementById('login').hidden");
    assert_eq!(browser.value("localStorage.length + document.cookie.length"), 0, "it stays in the tab");
    assert_eq!(browser.value("location.href.includes('0123456789')"), false);
    keep(&mut browser, "empty");
    // 401s are complained of, and nothing else.
    let others: Vec<_> = browser.complaints().iter().filter(|complaint| !complaint.contains("401")).collect();
    assert!(others.is_empty(), "{others:?}");
}
