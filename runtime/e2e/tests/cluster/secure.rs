//! Who may be a node of a cluster: those with certificates of its authority, and nobody else, whatever is sent to its ports.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::authority::{Authority, DAY};
use flow_e2e::broker::{Broker, free_port};
use flow_e2e::cluster::{Cluster, Options, tls};
use flow_e2e::counting::records;
use flow_e2e::flowd::{Flowd, Role, counter};
use flow_e2e::minio::Minio;
use flow_e2e::shifted::{self, HOUR};

use crate::{Counting, PATIENCE, all_are_busy, completed, until};

/// Waits until a node says something in its log.
#[track_caller]
fn until_logged(node: &Flowd, expected: &[&str]) {
    let begun = Instant::now();
    while !expected.iter().all(|words| node.log().contains(words)) {
        assert!(begun.elapsed() < PATIENCE, "{expected:?} not in\n{}", node.log());
        sleep(Duration::from_millis(50));
    }
}

fn with_tls(minio: &Minio, workers: &[u32]) -> Cluster {
    Cluster::with(minio, 1, workers, Options { tls: true, ..Options::default() })
}

/// A worker of its own that looks for that coordinator, with these options besides, and a clock that is so many seconds behind.
fn stranger(control: &str, more: &[String], behind: i64) -> Flowd {
    let options = ["--name", "stranger", "--coordinator", control].map(str::to_owned);
    let clock = shifted::environment(-behind);
    let clock: Vec<(&str, &str)> = clock.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Flowd::node(Role::Worker, &[&options, more].concat(), if behind == 0 { &[] } else { &clock })
}

#[test]
fn nodes_with_certificates_run_a_job() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let cluster = with_tls(minio, &[2, 2]);
    let coordinator = &cluster.coordinators[0];
    let counting = Counting::start(broker, coordinator);
    until(&cluster, || all_are_busy(&cluster));
    counting.feed(1);
    counting.until_all(&cluster);
    let description = coordinator.describe(&counting.job);
    assert_eq!(counter(&description, "counts", "records-in"), records().len() as u64, "of both workers together");
}

#[test]
fn what_a_standby_is_asked_goes_to_the_leader_by_certificates() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let cluster = Cluster::with(minio, 2, &[4], Options { tls: true, ..Options::default() });
    let leader = cluster.leader().expect("one leads");
    let (leader, standby) = (&cluster.coordinators[leader], &cluster.coordinators[1 - leader]);
    let counting = Counting::start(broker, standby);
    counting.feed(1);
    counting.until_all(&cluster);
    assert_eq!(standby.json(&["workers"])["workers"][0]["name"], "w0");
    // Each refusal in the same words.
    for path in ["/jobs/none", "/no/such/path", "/jobs/none/cancel"] {
        let (of_leader, of_standby) = (leader.ask(path).expect_err(path), standby.ask(path).expect_err(path));
        assert_eq!((of_leader.status, of_leader.message), (of_standby.status, of_standby.message), "{path}");
    }
    // An answer that goes on for as long as the job does.
    std::thread::scope(|scope| {
        let followed = scope.spawn(|| standby.ctl(&["logs", "--follow", &counting.job]));
        until(&cluster, || completed(leader, &counting.job) > 2);
        assert!(!followed.is_finished(), "{}", cluster.logs());
        assert_eq!(standby.ctl(&["cancel", &counting.job]).code, 0);
        let followed = followed.join().expect("no panic");
        assert!(followed.code == 0 && followed.stdout.contains("canceled"), "{}{}", followed.stdout, followed.stderr);
    });
}

#[test]
fn a_node_that_can_not_be_trusted_is_refused_and_told_why() {
    let (_, minio) = (Broker::shared(), Minio::shared());
    let cluster = with_tls(minio, &[1]);
    let control = cluster.controls[0].as_str();
    let set = cluster.certificates.as_ref().expect("it has some").set();
    let make = |authority: &Authority, seconds: (i64, i64), name: &str| {
        let (certificate, key) = authority.sign("stranger", seconds);
        for (file, bytes) in [(format!("{name}.pem"), certificate), (format!("{name}-key.pem"), key)] {
            fs::write(set.join(file), bytes).expect("a file");
        }
        tls(&set, name)
    };
    let read = |name: &str| fs::read(set.join(name)).expect("a file");
    let (ours, theirs) = (Authority::of(&read("ca.pem"), &read("ca-key.pem")), Authority::new("somebody else"));
    let with_authority = |mut options: [String; 6], name: &str, authorities: &[&[u8]]| {
        let file = set.join(name);
        fs::write(&file, authorities.concat()).expect("a file");
        options[1] = file.display().to_string();
        options
    };
    let expired = make(&ours, (-2 * DAY, -HOUR / 2), "expired");
    let unknown = make(&theirs, (-DAY, DAY), "unknown");
    // What others would not take is not shown to them.
    let data = tempfile::tempdir().expect("a directory");
    let data = data.path().display().to_string();
    for (options, why) in [
        (expired.clone(), "certificate expired"),
        (unknown.clone(), "UnknownIssuer"),
        (with_authority(tls(&set, "w0"), "no-more.pem", &[&theirs.pem()]), "UnknownIssuer"),
    ] {
        let line = ["worker", "--data", &data, "--coordinator", control].into_iter();
        let refused = Flowd::refused(&line.chain(options.iter().map(String::as_str)).collect::<Vec<_>>());
        let said = |words: &str| refused.stderr.contains(words);
        assert!(said("other nodes would not take") && said(why) && said("flowctl certs"), "{}", refused.stderr);
    }
    let refused = |options: &[String], behind: i64, why: &str| {
        let worker = stranger(control, options, behind);
        until_logged(&worker, &[&format!("no coordinator answers at {control}: "), why]);
    };
    refused(&expired, HOUR, "CertificateExpired");
    refused(&with_authority(unknown.clone(), "both.pem", &[&theirs.pem(), &read("ca.pem")]), 0, "UnknownCA");
    refused(&with_authority(unknown, "theirs.pem", &[&theirs.pem()]), 0, "invalid peer certificate: UnknownIssuer");
    refused(&[], 0, "it may want certificates");
    let names: Vec<String> = cluster.workers().unwrap_or_default().iter().map(|one| one["name"].to_string()).collect();
    assert_eq!(names, ["\"w0\""], "{}", cluster.logs());
}

