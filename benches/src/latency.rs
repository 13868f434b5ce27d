//! How late records leave: an open loop sends orders at a fixed rate, whatever becomes of them, through the simple job, and a reader
//! of committed records takes the time from when each *was to be* sent. Must never assert on a time.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use flow_e2e::toxic::{Toxic, Toxin};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;

use crate::child;
use crate::job::{Job, Setup};
use crate::orders::{Orders, Skew};
use crate::result::Percentiles;
use crate::server::Server;
use crate::settings::{self, PATIENCE};
use crate::topics::{self, PARTITIONS};

/// Latency of the simple job at a fixed rate
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Records a second
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// How long each case is measured, after its warm-up
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Which cases, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "at-least-once,one-second,one-second-far,short")]
    cases: Vec<Case>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Case {
    /// Without checkpoints
    AtLeastOnce,
    /// Exactly once, a checkpoint each second
    OneSecond,
    /// The same with 30 ms more for each answer of S3
    OneSecondFar,
    /// Exactly once, a checkpoint each 200 ms
    Short,
}

/// What counts is after that.
const WARM_UP: Duration = Duration::from_secs(8);
/// What the sender makes up for at once, so that it keeps its schedule.
const TICK: Duration = Duration::from_millis(1);

impl Case {
    fn job(self) -> Job {
        if matches!(self, Case::AtLeastOnce) { Job::Simple } else { Job::SimpleOnce }
    }

    fn interval(self) -> &'static str {
        if matches!(self, Case::Short) { "200ms" } else { "1s" }
    }
}

/// Sends and reads for one case; dropped, the job ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        child::stop(&mut self.0, Duration::from_secs(10));
    }
}

/// Measures all cases and tells them.
pub fn run(args: &Args, setup: &Setup, minio: &Server, dir: &Path) -> anyhow::Result<()> {
    println!(
        "{} records/s, {} s each; from the scheduled moment of sending to a reader of committed records",
        args.rate, args.seconds
    );
    println!("case             P50      P90      P99      P99.9    most (ms)");
    for case in &args.cases {
        let toxic = Toxic::before(&minio.address);
        if matches!(case, Case::OneSecondFar) {
            toxic.set(Toxin::Delay(Duration::from_millis(30)));
        }
        let mut setup = setup.clone();
        setup.interval = case.interval().to_owned();
        setup.checkpoints.1 = format!(", endpoint: \"http://{}\", region: us-east-1", toxic.address);
        let name = case.to_possible_value().context("a case has a name")?;
        setup.prefix = format!("{}-{}", setup.prefix, name.get_name());
        let found = measure(args, *case, &setup, &dir.join(name.get_name()))?;
        let ms = |micros: u32| f64::from(micros) / 1000.0;
        println!(
            "{:<14} {:>7.1}  {:>7.1}  {:>7.1}  {:>7.1}  {:>7.1}   {} records",
            name.get_name(),
            ms(found.p50),
            ms(found.p90),
            ms(found.p99),
            ms(found.p999),
            ms(found.most),
            found.count
        );
    }
    println!(
        "They leave out that the broker, MinIO, sender and reader share the processors with the job. Before each transaction the lane \
         calls init and reads its progress, which is in the figures."
    );
    Ok(())
}

fn measure(args: &Args, case: Case, setup: &Setup, dir: &Path) -> anyhow::Result<Percentiles> {
    fs::create_dir_all(dir)?;
    let (input, output) = (setup.input(Skew::Uniform), format!("{}-out", setup.prefix));
    topics::create(&setup.brokers, &input)?;
    topics::create(&setup.brokers, &output)?;
    let mut command = setup.endless(case.job(), &output, dir)?;
    let log = dir.join("log");
    let file = File::create(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let job = Running(child::start(&mut command)?);
    let (begun, stop, latencies) =
        (Instant::now() + Duration::from_secs(3), Arc::new(AtomicBool::new(false)), Arc::default());
    let reader = {
        let (brokers, stop, rate, latencies) = (setup.brokers.clone(), stop.clone(), args.rate, Arc::clone(&latencies));
        std::thread::spawn(move || read(&brokers, &output, (begun, rate), &stop, &latencies))
    };
    let count = args.rate * (WARM_UP.as_secs() + args.seconds);
    let sent = send(&setup.brokers, &input, (begun, args.rate), count);
    std::thread::sleep(Duration::from_secs(5));
    stop.store(true, SeqCst);
    let read = reader.join().map_err(|_| anyhow::anyhow!("the reader is gone"))?;
    drop(job);
    sent.and(read).with_context(|| format!("the job's log: {}", log.display()))?;
    let latencies: Vec<u32> = std::mem::take(&mut latencies.lock().unwrap_or_else(PoisonError::into_inner));
    let least = args.rate * args.seconds * 8 / 10;
    if (latencies.len() as u64) < least {
        bail!("{} records came, and {least} had to; the job's log: {}", latencies.len(), log.display());
    }
    Percentiles::of(latencies).context("nothing came")
}

/// Sends so many orders, each when it is due.
fn send(brokers: &str, topic: &str, (begun, rate): (Instant, u64), count: u64) -> anyhow::Result<()> {
    let mut config = settings::writing(brokers)?;
    let producer: BaseProducer = config.set("linger.ms", "0").create()?;
    let (mut orders, mut value, mut sent) = (Orders::new(count, Skew::Uniform), Vec::new(), 0_u64);
    while sent < count {
        let due = (Instant::now().saturating_duration_since(begun).as_secs_f64() * rate as f64) as u64;
        while sent < due.min(count)
            && let Some((_, order)) = orders.next()
        {
            value.clear();
            serde_json::to_writer(&mut value, &order)?;
            let record = BaseRecord::to(topic).key(order.customer.as_bytes()).payload(value.as_slice());
            producer.send(record).map_err(|(error, _)| error)?;
            sent += 1;
        }
        producer.poll(Duration::ZERO);
        child::check_interrupted()?;
        std::thread::sleep(TICK);
    }
    producer.flush(PATIENCE).context("Kafka did not take all orders in time")
}

/// Takes the time of each record that comes, in microseconds.
fn read(
    brokers: &str,
    topic: &str,
    (begun, rate): (Instant, u64),
    stop: &AtomicBool,
    latencies: &Mutex<Vec<u32>>,
) -> anyhow::Result<()> {
    let mut config = settings::reading(brokers)?;
    let consumer: BaseConsumer =
        config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "5").create()?;
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&from)?;
    let mut mine = Vec::new();
    while !stop.load(SeqCst) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let due = id(message.payload().unwrap_or_default())? as f64 / rate as f64;
        let late = begun.elapsed().as_secs_f64() - due;
        if due >= WARM_UP.as_secs_f64() {
            mine.push((late * 1e6) as u32);
        }
    }
    *latencies.lock().unwrap_or_else(PoisonError::into_inner) = mine;
    Ok(())
}

/// The number of an order, which its JSON begins with.
fn id(value: &[u8]) -> anyhow::Result<u64> {
    let digits = value.strip_prefix(b"{\"id\":").context("no order")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).context("no order")?;
    Ok(std::str::from_utf8(&digits[..end])?.parse()?)
}
