//! What the page shows of the workers of a cluster.

use flow_e2e::chromium::Chromium;
use flow_e2e::cluster::Cluster;
use flow_e2e::flowd::Flowd;
use flow_e2e::minio::Minio;

use crate::checkpoints::TAKING;
use crate::keep;

#[test]
fn workers_with_their_slots_and_what_they_run() {
    let cluster = Cluster::new(Minio::shared(), 1, &[2, 2]);
    let coordinator = &cluster.coordinators[0];
    let mut browser = Chromium::new(1280, 1000);
    browser.open(&coordinator.url);
    let all = "Array.from(document.querySelectorAll('#workers li'), (item) => item.textContent).join()";
    browser.until(&format!("{all} === 'w0active0 of 2 slots,w1active0 of 2 slots'"));
    let job = coordinator.deploy("taking", TAKING);
    browser.until(&format!("{all}.includes('1 of 2 slots · {job} (1)')"));
    browser.until("document.querySelectorAll('#checkpoints tbody tr').length > 1");
    browser.prefer("light");
    keep(&mut browser, "workers-light");
    let busy = if browser.value(&format!("{all}.includes('w0active1')")) == true { "w0" } else { "w1" };
    let called = coordinator.ctl(&["drain", busy, "--wait"]);
    assert_eq!(called.code, 0, "{}\n{}", called.stderr, cluster.logs());
    let other = if busy == "w0" { "w1" } else { "w0" };
    browser.until(&format!("{all}.includes('{busy}drained0 of 2 slots')"));
    browser.until(&format!("{all}.includes('{other}active1 of 2 slots · {job} (1)')"));
    let said = "attempt 2 · the one before ended: a worker of it is to go";
    browser.until(&format!("document.getElementById('attempt').textContent === '{said}'"));
    browser.prefer("dark");
    keep(&mut browser, "workers-dark");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_daemon_alone_has_none() {
    let flowd = Flowd::new();
    let mut browser = Chromium::new(900, 700);
    browser.open(&flowd.url);
    browser.until("document.getElementById('no-jobs')?.hidden === false");
    assert_eq!(browser.value("document.getElementById('cluster').hidden"), true);
    assert_eq!(browser.complaints(), [""; 0], "it is not asked for any");
}
