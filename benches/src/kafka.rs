//! What reading and writing Kafka costs, alone: a call a message by rdkafka against Flow's batch calls, with librdkafka's own
//! settings and with Flow's. CPU of the whole process per million records, each run in a process of its own, by turns, so
//! that a busy machine hurts all alike. The figures of ADR 0004 come from here.
//!
//! `cargo run --release -p flow-benches --bin kafka-calls -- --kafka HOST:PORT`

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use flow_dataflow::call::{Blame, OnError};
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::{Batch, BatchBuilder, Polled, Row, Sink, Source};
use flow_e2e::names;
use flow_worker::kafka::{Connection, KafkaReader, KafkaWriter, Reading, Settings, Writing};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const PARTITIONS: i32 = 4;
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows of a batch, as the engine has them.
const ROWS: usize = 1024;

/// CPU of reading and writing Kafka, per million records
#[derive(Debug, Parser)]
struct Args {
    /// A running Kafka, such as one of `deployment/kafka.sh start DIR PORT`
    #[arg(long, value_name = "HOST:PORT")]
    kafka: String,
    /// JSON records of about 110 bytes
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
    /// How often each case runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Runs one case on a topic and prints its CPU seconds
    #[arg(long, value_enum, hide = true, requires = "topic")]
    case: Option<Case>,
    #[arg(long, hide = true)]
    topic: Option<String>,
}

/// A way to move records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// rdkafka, a call a message, librdkafka's settings
    PollDefaults,
    /// rdkafka, a call a message, Flow's settings
    Poll,
    /// Flow's reader
    Reader,
    /// rdkafka, a call a message, librdkafka's settings with lz4
    SendDefaults,
    /// rdkafka, a call a message, Flow's settings
    Send,
    /// Flow's writer, rows without a timestamp
    Writer,
    /// Flow's writer, rows that keep theirs
    WriterStamped,
}

impl Case {
    fn reads(self) -> bool {
        matches!(self, Case::PollDefaults | Case::Poll | Case::Reader)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match (args.case, &args.topic) {
        (Some(case), Some(topic)) => {
            println!("{}", run(case, &args.kafka, topic, args.records)?);
            Ok(())
        }
        _ => compare(&args),
    }
}

fn compare(args: &Args) -> anyhow::Result<()> {
    let (input, output) = (names::own("kafka-calls-in"), names::own("kafka-calls-out"));
    let admin: AdminClient<DefaultClientContext> = client(&args.kafka).create()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let small = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)).set("retention.bytes", "100000000");
    let whole = NewTopic::new(&input, PARTITIONS, TopicReplication::Fixed(1));
    let made = runtime.block_on(admin.create_topics([&whole, &small(&output)], &AdminOptions::new()))?;
    if let Some(Err((topic, code))) = made.into_iter().find(Result::is_err) {
        bail!("topic {topic} can't be made: {code}");
    }
    let result = rounds(args, &input, &output);
    runtime.block_on(admin.delete_topics(&[&input, &output], &AdminOptions::new()))?;
    result
}

fn rounds(args: &Args, input: &str, output: &str) -> anyhow::Result<()> {
    run(Case::Writer, &args.kafka, input, args.records)?;
    let cases = Case::value_variants();
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..args.rounds {
        for (case, figures) in cases.iter().zip(&mut figures) {
            let value = case.to_possible_value().expect("no case is skipped");
            let out = Command::new(std::env::current_exe()?)
                .args(["--kafka", &args.kafka, "--case", value.get_name(), "--records", &args.records.to_string()])
                .args(["--topic", if case.reads() { input } else { output }])
                .output()?;
            let text = String::from_utf8_lossy(&out.stdout);
            figures.push(text.trim().parse().with_context(|| String::from_utf8_lossy(&out.stderr).into_owned())?);
        }
    }
    println!("CPU seconds per million records, least and median of {} rounds", args.rounds);
    for (case, figures) in cases.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        let per_million = |seconds: f64| seconds * 1e6 / args.records as f64;
        let (least, median) = (per_million(figures[0]), per_million(figures[figures.len() / 2]));
        println!("{least:6.3} {median:6.3}  {}", case.to_possible_value().expect("no case is skipped").get_name());
    }
    Ok(())
}

/// Runs one case in this process and says what CPU it took, librdkafka's threads included.
fn run(case: Case, kafka: &str, topic: &str, records: u64) -> anyhow::Result<f64> {
    match case {
        Case::PollDefaults => poll(client(kafka).set("group.id", "bench"), topic, records),
        Case::Poll => {
            poll(&mut configured(Settings::reading(&Connection::to(kafka, &BTreeMap::new()), "bench")?), topic, records)
        }
        Case::Reader => read(kafka, topic, records),
        Case::SendDefaults => send(client(kafka).set("compression.type", "lz4"), topic, records),
        Case::Send => {
            send(&mut configured(Settings::writing(&Connection::to(kafka, &BTreeMap::new()))?), topic, records)
        }
        Case::Writer => write(kafka, topic, records, None),
        Case::WriterStamped => write(kafka, topic, records, Some(1_700_000_000_000)),
    }
}

fn client(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka);
    config
}

