//! Bad credentials.

use flow_e2e::flowd::{Flowd, state};
use flow_e2e::secure::{PASSWORD, Secure, USER};

use crate::{nothing_told, pipeline, tls};

/// The job fails, and says all of this.
#[track_caller]
fn fails(flowd: &Flowd, name: &str, pipeline: &str, expect: &[&str]) {
    let job = flowd.deploy(name, pipeline);
    let description = flowd.ended(&job);
    assert_eq!(state(&description), "failed", "{description:#}");
    let error = description["error"].as_str().expect("an error");
    for part in expect {
        assert!(error.contains(part), "{name}: {error:?} lacks {part:?}");
    }
    nothing_told(flowd, Some(&job));
}

fn login(mechanism: &str, user: &str, password: &str) -> String {
    format!("sasl: {{mechanism: {mechanism}, username: {user}, password: '{password}'}}")
}

#[test]
fn wrong_passwords() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    // The right one as a part of a wrong one must not be told either.
    flowd.write("password", format!("not-{PASSWORD}"));
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let fields = format!("{}, {}", tls(secure), login(mechanism, USER, "${file:password}"));
        let pipeline = pipeline(&secure.sasl, "any", "any", &fields, "");
        let expect = [&*secure.sasl, mechanism, "refused the login", "check `sasl`"];
        fails(&flowd, &format!("wrong-{}", mechanism.to_lowercase()), &pipeline, &expect);
    }
    let fields = format!("{}, {}", tls(secure), login("SCRAM-SHA-256", "nobody", "${file:password}"));
    let expect = [&*secure.sasl, "SCRAM-SHA-256", "refused the login"];
    fails(&flowd, "nobody", &pipeline(&secure.sasl, "any", "any", &fields, ""), &expect);
}

#[test]
fn wrong_certificates() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    let with = |ca: &str| format!("tls: {{ca: '{}'}}", secure.file(ca).display());
    let check = |name: &str, brokers: &str, fields: &str, expect: &[&str]| {
        fails(&flowd, name, &pipeline(brokers, "any", "any", fields, ""), &[&[brokers], expect].concat());
    };
    check(
        "expired",
        &secure.expired,
        &with("ca.pem"),
        &["the broker's certificate has expired", "renew it on the broker"],
    );
    let untrusted = ["signed by nobody whom we trust", "check that `ca` of `tls`"];
    check("other-ca", &secure.mutual, &with("other-ca.pem"), &untrusted);
    // With the certificates of the system, among which ours is not.
    check("system-ca", &secure.mutual, "tls: {}", &untrusted);
    check("no-certificate", &secure.mutual, &with("ca.pem"), &["TLS", "check `tls`"]);
}

/// A broker that goes away in the middle of a handshake looks the same, so the job waits, and says what it may be.
#[test]
fn a_port_without_tls_is_told() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    let plain = &secure.broker.address;
    let job = flowd.deploy("no-tls", &pipeline(plain, "any", "any", &tls(secure), ""));
    let begun = std::time::Instant::now();
    loop {
        let logs = flowd.ctl(&["logs", &job]).stdout;
        if logs.contains("SSL") && logs.contains(&**plain) {
            break;
        }
        assert!(begun.elapsed() < 3 * flow_e2e::broker::TEN, "{logs}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(flowd.ctl(&["cancel", &job, "--wait"]).code, 0);
}

#[test]
fn secrets_that_are_not_there() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    let refused = |name: &str, password: &str, expect: &[&str]| {
        let fields = format!("{}, {}", tls(secure), login("PLAIN", USER, password));
        let file = flowd.pipeline(name, &pipeline(&secure.sasl, "any", "any", &fields, ""));
        // Nothing is looked up before a job starts.
        assert_eq!(flowd.ctl(&["check", &file]).code, 0);
        let called = flowd.ctl(&["deploy", &file]);
        assert_ne!(called.code, 0);
        for part in [&[&*format!("{file}:5:"), "source \"in\""], expect].concat() {
            assert!(called.stderr.contains(part), "{:?} lacks {part:?}", called.stderr);
        }
    };
    refused(
        "no-variable",
        "${env:FLOW_TEST_NO_VARIABLE}",
        &["${env:FLOW_TEST_NO_VARIABLE}", "set FLOW_TEST_NO_VARIABLE"],
    );
    refused("no-file", "${file:nothing-here}", &["nothing-here}", "No such file", "check the path"]);
    nothing_told(&flowd, None);
}

#[test]
fn files_that_are_not_there() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    let file = flowd.pipeline("no-ca", &pipeline(&secure.sasl, "any", "any", "tls: {ca: no-ca.pem}", ""));
    let called = flowd.ctl(&["deploy", &file]);
    assert_ne!(called.code, 0);
    assert!(called.stderr.contains("no-ca.yaml:5:") && called.stderr.contains("`ca` of tls"), "{}", called.stderr);
}
