//! `GET /metrics`: what jobs and their operators have done, for Prometheus, as OpenMetrics text.
//!
//! The number of series is bounded by what pipelines name, never by records, keys, subtasks or how often a job was
//! deployed: subtasks are added up (`GET /jobs/{job}/metrics` has each), and of the jobs of one name the newest counts. The
//! partitions of a source are the cluster's, so no more than [`PARTITIONS_TOLD`] have series of their own.

use std::fmt;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use flow_model::api::{
    CALL_BOUNDS_US, CallFigures, Checkpoint, CheckpointSummary, Counters, Figures, JobState, StateFigures,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::refusal::Refused;
use super::{Api, of_cluster};
use crate::jobs::Tally;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// So many partitions of a source have a series each, by topic and number; the others count in the source's lag.
const PARTITIONS_TOLD: usize = 1000;

/// What is told of one figure of a node.
type Metric<F> = (&'static str, &'static str, fn(&F) -> u64);

/// Name, help, and the count of a node.
const COUNTS: [Metric<Figures>; 6] = [
    ("flow_operator_records_in", "Records taken", |f| f.records_in),
    ("flow_operator_records_out", "Records given; of a sink, written", |f| f.records_out),
    ("flow_operator_bytes_in", "Bytes of the values of the records taken", |f| f.bytes_in),
    ("flow_operator_bytes_out", "Bytes of the values of the records given", |f| f.bytes_out),
    ("flow_operator_records_rejected", "Records that left the stream, skipped or as dead letters", |f| f.rejected),
    ("flow_operator_dead_letters", "Records rejected that became dead letters", |f| f.dead_letters),
];

/// The same with microseconds.
const TIMES: [Metric<Figures>; 4] = [
    ("flow_operator_busy_seconds", "Time that slots spent in it, all subtasks together", |f| f.busy_us),
    ("flow_operator_backpressured_seconds", "Time in which what is behind it took nothing more", |f| {
        f.backpressured_us
    }),
    ("flow_operator_idle_seconds", "Time without input", |f| f.idle_us),
    ("flow_operator_cpu_seconds", "CPU time that it used", |f| f.cpu_us),
];

/// What there is of keyed state now.
const STATE: [Metric<StateFigures>; 4] = [
    ("flow_operator_state_cache_bytes", "Keyed state in the write-back cache", |s| s.cache_bytes),
    ("flow_operator_state_cache_entries", "Entries in the write-back cache", |s| s.cache_entries),
    ("flow_operator_state_store_bytes", "Keyed state on disk, estimated", |s| s.store_bytes),
    ("flow_operator_state_store_entries", "Entries on disk, estimated", |s| s.store_entries),
];

/// What has been asked of it.
const ASKED: [Metric<StateFigures>; 2] = [
    ("flow_operator_state_cache_hits", "Keys found in the cache", |s| s.hits),
    ("flow_operator_state_cache_misses", "Keys looked up on disk", |s| s.misses),
];

/// What became of a job's checkpoints.
const CHECKPOINTS_COUNTED: [Metric<CheckpointSummary>; 2] = [
    ("flow_checkpoint_completed", "Checkpoints that counted, since the process began to run the job", |s| s.completed),
    ("flow_checkpoint_failed", "Checkpoints that were given up", |s| s.failed),
];

/// Of the last checkpoint that counts, at that time; without a time of a job that has ended.
type OfCheckpoint = (&'static str, &'static str, fn(&Checkpoint, Option<u64>) -> Option<f64>);

const CHECKPOINT: [OfCheckpoint; 4] = [
    ("flow_checkpoint_duration_seconds", "How long the last checkpoint took", |c, _| Some(c.took()? as f64 / 1e3)),
    (
        "flow_checkpoint_age_seconds",
        "How long ago the last checkpoint of a job counted that has not ended",
        |c, now| Some(now?.saturating_sub(c.ended?) as f64 / 1e3),
    ),
    ("flow_checkpoint_bytes", "Bytes that a restore reads", |c, _| c.bytes.map(|bytes| bytes as f64)),
    ("flow_checkpoint_new_bytes", "Bytes that the last checkpoint added", |c, _| c.new_bytes.map(|bytes| bytes as f64)),
];

const STATES: [JobState; 6] = [
    JobState::Running,
    JobState::Finished,
    JobState::Failed,
    JobState::Restarting,
    JobState::Canceling,
    JobState::Canceled,
];

pub async fn metrics(State(api): State<Api>) -> Result<Response, Refused> {
    let node = of_cluster::Node::of(&api.serving);
    // Who stands by has no jobs to tell of.
    let jobs = match api.serving.jobs() {
        Ok(_) => api.call(|jobs| Ok::<_, Refused>(jobs.tallies())).await?,
        Err(_) => Vec::new(),
    };
    let text = render(jobs, node);
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn render(jobs: Vec<Tally>, node: Option<of_cluster::Node>) -> String {
    let mut registry = Registry::default();
    node.into_iter().for_each(|node| registry.register_collector(Box::new(node)));
    registry.register_collector(Box::new(Snapshot(jobs)));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes whatever is written");
    text
}

/// All jobs at one moment.
#[derive(Debug)]
struct Snapshot(Vec<Tally>);

impl Collector for Snapshot {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = to.encode_descriptor("flow_build_info", "The server's version", None, MetricType::Gauge)?;
        ConstGauge::new(1u64).encode(build.encode_family(&labels)?)?;
        self.jobs(&mut to)?;
        self.checkpoints(&mut to)?;
        for (name, help, count) in COUNTS {
            self.counter(&mut to, name, help, |figures| Some(ConstCounter::new(count(figures))))?;
        }
        for (name, help, us) in TIMES {
            self.counter(&mut to, name, help, |figures| Some(ConstCounter::new(us(figures) as f64 / 1e6)))?;
        }
        for (name, help, value) in STATE {
            self.gauge(&mut to, name, help, |node| node.figures.state.as_ref().map(value))?;
        }
        for (name, help, count) in ASKED {
            self.counter(&mut to, name, help, |f| f.state.as_ref().map(|state| ConstCounter::new(count(state))))?;
        }
        self.calls(&mut to)?;
        self.lag(&mut to)?;
        self.gauge(&mut to, "flow_operator_subtasks", "Subtasks that run it", |node| Some(u64::from(node.subtasks)))
    }
}

impl Snapshot {
    fn jobs(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 for the state that the newest job of the name is in, 0 for the others";
        let mut family = to.encode_descriptor("flow_job_state", help, None, MetricType::Gauge)?;
        for tally in &self.0 {
            for state in STATES {
                let labels = [("pipeline", tally.job.name.as_str()), ("state", state.as_str())];
                ConstGauge::new(u64::from(tally.job.state == state)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "When the newest job of the name was submitted, since the Unix epoch";
        let mut family = to.encode_descriptor("flow_job_start_time_seconds", help, None, MetricType::Gauge)?;
        for tally in &self.0 {
            let labels = [("pipeline", tally.job.name.as_str())];
            ConstGauge::new(tally.job.submitted as f64 / 1000.0).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Of jobs that take some.
    fn checkpoints(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, count) in CHECKPOINTS_COUNTED {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (tally, summary) in self.with_checkpoints() {
                let labels = [("pipeline", tally.job.name.as_str())];
                ConstCounter::new(count(summary)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help =
            "The attempt that runs: it grows with each restart and each change of where or how wide the job runs";
        let mut family = to.encode_descriptor("flow_job_attempt", help, None, MetricType::Gauge)?;
        for (tally, summary) in self.with_checkpoints() {
            let labels = [("pipeline", tally.job.name.as_str())];
            ConstGauge::new(u64::from(summary.attempt)).encode(family.encode_family(&labels)?)?;
        }
        for (name, help, value) in CHECKPOINT {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (tally, summary) in self.with_checkpoints() {
                let labels = [("pipeline", tally.job.name.as_str())];
                let now = tally.job.ended.is_none().then_some(tally.now);
                if let Some(value) = summary.latest.as_ref().and_then(|latest| value(latest, now)) {
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn with_checkpoints(&self) -> impl Iterator<Item = (&Tally, &CheckpointSummary)> {
        self.0.iter().filter_map(|tally| Some((tally, tally.checkpoints.as_ref()?)))
    }

    fn calls(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time of the calls of its component, a batch each";
        self.family(to, "flow_operator_call_duration_seconds", help, MetricType::Histogram, |node| {
            node.figures.calls.map(Histogram)
        })
    }

    /// Of sources that have partitions.
    fn lag(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Records that a Kafka source has still to read, as far as it is known";
        self.gauge(to, "flow_source_lag_records", help, |node| node.lag)?;
        let help = "Partitions that a Kafka source has found";
        self.gauge(to, "flow_source_partitions", help, |node| {
            Some(node.partitions.len() as u64).filter(|number| *number > 0)
        })?;
        let help = "Records that a Kafka source has still to read of one partition";
        let mut family = to.encode_descriptor("flow_source_partition_lag_records", help, None, MetricType::Gauge)?;
        for (tally, node) in self.nodes() {
            for partition in node.partitions.iter().take(PARTITIONS_TOLD) {
                let Some(lag) = partition.lag() else { continue };
                let number = partition.partition.to_string();
                let [pipeline, operator] = labels(tally, node);
                let labels = [pipeline, operator, ("topic", &partition.topic), ("partition", &number)];
                ConstGauge::new(lag).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn counter<M: EncodeMetric>(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Figures) -> Option<M>,
    ) -> fmt::Result {
        self.family(to, name, help, MetricType::Counter, |node| value(&node.figures))
    }

    fn gauge(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Counters) -> Option<u64>,
    ) -> fmt::Result {
        self.family(to, name, help, MetricType::Gauge, |node| value(node).map(ConstGauge::new))
    }

    /// One metric, with a series for each node that has a value.
    fn family<M: EncodeMetric>(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        kind: MetricType,
        value: impl Fn(&Counters) -> Option<M>,
    ) -> fmt::Result {
        let mut family = to.encode_descriptor(name, help, None, kind)?;
        for (tally, node) in self.nodes() {
            if let Some(value) = value(node) {
                value.encode(family.encode_family(&labels(tally, node))?)?;
            }
        }
        Ok(())
    }

    fn nodes(&self) -> impl Iterator<Item = (&Tally, &Counters)> {
        self.0.iter().flat_map(|tally| tally.operators.iter().map(move |node| (tally, node)))
    }
}

fn labels<'a>(tally: &'a Tally, node: &'a Counters) -> [(&'static str, &'a str); 2] {
    [("pipeline", tally.job.name.as_str()), ("operator", node.operator.as_str())]
}

/// Calls by how long they took.
struct Histogram(CallFigures);

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Self(calls) = self;
        let bounds = CALL_BOUNDS_US.into_iter().map(seconds).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(calls.counts).collect();
        encoder.encode_histogram::<NoLabelSet>(seconds(calls.sum_us), calls.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use flow_model::api::{Job, PartitionFigures};

    use super::*;

    #[test]
    fn a_cluster_of_any_size_has_as_many_series_as_are_told() {
        let partition = |number| PartitionFigures {
            topic: "orders".into(),
            partition: number,
            position: Some(7),
            end: (number != 3).then_some(10),
        };
        let partitions: Vec<PartitionFigures> = (0..1500).map(partition).collect();
        let node = Counters {
            operator: "in".parse().expect("a name"),
            subtasks: 2,
            lag: PartitionFigures::lag_of(&partitions),
            partitions,
            figures: Figures::default(),
        };
        let job = Job {
            id: "large-3f9a2c".parse().expect("a name"),
            name: "large".parse().expect("a name"),
            state: JobState::Running,
            submitted: 1,
            ended: None,
            error: None,
        };
        let text = render(vec![Tally { job, operators: vec![node], checkpoints: None, now: 1 }], None);
        let of_source = r#"{pipeline="large",operator="in"}"#;
        assert!(text.contains(&format!("\nflow_source_lag_records{of_source} 4497\n")), "{text}");
        assert!(text.contains(&format!("\nflow_source_partitions{of_source} 1500\n")), "{text}");
        // One is not known yet.
        assert_eq!(text.matches("\nflow_source_partition_lag_records{").count(), 999);
        let one =
            r#"flow_source_partition_lag_records{pipeline="large",operator="in",topic="orders",partition="17"} 3"#;
        assert!(text.contains(one), "{text}");
    }

    #[test]
    fn a_histogram_adds_up_from_class_to_class() {
        let mut calls = CallFigures { sum_us: 1_250_000, ..CallFigures::default() };
        (calls.counts[0], calls.counts[6], calls.counts[14]) = (5, 2, 1);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(One(calls)));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a string takes whatever is written");
        for line in [
            "x_seconds_sum 1.25",
            "x_seconds_count 8",
            r#"x_seconds_bucket{le="0.00001"} 5"#,
            r#"x_seconds_bucket{le="0.001"} 7"#,
            r#"x_seconds_bucket{le="5.0"} 7"#,
            r#"x_seconds_bucket{le="+Inf"} 8"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[derive(Debug)]
    struct One(CallFigures);

    impl Collector for One {
        fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
            Histogram(self.0).encode(to.encode_descriptor("x_seconds", "x", None, MetricType::Histogram)?)
        }
    }
}
