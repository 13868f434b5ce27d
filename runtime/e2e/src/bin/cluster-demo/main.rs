//! `make cluster-demo`: two coordinators and three workers, of which some are killed and cut off and whose job is scaled, while it is
//! fed; then what came out is compared with what went in. It ends with 0 if that is exact. `cluster-demo namespaces | loopback`.

mod ground;
mod tell;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::broker::Broker;
use flow_e2e::chaos::input::{Input, PARTITIONS, fed};
use flow_e2e::chaos::oracle::Oracle;
use flow_e2e::cluster::Cluster;
use flow_e2e::minio::Minio;
use flow_e2e::probe::Probe;
use serde_json::Value;

use ground::{COORDINATORS, Ground, WORKERS, coordinator};
use tell::{Step, chapter, line};

/// So many keys are counted.
const KEYS: u64 = 1000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How the job is called.
const NAME: &str = "counted";

fn main() -> ExitCode {
    let ground = match std::env::args().nth(1).as_deref() {
        Some("namespaces") => Ground::namespaces(),
        Some("loopback") => Ok(Ground::Loopback(None)),
        _ => {
            eprintln!("usage: cluster-demo namespaces | loopback");
            return ExitCode::from(2);
        }
    };
    match ground.and_then(|ground| Demo::start(ground)?.play()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\ncluster-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All that takes part.
struct Demo {
    ground: Ground,
    // Before what they use.
    cluster: Cluster,
    job: String,
    /// What came as it was fed, and the counts.
    topics: [String; 2],
    probe: Probe<2>,
    _minio: Minio,
    broker: Broker,
    input: Option<Input>,
}

impl Demo {
    fn start(mut ground: Ground) -> Result<Demo, String> {
        chapter("Two coordinators, three workers, Kafka and MinIO, as processes of their own");
        line(ground.describe());
        let step = Step::begin("Kafka and MinIO");
        let (broker, brokers) = ground.kafka();
        let minio = Minio::start();
        step.done();
        let step = Step::begin("flowd coordinator c1, c2; flowd worker w1, w2, w3, with two slots each");
        let cluster = ground.cluster(&minio);
        step.done();
        let input = Input::new(&broker, KEYS);
        let topics = [broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[])];
        chapter(
            "A job: records of a topic, as they came into a second one, counted by key into a third one, exactly once",
        );
        let pipeline = pipeline(&brokers, &input.topic, &topics);
        pipeline.lines().for_each(|text| line(&format!("  {text}")));
        let step = Step::begin("flowctl deploy counted.yaml");
        let job = cluster.coordinators[0].deploy(NAME, &pipeline);
        step.end(&job);
        let probe = Probe::new(&broker, &input.topic, [&topics[0], &topics[1]]);
        Ok(Demo { ground, cluster, job, topics, probe, _minio: minio, broker, input: Some(input) })
    }

    /// Whether the result is exact.
    fn play(mut self) -> Result<bool, String> {
        let input = self.input.take().ok_or("it is played once")?;
        let (count, input) = (input.counter(), Mutex::new(input));
        fed(&input, 1, || self.story(&count))?;
        chapter("The result, as readers of committed records see it");
        let records = count.load(SeqCst) + self.probe.sent();
        let mut is_exact = true;
        for (topic, (what, first)) in self.topics.iter().zip([("records as they came", 0), ("updates of counts", 1)]) {
            let step = Step::begin(&format!("{what}: {records} wanted"));
            let mut oracle = Oracle::open(&self.broker, topic, first);
            oracle.until(records, PATIENCE);
            oracle.rest();
            let Oracle { missing, duplicated, wrong, .. } = oracle;
            let missing = missing + records.saturating_sub(oracle.reached());
            step.end(&format!("{} read, {missing} missing, {duplicated} twice", oracle.reached()));
            is_exact &= (missing, duplicated, wrong, oracle.reached()) == (0, 0, 0, records);
        }
        chapter(if is_exact { "Exact: nothing is missing, nothing is there twice." } else { "NOT exact." });
        Ok(is_exact)
    }

    fn story(&mut self, count: &AtomicU64) -> Result<(), String> {
        chapter("It is fed about 3,000 records a second, all the time");
        self.until_out("the first record")?;
        self.show(count);

        chapter("A worker is killed");
        let victim = self.busy()?;
        line(&format!("kill -9 of {}", self.ground.worker(victim)));
        self.cluster.workers[victim].kill();
        self.until_out("a record that is fed now")?;
        self.show(count);
        line(&format!("{} is started again", self.ground.worker(victim)));
        self.cluster.workers[victim].start_again();
        self.until_all_there()?;

        chapter("The coordinator that leads is killed");
        let leader = self.cluster.leader().ok_or("nobody leads")?;
        line(&format!("kill -9 of {}", coordinator(leader)));
        self.cluster.coordinators[leader].kill();
        self.until_out("a record that is fed now")?;
        let next = self.cluster.leader().ok_or("nobody leads")?;
        line(&format!("{} leads now; {} is started again, and stands by", coordinator(next), coordinator(leader)));
        self.cluster.coordinators[leader].start_again();
        self.show(count);

        chapter("A worker is cut off from all others, and comes back when its work is done by others");
        let victim = self.busy()?;
        line(&format!("the link of {} is cut", self.ground.worker(victim)));
        self.ground.cut_off(victim)?;
        self.until_out("a record that is fed now")?;
        self.show(count);
        line("the link is there again");
        self.ground.mend(victim)?;
        self.until_all_there()?;

        chapter("The job is scaled while it runs");
        for parallelism in [6, 2] {
            self.scale(parallelism)?;
        }
        self.show(count);
        Ok(())
    }

    /// Waits for new output: a record that is written now has to come out, its count too.
    fn until_out(&mut self, what: &str) -> Result<(), String> {
        let step = Step::begin(&format!("{what} has come out"));
        let came = self.probe.send(PATIENCE, || ());
        match came.iter().copied().max().flatten().filter(|_| !came.contains(&None)) {
            Some(took) => step.end(&format!("after {:.1} s", took.as_secs_f32())),
            None => return Err(format!("nothing comes out; what the nodes say:\n{}", self.cluster.logs())),
        }
        Ok(())
    }

    fn until_all_there(&self) -> Result<(), String> {
        let step = Step::begin("all workers are there");
        let begun = Instant::now();
        let is_active = |worker: &&Value| worker["state"] == "active";
        while self.workers().iter().filter(is_active).count() < WORKERS.len() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("a worker does not come back; what the nodes say:\n{}", self.cluster.logs()));
            }
            sleep(Duration::from_millis(50));
        }
        step.done();
        Ok(())
    }

    fn workers(&self) -> Vec<Value> {
        self.cluster.workers().unwrap_or_default()
    }

    /// A worker that runs a part of the job.
    fn busy(&self) -> Result<usize, String> {
        self.cluster.busy().ok_or_else(|| "no worker runs a part of the job".to_owned())
    }

    /// Who runs what now.
    fn show(&self, count: &AtomicU64) {
        let used = |worker: &Value| worker["running"][0]["slots"].as_u64().unwrap_or(0);
        let workers = self.workers();
        let there = workers.iter().filter(|worker| worker["state"] == "active");
        let running = there.map(|worker| format!("{} {}", worker["name"].as_str().unwrap_or_default(), used(worker)));
        let running: Vec<String> = running.collect();
        line(&format!("{} records were fed; slots in use: {}", count.load(SeqCst), running.join(", ")));
    }

    /// Has the job go on with so many subtasks of all that it has: where one node hands over to more or fewer subtasks of the next,
    /// other than by key, records overtake each other, and whoever judges takes that for a loss.
    fn scale(&mut self, parallelism: u32) -> Result<(), String> {
        let asked = format!("{}={parallelism}", self.job);
        let step = Step::begin(&format!("flowctl scale {asked}"));
        let called = self.cluster.coordinators[COORDINATORS - 1].ctl(&["scale", &asked]);
        if called.stderr.contains("unrecognized subcommand") {
            step.end("not done: this flowctl can't");
            return Ok(());
        }
        if called.code != 0 {
            return Err(format!("it is not scaled: {}", called.stderr.trim()));
        }
        step.done();
        self.until_out("a record that is fed now")
    }
}

fn pipeline(brokers: &str, from: &str, [ids, counts]: &[String; 2]) -> String {
    let exactly = format!("brokers: '{brokers}', delivery: exactly-once");
    format!(
        "parallelism: 3\ncheckpoint: {{interval: 1s}}\nrestart: {{pause: 50ms, longest: 500ms, attempts: 100}}\n\
         sources:\n  in: {{kafka: {{brokers: '{brokers}', topic: {from}}}}}\n\
         operators:\n  as-it-came: {{component: '{{plugins}}/identity.wasm', from: in}}\n  \
         counts: {{component: '{{plugins}}/counter.wasm', from: as-it-came, key: $key, config: {{format: number}}}}\n\
         sinks:\n  ids: {{kafka: {{topic: {ids}, {exactly}}}, from: as-it-came}}\n  \
         out: {{kafka: {{topic: {counts}, {exactly}}}, from: counts}}\n"
    )
}
