//! Reading and writing against a real Kafka, judged by rdkafka's own clients.

mod bounded;
mod failing;
mod record;
mod round_trip;

use flow_e2e::broker;
