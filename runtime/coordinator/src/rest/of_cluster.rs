//! What a coordinator tells Prometheus of its cluster: whether it leads, and of the workers that it leads.

use std::fmt;

use flow_model::api::{WorkerState, WorkerStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Serving;

const STATES: [WorkerState; 5] =
    [WorkerState::Active, WorkerState::Suspected, WorkerState::Draining, WorkerState::Drained, WorkerState::Lost];

/// A coordinator of a cluster.
#[derive(Debug)]
pub(super) struct Node {
    leads: bool,
    /// That of the leader that is known; 0 if none is.
    term: u64,
    /// None where it stands by.
    workers: Vec<WorkerStatus>,
}

impl Node {
    /// None where there is no cluster.
    pub(super) fn of(serving: &Serving) -> Option<Node> {
        let Serving::Leaders(elected) = serving else { return None };
        let jobs = serving.jobs().ok();
        let workers = jobs.as_ref().and_then(|jobs| jobs.workers().ok()).map_or_else(Vec::new, |all| all.workers);
        Some(Node { leads: jobs.is_some(), term: elected.term(), workers })
    }
}

impl Collector for Node {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: u64| {
            ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("flow_coordinator_leads", "1 if this coordinator leads its cluster", self.leads.into())?;
        gauge("flow_coordinator_term", "The term of the leader that is known; 0 if none is", self.term)?;
        let help = "Workers that the leader knows, by what they are good for";
        let mut family = to.encode_descriptor("flow_cluster_workers", help, None, MetricType::Gauge)?;
        for state in STATES.iter().filter(|_| self.leads) {
            let count = self.workers.iter().filter(|worker| worker.state == *state).count() as u64;
            ConstGauge::new(count).encode(family.encode_family(&[("state", state.as_str())])?)?;
        }
        let help = "Slots of a worker, used by subtasks and free";
        let mut family = to.encode_descriptor("flow_worker_slots", help, None, MetricType::Gauge)?;
        for worker in self.workers.iter().filter(|worker| worker.state != WorkerState::Lost) {
            for (state, slots) in [("used", worker.slots.used), ("free", worker.slots.free)] {
                let labels = [("worker", worker.name.as_str()), ("state", state)];
                ConstGauge::new(u64::from(slots)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flow_model::api::Slots;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn workers_count_by_state() {
        let worker = |name: &str, state, used| WorkerStatus {
            id: flow_model::ids::WorkerId::of(1),
            name: name.to_owned(),
            address: "w:1".to_owned(),
            version: "1".to_owned(),
            state,
            since: 0,
            slots: Slots { total: 4, used, free: 4 - used },
            running: Vec::new(),
        };
        let workers = vec![worker("a", WorkerState::Active, 3), worker("b", WorkerState::Lost, 0)];
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Node { leads: true, term: 7, workers }));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a string takes whatever is written");
        for line in [
            "flow_coordinator_leads 1",
            "flow_coordinator_term 7",
            r#"flow_cluster_workers{state="active"} 1"#,
            r#"flow_cluster_workers{state="draining"} 0"#,
            r#"flow_worker_slots{worker="a",state="used"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("worker=\"b\""), "who is lost has no slots: {text}");
    }
}
