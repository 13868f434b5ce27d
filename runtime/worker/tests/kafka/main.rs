//! Reading and writing against a real Kafka, judged by rdkafka's own clients.

mod bounded;
mod cluster;
mod contract;
mod destinations;
mod epochs;
mod failing;
mod lanes;
mod record;
mod round_trip;
mod topics;

use flow_e2e::broker;
