//! What librdkafka is told: for input, floor and checks the same as Flow tells it.

use std::collections::BTreeMap;

use anyhow::Context;
use flow_worker::kafka::{Connection, Settings};
use rdkafka::config::ClientConfig;

/// Time that a broker has for an answer.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A client that only asks.
pub fn asking(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// As Flow's source.
pub fn reading(brokers: &str) -> anyhow::Result<ClientConfig> {
    let settings = Settings::reading(&Connection::to(brokers, &BTreeMap::new()), "flow-end-to-end")
        .context("Flow's own settings")?;
    Ok(config(&settings))
}

/// As Flow's sink, with the partitioner that Flow computes by itself.
pub fn writing(brokers: &str) -> anyhow::Result<ClientConfig> {
    let settings = Settings::writing(&Connection::to(brokers, &BTreeMap::new())).context("Flow's own settings")?;
    let mut config = config(&settings);
    config.set("partitioner", "murmur2_random");
    Ok(config)
}

fn config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in settings.iter() {
        config.set(name, value);
    }
    config
}
