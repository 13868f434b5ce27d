//! Runs whose user code is a real component.

mod fuelled;

use std::path::PathBuf;

use flow_sim::plant::Plant;
use flow_sim::world;
use fuelled::Fuelled;

fn component() -> Fuelled {
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).map(|dir| dir.join("flow/plugins"));
    let home = || std::env::var_os("HOME").map(PathBuf::from).map(|dir| dir.join(".cache/flow/plugins"));
    let given = std::env::var_os("FLOW_PLUGINS").map(PathBuf::from).or_else(cache).or_else(home);
    Fuelled::load(&given.expect("a place for components")).expect("the counter is there")
}

#[test]
fn a_component_under_fuel_counts_each_record_once_and_the_same_each_time() {
    let component = component();
    for seed in 0..12 {
        let run = || {
            let mut world = component.world(seed, Plant::Nothing);
            (world.run(), world.trace().to_owned())
        };
        let (outcome, trace) = run();
        assert_eq!(outcome.wrong, None, "seed {seed}");
        assert!(run().1 == trace, "seed {seed} gives two traces");
        // What it says of itself is another story, and what comes of it is the same.
        let native = world::native(seed, Plant::Nothing).run();
        assert_eq!(native.records, outcome.records);
    }
}

#[test]
fn a_planted_fault_is_found_with_a_component_too() {
    let component = component();
    let found = (0..50).find_map(|seed| component.world(seed, Plant::ForgetsTheAborted).run().wrong);
    assert!(found.is_some());
}
