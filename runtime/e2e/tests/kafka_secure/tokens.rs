//! OAUTHBEARER: a token from a file, looked up again before it expires.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flow_e2e::broker::TEN;
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::secure::{Secure, token};
use flow_e2e::topic::{self, Record, Topic};

use crate::{pipeline, tls};

const SASL: &str = "sasl: {mechanism: OAUTHBEARER, token: '${file:token}'}";

fn in_seconds(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + seconds
}

#[test]
fn a_job_outlives_its_first_token() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    let (from, to) = (secure.broker.topic(1, &[]), secure.broker.topic(1, &[]));
    let fields = format!("{}, {SASL}", tls(secure));
    let short = in_seconds(20);
    flowd.write("token", token("flow", short));
    let job = flowd.deploy("tokens", &pipeline(&secure.sasl, &from, &to, &fields, ""));
    let mut output = Topic::open(&secure.broker, &to, 1);
    topic::write(&secure.broker, &from, &[Record::new(None, Some("first"))]);
    assert_eq!(output.next(2 * TEN).expect("a record").1.text(), "first");
    // The broker closes a connection whose token has expired, and the new one comes late.
    while in_seconds(0) < short + 4 {
        sleep(Duration::from_millis(100));
    }
    flowd.write("token", token("flow", in_seconds(3600)));
    topic::write(&secure.broker, &from, &[Record::new(None, Some("second"))]);
    assert_eq!(output.next(4 * TEN).expect("a record").1.text(), "second");
    assert_eq!(state(&flowd.describe(&job)), "running");
    assert_eq!(flowd.ctl(&["cancel", &job, "--wait"]).code, 0);
}

#[test]
fn a_token_that_has_expired_is_refused() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    flowd.write("token", token("flow", 1_000_000_000));
    let fields = format!("{}, {SASL}", tls(secure));
    let file = flowd.pipeline("expired-token", &pipeline(&secure.sasl, "any", "any", &fields, ""));
    let called = flowd.ctl(&["deploy", &file]);
    assert_ne!(called.code, 0);
    assert!(called.stderr.contains("expired-token.yaml:5:"), "{}", called.stderr);
    assert!(called.stderr.contains("expired 2001-09-09T01:46:40Z"), "{}", called.stderr);
    assert!(!called.stderr.contains(&token("flow", 1_000_000_000)), "{}", called.stderr);
}

/// A token that the broker does not take: it has no subject.
#[test]
fn a_token_that_the_broker_refuses_fails_the_job() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    let bad = token("", in_seconds(3600));
    flowd.write("token", &bad);
    let fields = format!("{}, {SASL}", tls(secure));
    let job = flowd.deploy("bad-token", &pipeline(&secure.sasl, "any", "any", &fields, ""));
    let description = flowd.ended(&job);
    let error = description["error"].as_str().expect("an error");
    assert!(error.contains("OAUTHBEARER") && error.contains(&secure.sasl) && !error.contains(&bad), "{error}");
    assert!(!flowd.log().contains(&bad));
}
