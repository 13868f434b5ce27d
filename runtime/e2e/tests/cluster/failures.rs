//! How long a job stands still when a node fails, by the clock of who waits for its output: a record that is written at the moment of
//! the failure has to come out. Under load, and exactly once whatever happens. The bounds are those of a loaded machine; what was
//! measured is printed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use flow_e2e::broker::{Broker, free_port};
use flow_e2e::chaos::input::{Input, PARTITIONS, fed};
use flow_e2e::chaos::oracle::Oracle;
use flow_e2e::cluster::Cluster;
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::minio::Minio;
use flow_e2e::node::Node;
use flow_e2e::probe::Probe;
use flow_e2e::toxic::Toxin;
use flow_e2e::ways::Ways;

use crate::load::idle;
use crate::{PATIENCE, busy, completed, until};

/// Between the failure of a node and new output, where nobody else uses the machine it is half of this.
const LONG: Duration = Duration::from_secs(10);
/// What is written at least once is not to wait for a leader: so long it may take on a loaded machine.
const SHORT: Duration = Duration::from_secs(2);
/// How long a slow worker does nothing, and how long it works then. It is suspected after more than that.
const STOPPED: Duration = Duration::from_millis(300);
const GOING: Duration = Duration::from_millis(100);
/// How many records are followed meanwhile, one after the other.
const PROBES: usize = 8;

/// A job that carries what it is fed to one topic exactly once, with a checkpoint a second, and to another one as soon as it can.
pub struct Line<'a> {
    broker: &'a Broker,
    /// Whoever feeds it has it meanwhile.
    input: Option<Mutex<Input>>,
    /// Exactly once, and at least once.
    to: [String; 2],
    probe: Probe<2>,
    /// At least once alone.
    at_once: Probe<1>,
}

impl Line<'_> {
    pub fn start<'a>(broker: &'a Broker, coordinator: &Flowd) -> Line<'a> {
        let input = Input::new(broker, 500);
        let (from, to) = (input.topic.clone(), [broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[])]);
        let (brokers, [exact, fast]) = (&broker.address, &to);
        let pipeline = format!(
            "parallelism: 4\ncheckpoint: {{interval: 1s}}\nrestart: {{pause: 50ms, longest: 500ms, attempts: 100}}\n\
             sources:\n  in: {{kafka: {{brokers: '{brokers}', topic: {from}}}}}\n\
             operators:\n  same: {{component: '{{plugins}}/identity.wasm', from: in}}\n\
             sinks:\n  exact: {{kafka: {{brokers: '{brokers}', topic: {exact}, delivery: exactly-once}}, from: same}}\n  \
             fast: {{kafka: {{brokers: '{brokers}', topic: {fast}, delivery: at-least-once}}, from: same}}\n"
        );
        coordinator.deploy("line", &pipeline);
        let (probe, at_once) = (Probe::new(broker, &from, [exact, fast]), Probe::new(broker, &from, [fast]));
        Line { broker, input: Some(Mutex::new(input)), to, probe, at_once }
    }

    /// Writes a record and says after how long it has come out exactly once, and how long one took at the most meanwhile to come out at
    /// least once.
    #[track_caller]
    pub fn probe(&mut self, cluster: &Cluster) -> [Duration; 2] {
        let Line { probe, at_once, .. } = self;
        let mut longest = Some(Duration::ZERO);
        let [exact, fast] = probe.send(PATIENCE, || {
            let [took] = at_once.send(PATIENCE, || ());
            longest = longest.zip(took).map(|(longest, took)| longest.max(took));
        });
        let came = exact.zip(fast).zip(longest).map(|((exact, fast), longest)| [exact, fast.max(longest)]);
        came.unwrap_or_else(|| panic!("no output: {exact:?}, {fast:?}, {longest:?}\n{}", cluster.logs()))
    }

    /// Does something while the job is fed.
    pub fn under_load<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        let input = self.input.take().expect("nobody feeds it yet");
        let done = fed(&input, 1, || what(self));
        self.input = Some(input);
        done
    }

    /// Holds that all that it was fed has come out, and exactly once where that is promised.
    #[track_caller]
    pub fn until_all(&self, cluster: &Cluster) {
        let input = self.input.as_ref().expect("nobody feeds it any more");
        let all = input.lock().expect("feeding does not panic").fed() + self.probe.sent() + self.at_once.sent();
        for (to, is_exact) in self.to.iter().zip([true, false]) {
            let mut oracle = Oracle::open(self.broker, to, 0);
            let reached = oracle.until(all, PATIENCE);
            oracle.rest();
            let Oracle { missing, duplicated, wrong, .. } = oracle;
            let is_right = reached && missing == 0 && wrong == 0 && (duplicated == 0 || !is_exact);
            let found = format!("{missing} missing, {duplicated} twice, {} of {all}", oracle.reached());
            assert!(is_right, "{to}: {found}\n{}", cluster.logs());
            println!("{}: {found}", if is_exact { "exactly once" } else { "at least once" });
        }
    }
}

