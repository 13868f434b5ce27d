//! What strangers send to a coordinator that stands by is refused as by the one that leads, and is no burden to either.

use std::fs;

use flow_e2e::cluster::{Cluster, Options};
use flow_e2e::flowd::Flowd;
use flow_e2e::minio::Minio;

use crate::load::idle;
use crate::{completed, until};

/// What all requests have to carry.
const TOKEN: &str = "of-this-test-4711-alone";
/// What is sent at once, in bytes.
const UPLOAD: u64 = 2 << 30;
/// How much more memory that may take.
const MORE: u64 = 64 << 20;

/// Two coordinators over one worker: the one that leads, and the one that stands by.
fn pair(options: &[&str]) -> (Cluster, [usize; 2]) {
    let coordinators = options.iter().map(|option| (*option).to_owned()).collect();
    let cluster = Cluster::with(Minio::shared(), 2, &[1], Options { coordinators, ..Options::default() });
    let leader = cluster.leader().expect("somebody leads");
    (cluster, [leader, 1 - leader])
}

#[test]
fn nobody_gets_in_by_a_standby_without_the_token() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    fs::write(&file, TOKEN).expect("a file");
    let (cluster, both) = pair(&["--token-file", &file.display().to_string()]);
    let job = cluster.coordinators[both[1]].submit_text("one", &idle("one", 1)).expect("it carries the token");
    until(&cluster, || both.iter().all(|at| completed(&cluster.coordinators[*at], &job) > 0));
    for (at, wrong) in
        both.iter().flat_map(|at| ["", "Bearer", "Bearer of-another-4711-alone", "Basic Og=="].map(|w| (*at, w)))
    {
        let refused = cluster.coordinators[at].ask_as("/jobs", wrong).expect_err("it does not carry the token");
        let told = (refused.status, refused.message.as_str());
        assert_eq!(told, (401, "the request does not carry this server's token"), "coordinator {at}, {wrong:?}");
    }
    for at in both {
        let node = &cluster.coordinators[at];
        refuses(node, &job);
        until(&cluster, || node.ask("/jobs").is_ok_and(|all| all["jobs"][0]["state"] == "running"));
    }
}

/// What flowctl says to who has a wrong token, or none; whatever it was to do is not done.
fn refuses(node: &Flowd, job: &str) {
    for token in [&[][..], &[("FLOW_TOKEN", "of-another-4711-alone")]] {
        for arguments in [&["list"][..], &["cancel", job], &["workers"]] {
            let called = node.ctl_with(arguments, &[&[("FLOW_SERVER", node.url.as_str())], token].concat());
            let said = called.stderr.as_str();
            assert!(called.code != 0 && said.contains("this server's token"), "{arguments:?}: {said}");
            assert!(said.contains("FLOW_TOKEN"), "it says what to do: {said}");
        }
    }
}

#[test]
fn an_upload_of_2_gb_through_a_standby_is_refused_by_its_limit_and_takes_no_memory() {
    let (mut cluster, both) = pair(&["--body-max", "32Mi"]);
    let nodes = both.map(|at| &cluster.coordinators[at]);
    let job = nodes[1].submit_text("beside", &idle("beside", 1)).expect("it is accepted");
    until(&cluster, || completed(nodes[0], &job) > 0);
    let before = nodes.map(Flowd::peak_rss);
    let done = completed(nodes[0], &job);
    for (node, is_chunked) in nodes.iter().flat_map(|node| [false, true].map(|is_chunked| (node, is_chunked))) {
        let answer = node.upload_zeros(UPLOAD, is_chunked);
        assert!(answer.starts_with("HTTP/1.1 413 "), "chunked: {is_chunked}, {answer}\n{}", cluster.logs());
        assert!(answer.contains("pipeline and components together are larger than 32Mi"), "{answer}");
        assert!(answer.contains("--body-max"), "it says what to do: {answer}");
    }
    for (node, before) in nodes.iter().zip(before) {
        let grown = node.peak_rss() - before;
        assert!(grown < MORE, "{} MiB more than before: {}", grown >> 20, node.url);
    }
    // The job has gone on, and the standby answers.
    until(&cluster, || completed(nodes[1], &job) > done);
    // Nobody leads: who sends much hears of that, and no broken connection.
    let [leader, standby] = both;
    cluster.coordinators[leader].kill();
    let answer = cluster.coordinators[standby].upload_zeros(64 << 20, false);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("does not answer"), "{answer}");
}
