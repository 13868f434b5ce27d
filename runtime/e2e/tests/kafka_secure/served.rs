//! Good credentials: records go from topic to topic.

use flow_e2e::flowd::Flowd;
use flow_e2e::secure::{PASSWORD, Secure, USER};
use flow_e2e::topic::{self, Record, Topic};

use crate::{nothing_told, pipeline, tls};

fn copies(secure: &Secure, flowd: &Flowd, name: &str, brokers: &str, fields: &str) {
    let (from, to) = (secure.broker.topic(2, &[]), secure.broker.topic(1, &[]));
    let records: Vec<Record> = (0..100).map(|n| Record::new(Some("k"), Some(&n.to_string()))).collect();
    topic::write(&secure.broker, &from, &records);
    let job = flowd.deploy(name, &pipeline(brokers, &from, &to, fields, ", stop: latest"));
    flowd.finished(&job);
    let read: Vec<String> =
        Topic::open(&secure.broker, &to, 1).exactly(100).iter().map(|(_, record)| record.text().to_owned()).collect();
    assert_eq!(read, (0..100).map(|n| n.to_string()).collect::<Vec<_>>(), "{name}");
    nothing_told(flowd, Some(&job));
}

#[test]
fn users_with_passwords() {
    let secure = Secure::shared();
    let flowd = Flowd::with_env(&[("FLOW_TEST_PASSWORD", PASSWORD)]);
    flowd.write("password", format!("{PASSWORD}\n"));
    let passwords = ["${env:FLOW_TEST_PASSWORD}", "${file:password}", "${file:password}"];
    for (mechanism, password) in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().zip(passwords) {
        let sasl = format!("sasl: {{mechanism: {mechanism}, username: {USER}, password: '{password}'}}");
        let fields = format!("{}, {sasl}", tls(secure));
        copies(secure, &flowd, &mechanism.to_lowercase(), &secure.sasl, &fields);
    }
}

/// What `tls` and `sasl` do, and all that they don't, is there by librdkafka's own names.
#[test]
fn raw_properties() {
    let secure = Secure::shared();
    let flowd = Flowd::with_env(&[("FLOW_TEST_PASSWORD", PASSWORD)]);
    let fields = format!(
        "properties: {{security.protocol: sasl_ssl, ssl.ca.location: '{}', sasl.mechanism: SCRAM-SHA-512, \
         sasl.username: {USER}, sasl.password: '${{env:FLOW_TEST_PASSWORD}}'}}",
        secure.file("ca.pem").display()
    );
    copies(secure, &flowd, "raw", &secure.sasl, &fields);
}

#[test]
fn clients_with_certificates() {
    let secure = Secure::shared();
    let flowd = Flowd::new();
    for name in ["ca.pem", "client.pem", "client.key"] {
        flowd.write(name, std::fs::read(secure.file(name)).expect("it was made"));
    }
    // By paths beside the pipeline, and as they are.
    let fields = "tls: {ca: ca.pem, certificate: ./client.pem, key: client.key}";
    copies(secure, &flowd, "paths", &secure.mutual, fields);
    let fields = "tls: {ca: '${file:ca.pem}', certificate: '${file:client.pem}', key: '${file:client.key}'}";
    copies(secure, &flowd, "contents", &secure.mutual, fields);
}
