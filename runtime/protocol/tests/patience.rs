//! A time-out that is shorter than a barrier's way is met in the end, by a job that goes on, however few failures are tolerated.

use flow_model::checkpoint::Incarnation;
use flow_model::checkpoint::snapshot::Piece;
use flow_model::ids::OperatorName;
use flow_protocol::checkpoint::{self, Contribution, Contributions};
use flow_protocol::head::Answer;
use flow_protocol::job::{Action, Beginning, Event, Job, Life, Owed, Settings};
use flow_protocol::{Time, restart};

const TIMEOUT: Time = 100;

fn source() -> OperatorName {
    "in".parse().expect("a name")
}

fn settings(tolerated: u32) -> Settings {
    let source = Contribution { parallelism: 1, states: vec![], output: false };
    Settings {
        pipeline: "p".parse().expect("a name"),
        key_groups: Default::default(),
        contributions: Contributions::from([(self::source(), source)]),
        checkpoints: checkpoint::Settings { interval: 10, timeout: TIMEOUT, min_pause: 0, concurrent: 2, tolerated },
        restart: restart::Settings { attempts: 10, pause: 10, longest: 10 },
        retained: 1,
        leader: "here".to_owned(),
        head: "/store/p/HEAD".to_owned(),
        cluster: None,
    }
}

/// What came of a job in which a barrier needs so long: attempts until `wanted` checkpoints counted, and how many were given up.
/// None if they never do.
fn play(way: Time, tolerated: u32, wanted: usize) -> Option<(usize, usize)> {
    let life =
        Life { incarnation: Incarnation::of(1), follows: None, origin: None, owed: Owed::Write, take_over: false };
    let (mut job, actions) = Job::new(settings(tolerated), Beginning::Deployed(life), (1, 0), None);
    let (mut attempts, mut given_up, mut confirmed, mut version) = (0, 0, 0, 0);
    let mut events: Vec<(Time, Event)> = Vec::new();
    let mut now = 0;
    let mut actions = actions;
    while now < 1_000 * TIMEOUT {
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Swap { .. } => {
                    version += 1;
                    events.push((now, Event::Swapped(Answer::Done(version.to_string()))));
                }
                Action::Deploy { attempt, .. } => {
                    attempts += 1;
                    events.push((now, Event::Started { attempt }));
                }
                Action::Cancel { attempt } => {
                    // Its barriers die with it.
                    events.retain(|(_, event)| !matches!(event, Event::Acknowledged { .. }));
                    events.push((now, Event::Stopped { attempt }));
                }
                Action::Trigger { attempt, checkpoint, .. } => {
                    let piece = Piece::Passed { ended: false, splits: vec![] };
                    let event = Event::Acknowledged { attempt, checkpoint, node: source(), subtask: 0, piece };
                    events.push((now + way, event));
                }
                Action::StoreManifest(manifest) => {
                    events.push((now, Event::ManifestStored(manifest.checkpoint, Ok(()))));
                }
                Action::Abandoned(..) => given_up += 1,
                Action::Confirm { .. } => confirmed += 1,
                Action::Delete(_) => events.push((now, Event::Deleted)),
                _ => {}
            }
        }
        if confirmed >= wanted {
            return Some((attempts, given_up));
        }
        let event = (0..events.len()).min_by_key(|at| events[*at].0).map(|at| (at, events[at].0));
        let (due, event) = match (event, job.next_deadline()) {
            (Some((at, due)), deadline) if deadline.is_none_or(|deadline| due <= deadline) => events.remove(at),
            (_, Some(deadline)) => (deadline, Event::Tick),
            (_, None) => return None,
        };
        now = now.max(due);
        actions = job.handle(now, event);
    }
    None
}

#[test]
fn a_time_out_that_is_too_short_is_met_in_the_end() {
    let check = |way, tolerated, expect| {
        assert_eq!(play(way, tolerated, 50), expect, "a way of {way} ms, {tolerated} failures tolerated");
    };
    // Time enough: nothing is given up.
    check(TIMEOUT / 2, 0, Some((1, 0)));
    // Three grow to eight time-outs, which is enough for seven; none is given up after that.
    check(7 * TIMEOUT, 3, Some((1, 3)));
    // With no failure tolerated it takes attempts instead: each goes on with what those before have learned.
    check(7 * TIMEOUT, 0, Some((4, 3)));
    // There is a limit, so that a barrier that is lost is noticed: then the job fails for good, as its `restart` says.
    check(17 * TIMEOUT, 0, None);
}
