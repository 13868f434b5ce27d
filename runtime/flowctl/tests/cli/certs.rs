//! `flowctl certs`: what lies in the directory afterwards, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::{Called, run};

fn certs(directory: &Path, line: &str) -> Called {
    run(directory, &[&["certs"], line.split(' ').collect::<Vec<_>>().as_slice()].concat())
}

#[test]
fn a_set_that_grows() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    let file = |name: &str| fs::read(here.join("set").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let first = certs(here, "set --node c1 --node w1,10.0.0.7,w1.example");
    assert_eq!(first.code, 0, "{}", first.stderr);
    let flags = "\nw1: --tls-ca set/ca.pem --tls-cert set/w1.pem --tls-key set/w1-key.pem\n";
    assert!(first.stdout.ends_with(flags) && first.stdout.contains("a new authority"), "{}", first.stdout);
    assert!(first.stderr.contains("whoever has set/ca-key.pem can make nodes"), "{}", first.stderr);
    let mode = |name: &str| fs::metadata(here.join("set").join(name)).expect("a file").permissions().mode() & 0o777;
    for name in ["ca", "c1", "w1"] {
        assert_eq!((mode(&format!("{name}.pem")), mode(&format!("{name}-key.pem"))), (0o644, 0o600), "{name}");
    }

    let (authority, w1) = (file("ca.pem"), file("w1.pem"));
    let more = certs(here, "set --node w2 --days 30 -o json");
    assert_eq!((more.code, more.stderr.as_str()), (0, ""));
    let made: Value = serde_json::from_str(&more.stdout).expect("JSON");
    assert_eq!((&made["reused"], &made["authority"]["certificate"]), (&true.into(), &"set/ca.pem".into()));
    let node = &made["nodes"][0];
    assert_eq!(
        (&node["name"], &node["certificate"], &node["key"]),
        (&"w2".into(), &"set/w2.pem".into(), &"set/w2-key.pem".into())
    );
    assert_eq!(node["addresses"], serde_json::json!(["w2", "localhost", "127.0.0.1"]));
    assert!(node["until"].as_u64() < made["authority"]["until"].as_u64(), "{made}");

    let again = certs(here, "set --node w3 --node w1");
    let expected =
        "error: set/w1.pem exists already\n  --force makes another in its place; nodes read it when they start\n";
    assert_eq!((again.code, again.stderr.as_str()), (2, expected));
    assert!(!here.join("set/w3.pem").exists(), "all of it or nothing");
    assert_eq!(certs(here, "set --node w1 --force -o name").stdout, "w1\n");
    assert!(file("w1.pem") != w1 && file("ca.pem") == authority);
    let left = fs::read_dir(here.join("set")).expect("a directory").count();
    assert_eq!(left, 8, "nothing else lies there");
}

#[test]
fn what_can_not_be_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    let check = |line: &str, expected: &str| {
        let called = certs(here, line);
        assert_eq!(called.code, 2, "{line}: {}", called.stderr);
        assert!(called.stderr.contains(expected), "{line}: {}", called.stderr);
    };
    check("set", "--node <NAME[,ADDR...]>");
    check("set --node w1,w1:8091", "neither a DNS name nor an IP address, which has no port");
    check("set --node w1 --node w1,x", "error: the node w1 is given twice\n  give its addresses together");
    check("set --node w1 --days 0", "0 is not in 1..=3650");
    assert!(!here.join("set").exists());

    assert_eq!(certs(here, "set --node w1").code, 0);
    assert_eq!(certs(here, "other --node w1").code, 0);
    fs::copy(here.join("other/ca-key.pem"), here.join("set/ca-key.pem")).expect("copied");
    check("set --node w2", "error: set/ca-key.pem is not the key of set/ca.pem\n  take another directory");
    fs::copy(here.join("other/w1.pem"), here.join("other/ca.pem")).expect("copied");
    fs::copy(here.join("other/w1-key.pem"), here.join("other/ca-key.pem")).expect("copied");
    check("other --node w2", "other/ca.pem is not an authority's own certificate");
    fs::write(here.join("set/ca-key.pem"), "no key").expect("a file");
    check("set --node w2", "error: set/ca-key.pem holds no key");
    fs::remove_file(here.join("set/ca-key.pem")).expect("it was there");
    check("set --node w2", "error: set/ca.pem is there, and set/ca-key.pem is not\n");
}