#[test]
fn a_killed_worker_costs_seconds() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 1, &[2, 2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        for _ in 0..2 {
            let at = busy(&cluster);
            cluster.workers[at].kill();
            let [exact, fast] = line.probe(&cluster);
            println!("kill -9 of a worker: first new output after {exact:.1?} (at least once {fast:.1?})");
            assert!(exact < LONG, "{}", cluster.logs());
            cluster.workers[at].start_again();
            cluster.until_there(3);
        }
    });
    line.until_all(&cluster);
}

#[test]
fn a_killed_leader_costs_seconds_and_what_needs_none_goes_on() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 2, &[2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        for _ in 0..2 {
            let leader = cluster.leader().expect("somebody leads");
            cluster.coordinators[leader].kill();
            let [exact, fast] = line.probe(&cluster);
            println!("kill -9 of the leader: first new output after {exact:.1?} (at least once {fast:.1?})");
            assert!(exact < LONG && fast < SHORT, "{}", cluster.logs());
            cluster.coordinators[leader].start_again();
            cluster.until_there(2);
        }
    });
    line.until_all(&cluster);
}

#[test]
fn a_head_that_is_gone_fails_its_job_and_is_not_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = format!("127.0.0.1:{}", free_port());
    let store = directory.path().display().to_string();
    let coordinator = Node::coordinator(&store, &format!("127.0.0.1:{}", free_port()), &control, "").start();
    let cluster = Cluster::of(vec![coordinator], vec![Node::worker("w0", 1, &[control], "").start()]);
    let coordinator = &cluster.coordinators[0];
    let job = coordinator.submit_text("gone", &idle("gone", 1)).expect("it is accepted");
    until(&cluster, || completed(coordinator, &job) > 1);
    let head = directory.path().join("checkpoints/gone/HEAD");
    std::fs::rename(&head, directory.path().join("HEAD")).expect("it is there");
    let ended = coordinator.ended(&job);
    assert_eq!(state(&ended), "failed", "{}", cluster.logs());
    let logged = coordinator.ctl(&["logs", &job]).stdout;
    assert!(logged.contains("HEAD was deleted") && logged.contains("put it back"), "{logged}");
    assert!(!head.exists(), "nothing overwrites it");
}

#[test]
fn a_worker_that_hangs_is_given_up_and_comes_back() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let cluster = Cluster::new(minio, 1, &[2, 2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        let at = busy(&cluster);
        cluster.workers[at].signal("STOP");
        let [exact, fast] = line.probe(&cluster);
        println!("SIGSTOP of a worker: first new output after {exact:.1?} (at least once {fast:.1?})");
        assert!(exact < LONG, "{}", cluster.logs());
        cluster.workers[at].signal("CONT");
        cluster.until_there(3);
        line.probe(&cluster);
    });
    line.until_all(&cluster);
}

