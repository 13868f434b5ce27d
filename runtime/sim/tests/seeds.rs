//! Runs of many seeds hold, the same seed gives the same run, and what is done wrong on purpose is found. More of them by `make sim`.

use flow_sim::plant::Plant;
use flow_sim::world;

/// Seeds in which a planted fault has to show.
const ENOUGH: u64 = 1000;

/// What runs are for, and the words by which their traces tell of it.
const SITUATIONS: [(&str, &str); 15] = [
    ("a zombie's lane reads that it has been taken over", "owns it"),
    ("a producer is fenced", "Refused(Fenced)"),
    ("a producer id runs out of epochs", "Producer { id: 2,"),
    ("a transaction is open for too long", "the broker gives up"),
    ("nobody hears that a transaction is committed", "nobody hears Done"),
    ("a swap of HEAD is not answered", "Swapped(Again)"),
    ("a swap of HEAD meets another one", "Swapped(Conflict)"),
    ("a coordinator is deposed", "does not lead the job any more"),
    ("a checkpoint is declined", "Declined {"),
    ("a checkpoint takes too long", ", \"not complete in time"),
    ("a run is merged while a checkpoint is taken", "pending: [ObjectName"),
    ("garbage is deleted", "1 objects are deleted"),
    ("an acknowledgement is lost", "lost: Acknowledged"),
    ("an attempt can't go on", "Failed {"),
    ("the job is canceled, for another life", "Ended(Canceled)"),
];

/// Runs these seeds, and shows each trace; one in which something is wrong leaves it in a file and says how to repeat it.
fn hold(seeds: std::ops::Range<u64>, mut look: impl FnMut(&str)) {
    let mut checkpoints = 0;
    for seed in seeds.clone() {
        let mut world = world::native(seed, Plant::Nothing);
        let outcome = world.run();
        checkpoints += outcome.checkpoints;
        look(world.trace());
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
    let mut unmet = SITUATIONS.to_vec();
    hold(0..200, |trace| unmet.retain(|(_, words)| !trace.contains(words)));
    assert!(unmet.is_empty(), "200 runs, and in none of them: {unmet:?}");
}

#[test]
#[ignore = "long"]
fn of_many_seeds_too() {
    hold(200..5_000, |_| ());
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
