//! The floor: what a program costs that does the work of the simple job by hand, with rdkafka and serde_json, and promises
//! nothing. Must stay as plain as a good engineer would write it in an afternoon: no batch calls, no tricks.

use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::orders::{LEAST, Order};
use crate::settings::{self, PATIENCE};
use crate::topics::PARTITIONS;

/// What to read and write.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub brokers: String,
    #[arg(long)]
    pub from: String,
    #[arg(long)]
    pub to: String,
    /// Threads; each has a consumer, a producer and its share of the partitions.
    #[arg(long)]
    pub parallelism: i32,
}

/// Reads what the topic has now, to its end.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let threads: Vec<_> = (0..args.parallelism)
        .map(|thread| {
            let args = args.clone();
            thread::spawn(move || share(&args, thread))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    Ok(())
}

/// The partitions of one thread.
fn share(args: &Args, thread: i32) -> anyhow::Result<()> {
    let consumer: BaseConsumer = settings::reading(&args.brokers)?.create()?;
    let producer: BaseProducer = settings::writing(&args.brokers)?.create()?;
    let mut from = TopicPartitionList::new();
    for partition in (0..PARTITIONS).filter(|p| p % args.parallelism == thread) {
        from.add_partition_offset(&args.from, partition, Offset::Beginning)?;
    }
    consumer.assign(&from)?;
    let mut open = from.count();
    let (mut value, mut since_poll) = (Vec::new(), 0);
    while open > 0 {
        let message = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => message,
            // Told because a bounded source of Flow is told too.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                open -= 1;
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
            None => continue,
        };
        let payload = message.payload().context("an order without a value")?;
        let mut order: Order = serde_json::from_slice(payload)?;
        order.amount *= 2.0;
        if order.amount < LEAST {
            continue;
        }
        value.clear();
        serde_json::to_writer(&mut value, &order)?;
        send(&producer, &args.to, &message, &value)?;
        since_poll += 1;
        if since_poll == 1000 {
            producer.poll(Duration::ZERO);
            since_poll = 0;
        }
    }
    producer.flush(PATIENCE)?;
    if producer.in_flight_count() > 0 {
        bail!("Kafka did not take all orders");
    }
    Ok(())
}

fn send(producer: &BaseProducer, to: &str, of: &BorrowedMessage<'_>, value: &[u8]) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(to).payload(value);
    record.key = of.key();
    record.timestamp = of.timestamp().to_millis();
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