/// A worker that is slow and not dead, since its process is stopped three quarters of the time: never for so long that it is given up.
#[test]
fn a_slow_worker_is_kept_and_holds_up_nobody_else() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 1, &[2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        // The job takes all slots of the first two.
        cluster.add_worker("beside", 2);
        let coordinator = &cluster.coordinators[0];
        let other = coordinator.submit_text("other", &idle("other", 2)).expect("it is accepted");
        until(&cluster, || completed(coordinator, &other) > 0);
        let before = completed(coordinator, &other);
        let (worker, over) = (&cluster.workers[0], AtomicBool::new(false));
        let begun = Instant::now();
        let took: Vec<[Duration; 2]> = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    worker.signal("STOP");
                    sleep(STOPPED);
                    worker.signal("CONT");
                    sleep(GOING);
                }
            });
            let _over = Over(&over);
            (0..PROBES).map(|_| line.probe(&cluster)).collect()
        });
        let (exact, fast) = (took.iter().map(|[exact, _]| exact), took.iter().map(|[_, fast]| fast));
        let longest = exact.max().expect("there are some");
        println!("a worker stopped {STOPPED:?} of {:?}: output after {longest:.1?} at most", STOPPED + GOING);
        assert!(*longest < LONG, "{}", cluster.logs());
        // Some of them have gone by the worker that is not slow.
        assert!(fast.min().is_some_and(|fast| *fast < SHORT), "{took:?}\n{}", cluster.logs());
        // A checkpoint a second.
        let (passed, done) = (begun.elapsed().as_secs(), completed(coordinator, &other) - before);
        assert!(done >= passed / 2, "{done} checkpoints of the other job in {passed} s\n{}", cluster.logs());
        let log = coordinator.log();
        assert!(!log.contains("is lost"), "{}", cluster.logs());
    });
    line.until_all(&cluster);
}

/// Says so when it goes, however that comes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// It reaches Kafka all the time: what it writes there must not count, and must not keep others from writing.
#[test]
fn a_worker_that_is_cut_off_is_given_up_and_comes_back() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let (cluster, ways) = Ways::cluster(minio, 1, &[2, 2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        ways.cut_off(busy(&cluster), true);
        let [exact, fast] = line.probe(&cluster);
        println!("a worker cut off: first new output after {exact:.1?} (at least once {fast:.1?})");
        assert!(exact < LONG, "{}", cluster.logs());
        ways.mend();
        cluster.until_there(3);
        line.probe(&cluster);
    });
    line.until_all(&cluster);
}

#[test]
fn a_leader_that_hangs_is_replaced_and_follows() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let cluster = Cluster::new(minio, 2, &[2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        let leader = cluster.leader().expect("somebody leads");
        cluster.coordinators[leader].signal("STOP");
        let [exact, fast] = line.probe(&cluster);
        println!("SIGSTOP of the leader: first new output after {exact:.1?} (at least once {fast:.1?})");
        assert!(exact < LONG, "{}", cluster.logs());
        let lost = || cluster.coordinators[leader].log().matches("leads no more in term ").count();
        let before = lost();
        cluster.coordinators[leader].signal("CONT");
        until(&cluster, || lost() > before);
        line.probe(&cluster);
    });
    line.until_all(&cluster);
}

/// A request whose answer never comes is not waited for: another one leads meanwhile.
#[test]
fn a_store_that_has_swallowed_requests_is_asked_again() {
    let minio = Minio::shared();
    let (mut cluster, ways) = Ways::cluster(minio, 2, &[1]);
    let leader = cluster.leader().expect("somebody leads");
    ways.to_store(Toxin::Stall);
    sleep(Duration::from_millis(1500));
    ways.to_store(Toxin::None);
    cluster.coordinators[leader].kill();
    let begun = Instant::now();
    until(&cluster, || cluster.leader() == Some(1 - leader));
    println!("kill -9 of the leader after a while without a store: another one leads after {:.1?}", begun.elapsed());
    assert!(begun.elapsed() < LONG, "{}", cluster.logs());
}

/// Node by node, as an upgrade does it.
#[test]
fn a_rolling_restart_loses_nothing() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 2, &[2, 2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        let nodes = cluster.coordinators.len() + cluster.workers.len();
        for node in 0..nodes {
            let Cluster { coordinators, workers, .. } = &mut cluster;
            let (restarted, kind) = match node.checked_sub(coordinators.len()) {
                Some(worker) => (&mut workers[worker], "worker"),
                None => (&mut coordinators[node], "coordinator"),
            };
            let begun = Instant::now();
            restarted.signal("TERM");
            while !restarted.is_dead() {
                assert!(begun.elapsed() < PATIENCE, "{}", restarted.log());
                sleep(Duration::from_millis(10));
            }
            let ended = begun.elapsed();
            restarted.start_again();
            let [exact, fast] = line.probe(&cluster);
            cluster.until_there(cluster.workers.len());
            println!("restart of a {kind}: it ends after {ended:.1?}, output {exact:.1?} (at least once {fast:.1?})");
        }
    });
    line.until_all(&cluster);
}
