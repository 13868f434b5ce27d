//! Runs of many seeds hold, the same seed gives the same run, and what is done wrong on purpose is found. More of them by `make sim`.

use flow_sim::plant::Plant;
use flow_sim::world;

/// Seeds in which a planted fault has to show.
const ENOUGH: u64 = 400;

/// Runs these seeds; one in which something is wrong leaves its trace and says how to repeat it.
fn hold(seeds: std::ops::Range<u64>) {
    let mut checkpoints = 0;
    for seed in seeds.clone() {
        let mut world = world::native(seed, Plant::Nothing);
        let outcome = world.run();
        checkpoints += outcome.checkpoints;
        if let Some(wrong) = outcome.wrong {
            let trace = std::env::temp_dir().join(format!("flow-sim-{seed}.trace"));
            std::fs::write(&trace, world.trace()).expect("a trace can be written");
            panic!("seed {seed}: {wrong}\n  trace: {}\n  again: make sim SEED={seed}", trace.display());
        }
    }
    assert!(checkpoints > 3 * seeds.count() as u64, "{checkpoints} checkpoints are too few to say anything");
}

#[test]
fn nothing_is_missing_and_nothing_is_duplicated() {
    hold(0..200);
}

#[test]
#[ignore = "long"]
fn of_many_seeds_too() {
    hold(200..10_000);
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let trace = |seed| {
        let mut world = world::native(seed, Plant::Nothing);
        world.run();
        world.trace().to_owned()
    };
    for seed in 0..20 {
        assert!(trace(seed) == trace(seed), "seed {seed} gives two traces");
    }
    assert_ne!(trace(0), trace(1));
}

#[test]
fn planted_faults_are_found() {
    for plant in Plant::ALL {
        let found = (0..ENOUGH).find_map(|seed| Some((seed, world::native(seed, plant).run().wrong?)));
        let Some((seed, wrong)) = found else { panic!("{plant:?} is not found by {ENOUGH} seeds") };
        println!("{plant:?} is found by seed {seed}: {wrong}");
    }
}