/// Sends something that no client of Flow does, and takes what comes, for a moment. Whatever happens to the connection is right.
fn poke(address: &str, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address) else { panic!("{address} does not listen any more") };
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    _ = stream.write_all(bytes);
    let mut answer = [0; 4096];
    while stream.read(&mut answer).is_ok_and(|length| length > 0) {}
}

/// Garbage, other protocols, and beginnings that are never gone on with.
fn rubbish() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut of = |length: usize| (0..length).map(|_| random.u8(..)).collect::<Vec<u8>>();
    let hello = |body: Vec<u8>| [vec![0x16, 3, 1], (body.len() as u16).to_be_bytes().to_vec(), body].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    vec![
        Vec::new(),
        of(3),
        of(100_000),
        vec![0; 100_000],
        b"GET /workers HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        b"POST /jobs/submit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n{".to_vec(),
        // A TLS hello that is none, and one that says it is longer than it is.
        hello([vec![1, 0, 1, 0, 3, 3], of(250)].concat()),
        vec![0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff],
        [preface.clone(), of(10_000)].concat(),
        // A frame of the greatest length, of which nothing comes.
        [preface, vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
    ]
}

/// Pokes all ports while a job runs, and holds that it loses nothing and begins nothing anew.
fn goes_on(cluster: &Cluster, broker: &Broker) {
    let coordinator = &cluster.coordinators[0];
    let counting = Counting::start(broker, coordinator);
    until(cluster, || all_are_busy(cluster));
    until(cluster, || completed(coordinator, &counting.job) > 1);
    let exchanges = cluster.workers().expect("it is led").into_iter();
    let mut ports: Vec<String> = exchanges.map(|one| one["address"].as_str().expect("one").to_owned()).collect();
    ports.push(cluster.controls[0].clone());
    ports.push(coordinator.url.trim_start_matches("http://").to_owned());
    for bytes in rubbish() {
        for port in &ports {
            poke(port, &bytes);
        }
    }
    // Some that are never gone on with stay open meanwhile.
    let _open: Vec<TcpStream> = ports
        .iter()
        .flat_map(|port| [&b""[..], &[0x16, 3, 1, 2, 0, 1], b"PRI * HTTP/2.0\r\n"].map(|bytes| (port, bytes)))
        .map(|(port, bytes)| {
            let mut stream = TcpStream::connect(port).expect("it listens");
            stream.write_all(bytes).expect("it reads");
            stream
        })
        .collect();
    counting.feed(1);
    counting.until_all(cluster);
    cluster.until_there(cluster.workers.len());
    let log = coordinator.ctl(&["logs", &counting.job]).stdout;
    assert!(!log.contains("attempt 2"), "{log}\n{}", cluster.logs());
}

#[test]
fn strangers_do_no_harm() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    goes_on(&Cluster::new(minio, 1, &[2, 2]), broker);
}

#[test]
fn strangers_do_no_harm_to_nodes_with_certificates() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    goes_on(&with_tls(minio, &[2, 2]), broker);
}

#[test]
fn nobody_listens_in_plain_text_by_accident() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name).display().to_string();
    let (store, data) = (place("store"), place("data"));
    let control = format!("127.0.0.1:{}", free_port());
    let rest = format!("127.0.0.1:{}", free_port());
    let open =
        |flag: &str| format!("{flag} 0.0.0.0:0 can be reached from other machines, and nodes talk in plain text");
    let next = "next: --tls-ca, --tls-cert and --tls-key; `flowctl certs` makes a set";
    let coordinator = ["coordinator", "--store", &store, "--listen", &rest, "--control", "0.0.0.0:0"];
    let worker = ["worker", "--data", &data, "--coordinator", &control, "--exchange", "0.0.0.0:0"];
    for (line, flag) in [(&coordinator[..], "--control"), (&worker, "--exchange")] {
        let refused = Flowd::refused(line);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(&open(flag)) && refused.stderr.contains(next), "{}", refused.stderr);
        // It is said how others reach it only by who may be reached.
        let allowed = Flowd::refused(&[line, &["--insecure"]].concat());
        assert!(allowed.stderr.contains("is no address that others can use"), "{}", allowed.stderr);
    }
    let open_rest = ["coordinator", "--store", &store, "--listen", "0.0.0.0:0", "--control", &control];
    let refused = Flowd::refused(&open_rest);
    assert!(refused.code == 2 && refused.stderr.contains("token"), "{}", refused.stderr);
    let missing = [&worker[..5], &["--tls-ca", "a.pem", "--tls-cert", "b.pem", "--tls-key", "none.pem"]].concat();
    let refused = Flowd::refused(&missing);
    assert!(refused.code != 0 && refused.stderr.contains("can't read a.pem"), "{}", refused.stderr);
}