fn configured(settings: Settings) -> ClientConfig {
    settings.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn poll(config: &mut ClientConfig, topic: &str, records: u64) -> anyhow::Result<f64> {
    let consumer: BaseConsumer = config.create()?;
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    let begun = cpu();
    consumer.assign(&from)?;
    let (mut left, mut builder, mut last) = (records, BatchBuilder::default(), Instant::now());
    while left > 0 {
        // Nothing also means that rdkafka was told of something that is no record.
        let Some(message) = consumer.poll(Duration::from_secs(1)) else {
            if last.elapsed() > PATIENCE {
                bail!("{left} records did not come");
            }
            continue;
        };
        let message = message?;
        let (key, value) = (message.key(), message.payload());
        let timestamp = message.timestamp().to_millis();
        let (split, position) = (message.partition() as u32, message.offset());
        builder.push(Row { key, value, timestamp, headers: &[], split, position });
        if builder.rows() == ROWS {
            drop(builder.finish());
            (builder, last) = (BatchBuilder::with_capacity(ROWS, ROWS * 120), Instant::now());
        }
        left -= 1;
    }
    Ok(cpu() - begun)
}

fn read(kafka: &str, topic: &str, records: u64) -> anyhow::Result<f64> {
    let settings = Settings::reading(&Connection::to(kafka, &BTreeMap::new()), "bench")?;
    let topic = topic.to_owned();
    let slot = std::thread::current();
    let begun = cpu();
    let reading = Reading::whole(topic, settings);
    let mut reader = KafkaReader::open(reading, Arc::new(move || slot.unpark()), Arc::new(|text| eprintln!("{text}")))?;
    let (mut left, mut last) = (records, Instant::now());
    while left > 0 {
        match reader.poll(ROWS, 1 << 20)? {
            Polled::Batch(batch) => (left, last) = (left - batch.rows() as u64, Instant::now()),
            Polled::Idle => std::thread::park_timeout(Duration::from_millis(20)),
            Polled::End => bail!("an unbounded reader ended"),
        }
        if last.elapsed() > PATIENCE {
            bail!("{left} records did not come");
        }
    }
    Ok(cpu() - begun)
}

fn send(config: &mut ClientConfig, topic: &str, records: u64) -> anyhow::Result<f64> {
    let producer: BaseProducer = config.create()?;
    let batches = batches(None);
    let begun = cpu();
    for number in 0..records as usize {
        let batch = &batches[number / ROWS % batches.len()];
        let column = |id| batch.bytes(id).and_then(|c| c.get(number % ROWS));
        let (key, value) = (column(flow_frame::layout::id::KEY), column(flow_frame::layout::id::VALUE));
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        (record.key, record.payload) = (key, value);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = back;
        }
        if number.is_multiple_of(ROWS) {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(cpu() - begun)
}

/// No record is refused, so there is nothing to keep.
struct ToScreen;

impl Report for ToScreen {
    fn log(&self, _: Level, message: &str) {
        eprintln!("{message}");
    }

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("{split}:{position}").into()
    }

    fn rejected(&self, record: &Rejected) {
        eprintln!("{}", record.message);
    }
}

fn write(kafka: &str, topic: &str, records: u64, timestamp: Option<i64>) -> anyhow::Result<f64> {
    let (topic, settings) = (topic.to_owned(), Settings::writing(&Connection::to(kafka, &BTreeMap::new()))?);
    let batches = batches(timestamp);
    let begun = cpu();
    let writing = Writing::whole(topic, settings);
    let blame = Blame { on_error: OnError::Fail, report: Arc::new(ToScreen) };
    let mut writer = KafkaWriter::open(writing, blame, Arc::new(|| ()), Arc::new(|text| eprintln!("{text}")))?;
    let nap = || std::thread::sleep(Duration::from_millis(2));
    let mut left = records as usize;
    for batch in batches.iter().cycle() {
        if left == 0 {
            break;
        }
        while !writer.ready()? {
            nap();
        }
        let rows = left.min(ROWS);
        writer.write(batch.slice(0, rows))?;
        left -= rows;
    }
    while !writer.finish()? {
        nap();
    }
    Ok(cpu() - begun)
}

/// Orders as JSON, with their customers as keys: enough batches that they are not all in the processor's cache.
fn batches(timestamp: Option<i64>) -> Vec<Batch> {
    let of = |number: u64| {
        let mut builder = BatchBuilder::with_capacity(ROWS, ROWS * 120);
        for id in number * ROWS as u64..(number + 1) * ROWS as u64 {
            // A multiplicative hash: values that look like an order's, without a generator of random numbers.
            let hash = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let key = format!("c{}", hash % 100_000);
            let value = format!(
                r#"{{"id":{id},"customer":"{key}","amount":{}.{},"currency":"EUR","note":"{hash:x}","open":true}}"#,
                hash % 977,
                hash % 89,
            );
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            builder.push(Row { key, value, timestamp, headers: &[], split: 0, position: id as i64 });
        }
        builder.finish()
    };
    (0..64).map(of).collect()
}

/// Seconds of CPU that all threads of this process have used, in steps of 10 ms.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields behind the program's name, which may have blanks in it; times in user and kernel mode are 14 and 15 of all.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
