//! `GET /metrics` of a worker: what it exchanges with other workers, and what its process uses, for Prometheus as OpenMetrics text.
//! What jobs and operators have done the leading coordinator tells.

use std::collections::BTreeMap;
use std::fmt;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use flow_worker::network::{Figures, Network, Traffic};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Name, help, and the figure.
type Metric<Of, Figure> = (&'static str, &'static str, fn(&Of) -> Figure);

/// Name, help, and the count of what has gone between this worker and another one.
const COUNTS: [Metric<Traffic, f64>; 5] = [
    ("flow_exchange_sent_bytes", "Bytes of batches sent, as they travel", |t| t.sent_bytes as f64),
    ("flow_exchange_sent_batches", "Batches sent", |t| t.sent_batches as f64),
    ("flow_exchange_received_bytes", "Bytes of batches that came, as they travel", |t| t.received_bytes as f64),
    ("flow_exchange_received_batches", "Batches that came", |t| t.received_batches as f64),
    ("flow_exchange_blocked_seconds", "Time in which channels had a batch and no credit, summed over channels", |t| {
        t.blocked.as_secs_f64()
    }),
];

/// How the channels with a peer stand now, added up.
#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    credit: i64,
    granted: i64,
    unread: u64,
}

/// Answers until the listener fails.
pub async fn serve(listener: TcpListener, network: Network) -> std::io::Result<()> {
    let answer = move || {
        let text = render(network.figures());
        std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], text))
    };
    axum::serve(listener, Router::new().route("/metrics", get(answer))).await
}

fn render(figures: Figures) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Node(figures)));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes whatever is written");
    text
}

#[derive(Debug)]
struct Node(Figures);

impl Collector for Node {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let Node(figures) = self;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = to.encode_descriptor("flow_build_info", "The worker's version", None, MetricType::Gauge)?;
        ConstGauge::new(1u64).encode(build.encode_family(&labels)?)?;
        for (name, help, count) in COUNTS {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (peer, traffic) in &figures.peers {
                ConstCounter::new(count(traffic)).encode(family.encode_family(&[("peer", peer.as_str())])?)?;
            }
        }
        let mut standings: BTreeMap<&str, Standing> = BTreeMap::new();
        for exchange in &figures.exchanges {
            let standing = standings.entry(&exchange.peer).or_default();
            standing.credit += exchange.credit;
            standing.granted += exchange.granted;
            standing.unread += exchange.unread;
        }
        let gauges: [Metric<Standing, i64>; 3] = [
            (
                "flow_exchange_credit_bytes",
                "Bytes that this worker may send now; below zero behind large batches",
                |s| s.credit,
            ),
            ("flow_exchange_granted_bytes", "Bytes that the other worker may send now", |s| s.granted),
            ("flow_exchange_unread_bytes", "Bytes that have come and were not read", |s| {
                i64::try_from(s.unread).unwrap_or(i64::MAX)
            }),
        ];
        for (name, help, value) in gauges {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (peer, standing) in &standings {
                ConstGauge::new(value(standing)).encode(family.encode_family(&[("peer", *peer)])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn traffic_has_a_series_for_each_peer() {
        let traffic = Traffic { sent_bytes: 7, blocked: Duration::from_millis(1500), ..Traffic::default() };
        let peers = [("w1".to_owned(), traffic), ("w2".to_owned(), Traffic::default())].into();
        let text = render(Figures { peers, exchanges: Vec::new() });
        for line in [
            r#"flow_exchange_sent_bytes_total{peer="w1"} 7.0"#,
            r#"flow_exchange_blocked_seconds_total{peer="w1"} 1.5"#,
            r#"flow_exchange_received_batches_total{peer="w2"} 0.0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
