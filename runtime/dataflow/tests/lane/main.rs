//! Lanes against a model of a broker, with crashes, lost answers, late requests and processes that wake when another one has long
//! taken over: each record of a confirmed checkpoint is written once, and no other is. Broken on purpose, it is noticed.

mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use flow_dataflow::lane::{Action, Event, Lane, Outcome, Standing};
use flow_model::checkpoint::snapshot::{Part, Segment};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Incarnation, ObjectName};
use world::{Fate, Op, Plant, World};

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        30 => Just(Fate::Done),
        2 => Just(Fate::AnswerLost),
        2 => Just(Fate::NotDone),
        2 => Just(Fate::Late),
        2 => Just(Fate::Twice),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..3usize, 1..4u32).prop_map(|(subtask, records)| Op::Take { subtask, records }),
        4 => (0..3usize).prop_map(Op::Cut),
        8 => Just(Op::Barrier { reached: 3 }),
        2 => (1..3usize).prop_map(|reached| Op::Barrier { reached }),
        8 => Just(Op::Confirm),
        60 => (0..3usize, fate()).prop_map(|(process, fate)| Op::Step { process, fate }),
        2 => (0..8usize).prop_map(Op::DeliverLate),
        2 => any::<bool>().prop_map(|wakes| Op::Crash { wakes }),
        1 => Just(Op::TimeOut),
        2 => Just(Op::Settle),
    ]
}

fn run(plant: Plant, cases: u32) -> Result<(), TestError<Vec<Op>>> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(&proptest::collection::vec(op(), 0..200), |ops| {
        let mut world = World::new(plant);
        for op in &ops {
            world.apply(*op).map_err(TestCaseError::fail)?;
        }
        world.finish().map_err(TestCaseError::fail)
    })
}

#[test]
fn each_record_of_a_confirmed_checkpoint_is_written_once() {
    if let Err(error) = run(Plant::Nothing, 5000) {
        panic!("{error}");
    }
}

/// What must not be left out, each left out: a run that stays right would prove nothing.
#[test]
fn planted_faults_are_found() {
    for plant in [
        Plant::RedoUnread,
        Plant::ReadBeforeInit,
        Plant::OnlyOwnSegment,
        Plant::KeepProducer,
        Plant::ReleaseWhenConfirmed,
        Plant::NoClaim,
        Plant::EarlyBarrier,
    ] {
        match run(plant, 5000) {
            Err(TestError::Fail(why, ops)) => println!("{plant:?}: {why}, by {} steps", ops.len()),
            other => panic!("{plant:?} is not found: {other:?}"),
        }
    }
}

/// Each transaction costs an init and a read beside: a lane that is behind has fewer of them, unless they fail.
#[test]
fn a_lane_that_is_behind_makes_larger_transactions_until_one_fails() {
    let (attempt, checkpoint) = (Attempt(1), CheckpointId::new(Attempt(1), 1));
    let part = |unique| {
        let object = ObjectName::new(&Incarnation::of(1), checkpoint, unique);
        Part { chunk: Chunk { object, offset: 0, length: 8 << 20, crc: 0 }, records: 1 }
    };
    let segment = Segment { checkpoint, parts: (0..60).map(part).collect() };
    let (mut lane, _) = Lane::open(attempt, CheckpointId::NONE, None, []);
    lane.handle(Event::Sealed { subtask: 0, segment });
    lane.handle(Event::Confirmed(checkpoint));
    let (mut written, mut sizes) = (None, Vec::new());
    for outcome in [
        Outcome::Done(()),
        Outcome::Done(()),
        Outcome::Unknown,
        Outcome::Done(()),
        Outcome::Done(()),
        Outcome::Done(()),
        Outcome::Fenced,
        Outcome::Done(()),
        Outcome::Done(()),
        Outcome::Done(()),
        Outcome::Done(()),
        Outcome::Done(()),
        Outcome::Done(()),
    ] {
        lane.handle(Event::Initialised(Outcome::Done(())));
        let standing = Standing { progress: written, attempt: Some(attempt) };
        let actions = lane.handle(Event::Read(Outcome::Done(standing)));
        let Some(Action::Write { parts, progress }) = actions.last() else { break };
        sizes.push(parts.len());
        if outcome == Outcome::Done(()) {
            written = Some(*progress);
        }
        let fenced = outcome == Outcome::Fenced;
        lane.handle(Event::Committed(outcome));
        if fenced {
            lane.handle(Event::Read(Outcome::Done(standing)));
        }
    }
    assert_eq!(sizes, [4, 5, 6, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6]);
}
