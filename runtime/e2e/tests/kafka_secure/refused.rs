//! Bad credentials.

use flow_e2e::flowd::{Flowd, state};
use flow_e2e::secure::{PASSWORD, Secure, USER};

use crate::{nothing_told, pipeline, tls};

/// A job with its name and its pipeline, and what it has to say when it fails.
struct Case<'a> {
    name: String,
    pipeline: String,
    expect: Vec<&'a str>,
}

/// All fail, and say so. Beside each other, since each tries for some seconds.
#[track_caller]
fn all_fail(flowd: &Flowd, cases: &[Case<'_>]) {
    let jobs: Vec<String> = cases.iter().map(|case| flowd.deploy(&case.name, &case.pipeline)).collect();
    for (job, Case { name, expect, .. }) in jobs.iter().zip(cases) {
        let description = flowd.ended(job);
        assert_eq!(state(&description), "failed", "{description:#}");
        let error = description["error"].as_str().expect("an error");
        for part in expect {
            assert!(error.contains(part), "{name}: {error:?} lacks {part:?}");
        }
        nothing_told(flowd, Some(job));
    }
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
    let case = |name: &str, mechanism: &'static str, user: &str| {
        let fields = format!("{}, {}", tls(secure), login(mechanism, user, "${file:password}"));
        let pipeline = pipeline(&secure.sasl, "any", "any", &fields, "");
        Case {
            name: name.to_owned(),
            pipeline,
            expect: vec![&secure.sasl, mechanism, "refused the login", "check `sasl`"],
        }
    };
    let cases = [
        case("wrong-plain", "PLAIN", USER),
        case("wrong-scram-sha-512", "SCRAM-SHA-512", USER),
        case("nobody", "SCRAM-SHA-256", "nobody"),
    ];
    all_fail(&flowd, &cases);
}

#[test]
fn wrong_certificates() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    let with = |ca: &str| format!("tls: {{ca: '{}'}}", secure.file(ca).display());
    let case = |name: &str, brokers: &'static str, fields: &str, expect: &[&'static str]| {
        let pipeline = pipeline(brokers, "any", "any", fields, "");
        Case { name: name.to_owned(), pipeline, expect: [&[brokers], expect].concat() }
    };
    let untrusted = ["signed by nobody whom we trust", "check that `ca` of `tls`"];
    let expired = ["the broker's certificate has expired", "renew it on the broker"];
    let cases = [
        case("expired", &secure.expired, &with("ca.pem"), &expired),
        case("other-ca", &secure.mutual, &with("other-ca.pem"), &untrusted),
        // With the certificates of the system, among which ours is not.
        case("system-ca", &secure.mutual, "tls: {}", &untrusted),
        case("no-certificate", &secure.mutual, &with("ca.pem"), &["TLS", "check `tls`"]),
    ];
    all_fail(&flowd, &cases);
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
        assert!(begun.elapsed() < 12 * flow_e2e::broker::TEN, "{logs}");
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
