//! What strangers send to the daemon's port, while a job runs beside.

mod https;

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::flowd::{Flowd, counter};

const GENERATOR: &str = "
sources:
  in: {generator: {rate: 1000, value: 'x'}}
sinks:
  out: {blackhole: {}, from: in}
";

const UPLOAD: u64 = 2 << 30;

fn connect(flowd: &Flowd) -> TcpStream {
    let socket = TcpStream::connect(flowd.url.strip_prefix("http://").expect("an address")).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    socket
}

#[test]
fn an_upload_of_2_gb_is_refused_by_its_limit_and_takes_no_memory() {
    let flowd = Flowd::with(&["--body-max", "32Mi"]);
    let job = flowd.deploy("beside", GENERATOR);
    let before = flowd.peak_rss();
    let done = counter(&flowd.describe(&job), "out", "records-out");
    for is_chunked in [false, true] {
        let answer = flowd.upload_zeros(UPLOAD, is_chunked);
        assert!(answer.starts_with("HTTP/1.1 413 "), "chunked: {is_chunked}, {answer}");
        assert!(answer.contains("pipeline and components together are larger than 32Mi"), "{answer}");
        assert!(answer.contains("--body-max"), "it says what to do: {answer}");
    }
    let grown = flowd.peak_rss() - before;
    assert!(grown < 64 << 20, "{} MiB more than before", grown >> 20);
    flowd.until(&job, |description| counter(description, "out", "records-out") > done);
}

#[test]
fn garbage_and_silent_clients_leave_the_job_alone() {
    let flowd = Flowd::new();
    let job = flowd.deploy("beside", GENERATOR);
    let mut seed = 7u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    // They hold what they have got for as long as they may.
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(&flowd)).collect();
    for round in 0..200usize {
        let mut socket = connect(&flowd);
        let bytes: Vec<u8> = match round % 4 {
            0 => (0..2048).map(|_| noise()).collect(),
            1 => [
                b"POST /jobs/submit HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(),
                &[noise(); 64],
            ]
            .concat(),
            2 => b"GET /jobs/../../etc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            _ => [b"GET ".as_slice(), &vec![b'a'; 100_000], b" HTTP/1.1\r\n\r\n"].concat(),
        };
        // It may be gone before it has got all of it.
        _ = socket.write_all(&bytes);
    }
    let (begun, before) = (Instant::now(), counter(&flowd.describe(&job), "out", "records-out"));
    sleep(Duration::from_secs(2));
    let (passed, after) = (begun.elapsed(), counter(&flowd.describe(&job), "out", "records-out"));
    let expected = passed.as_millis() as u64;
    assert!(after - before > expected / 8, "{} records in {passed:?} of 1000 a second", after - before);
    assert_eq!(flowd.describe(&job)["state"], "running");
    drop(silent);
    assert!(!flowd.log().contains("panicked"), "{}", flowd.log());
}
