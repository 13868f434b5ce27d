//! The component `plugins/counter` as user code, under fuel: it does the same on every machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_plugin::{Component, Engine, Limits, Options, Setup};
use flow_sim::World;
use flow_sim::plant::Plant;

/// More than a call of a batch takes.
const FUEL: u64 = 50_000_000;

struct Quiet;

impl Report for Quiet {
    fn log(&self, _: Level, _: &str) {}

    fn locate(&self, _: u32, _: i64) -> Place {
        Place::default()
    }

    fn rejected(&self, _: &Rejected) {}
}

/// Its code, compiled.
pub struct Fuelled {
    component: Component,
    /// Keeps the engine.
    _engine: Engine,
}

impl Fuelled {
    /// From the directory of the components.
    pub fn load(components: &Path) -> anyhow::Result<Fuelled> {
        let file = components.join("counter.wasm");
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}; next: make plugins", file.display()))?;
        // Replaced now and then, since linear memory is never state.
        let engine = Engine::new(Options { fuel: Some(FUEL), replace_every: Some(5), ..Options::default() })?;
        let component = engine.load("counter.wasm", &bytes, &limits())?;
        Ok(Fuelled { component, _engine: engine })
    }

    /// A run with it.
    pub fn world(&self, seed: u64, plant: Plant) -> World {
        let component = self.component.clone();
        let make = move || {
            let setup = Setup {
                operator: "counts".into(),
                config: r#"{"format": "number"}"#.into(),
                subtask: 0,
                parallelism: 1,
                key_groups: (0, 127),
                limits: limits(),
                report: Arc::new(Quiet),
                stop: Arc::default(),
            };
            component.instantiate(setup).expect("it has been loaded under the same limits")
        };
        World::new(seed, plant, Box::new(make))
    }
}

/// No time of a clock ends a call.
fn limits() -> Limits {
    Limits { time_per_batch: Duration::MAX, ..Limits::default() }
}
