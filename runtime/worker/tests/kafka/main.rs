//! Reading and writing against a real Kafka, judged by rdkafka's own clients.

mod bounded;
mod broker;
mod failing;
mod record;
mod round_trip;
