//! `GET /metrics`: what jobs and their operators have done, for Prometheus, as OpenMetrics text.
//!
//! The number of series is bounded by what pipelines name, never by records, keys, subtasks or how often a job was
//! deployed: subtasks are added up (`GET /jobs/{job}/metrics` has each), and of the jobs of one name the newest counts.

use std::fmt;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use flow_model::api::{Figures, JobState, StateFigures};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Api;
use super::refusal::Refused;
use crate::jobs::Tally;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is told of one figure of a node.
type Metric<F> = (&'static str, &'static str, fn(&F) -> u64);

/// Name, help, and the count of a node.
const COUNTS: [Metric<Figures>; 5] = [
    ("flow_operator_records_in", "Records taken", |f| f.records_in),
    ("flow_operator_records_out", "Records given; of a sink, written", |f| f.records_out),
    ("flow_operator_bytes_in", "Bytes of the values of the records taken", |f| f.bytes_in),
    ("flow_operator_bytes_out", "Bytes of the values of the records given", |f| f.bytes_out),
    ("flow_operator_records_rejected", "Records refused and skipped, as on-error says", |f| f.rejected),
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

const STATES: [JobState; 5] =
    [JobState::Running, JobState::Finished, JobState::Failed, JobState::Canceling, JobState::Canceled];

pub async fn metrics(State(api): State<Api>) -> Result<Response, Refused> {
    let text = api.call(|jobs| Ok::<_, Refused>(render(jobs.tallies()))).await?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn render(jobs: Vec<Tally>) -> String {
    let mut registry = Registry::default();
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
        for (name, help, count) in COUNTS {
            self.counter(&mut to, name, help, |figures| Some(ConstCounter::new(count(figures))))?;
        }
        for (name, help, us) in TIMES {
            self.counter(&mut to, name, help, |figures| Some(ConstCounter::new(us(figures) as f64 / 1e6)))?;
        }
        for (name, help, value) in STATE {
            let gauge = |_, figures: &Figures| figures.state.as_ref().map(|state| ConstGauge::new(value(state)));
            self.family(&mut to, name, help, MetricType::Gauge, gauge)?;
        }
        for (name, help, count) in ASKED {
            self.counter(&mut to, name, help, |f| f.state.as_ref().map(|state| ConstCounter::new(count(state))))?;
        }
        let help = "Subtasks that run it";
        self.family(&mut to, "flow_operator_subtasks", help, MetricType::Gauge, |subtasks, _| {
            Some(ConstGauge::new(u64::from(subtasks)))
        })
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

    fn counter<M: EncodeMetric>(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Figures) -> Option<M>,
    ) -> fmt::Result {
        self.family(to, name, help, MetricType::Counter, |_, figures| value(figures))
    }

    /// One metric, with a series for each node that has a value.
    fn family<M: EncodeMetric>(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        kind: MetricType,
        value: impl Fn(u32, &Figures) -> Option<M>,
    ) -> fmt::Result {
        let mut family = to.encode_descriptor(name, help, None, kind)?;
        for tally in &self.0 {
            for node in &tally.operators {
                if let Some(value) = value(node.subtasks, &node.figures) {
                    let labels = [("pipeline", tally.job.name.as_str()), ("operator", node.operator.as_str())];
                    value.encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
