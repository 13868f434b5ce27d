//! One job, event by event, where chance would seldom lead: what a former leader had sent lands late, a user stops the job while a
//! checkpoint is on its way to HEAD, HEAD can't be read any more.

use std::collections::BTreeSet;

use flow_model::checkpoint::head::{Origin, Savepoint, Wanted};
use flow_model::checkpoint::snapshot::{Chain, Node, Output, Part, Piece, Progress, Run, Segment, Snapshot};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Head, Incarnation, Manifest, ObjectName};
use flow_model::ids::{OperatorName, SavepointName};
use flow_protocol::checkpoint::{self, Contribution, Contributions};
use flow_protocol::head::Answer;
use flow_protocol::job::{Action, Beginning, End, Event, Failure, Former, InCluster, Job, Life, Owed, Settings, State};
use flow_protocol::restart::{self, Kind};

fn out() -> OperatorName {
    "out".parse().expect("a name")
}

fn settings(leader: &str) -> Settings {
    Settings {
        pipeline: "p".parse().expect("a name"),
        key_groups: Default::default(),
        contributions: Contributions::from([(out(), Contribution { parallelism: 1, states: vec![], output: true })]),
        checkpoints: checkpoint::Settings { interval: 100, timeout: 400, min_pause: 0, concurrent: 1, tolerated: 2 },
        restart: restart::Settings { attempts: u32::MAX, pause: 10, longest: 50 },
        retained: 1,
        leader: leader.to_owned(),
        head: "/store/p/HEAD".to_owned(),
        cluster: None,
    }
}

fn life(number: u128, follows: Option<u128>) -> Life {
    Life {
        incarnation: Incarnation::of(number),
        follows: follows.map(|number| Former { incarnation: Incarnation::of(number), latest: None }),
        origin: None,
        owed: Owed::Write,
        take_over: false,
    }
}

/// The only swap among these.
fn swap(actions: &[Action]) -> (Head, Option<String>) {
    let swaps = actions.iter().filter_map(|action| match action {
        Action::Swap { head, expected } => Some(((**head).clone(), expected.clone())),
        _ => None,
    });
    let [swap] = swaps.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("not one swap: {actions:?}"));
    swap
}

fn done(job: &mut Job, version: &str) -> Vec<Action> {
    job.handle(1, Event::Swapped(Answer::Done(version.to_owned())))
}

/// The HEAD that a first leader has written, and the job that it leads.
fn led() -> (Job, Vec<Action>, Head) {
    let (mut job, actions) = Job::new(settings("first"), Beginning::Deployed(life(1, None)), (1, 0), None);
    let (head, expected) = swap(&actions);
    assert_eq!(expected, None);
    let actions = done(&mut job, "v1");
    (job, actions, head)
}

/// A second leader has proposed itself, and finds that HEAD is this by now.
fn second_finds(beginning: Beginning, read: &Head, found: Head) -> (Job, Vec<Action>) {
    let (mut second, actions) = Job::new(settings("second"), beginning, (2, 0), Some((read.clone(), "v1".to_owned())));
    assert_eq!(swap(&actions).1.as_deref(), Some("v1"));
    let actions = second.handle(1, Event::Swapped(Answer::Conflict));
    assert!(matches!(actions[..], [Action::ReadHead]), "{actions:?}");
    let actions = second.handle(1, Event::HeadRead(Box::new(Some((found, "v2".to_owned())))));
    (second, actions)
}

/// What the first leader had sent before it ended.
fn late(head: &Head) -> Head {
    let mut late = head.clone();
    (late.attempt, late.nonce) = (Attempt(head.attempt.0 + 1), "of the first".to_owned());
    late
}

#[test]
fn what_a_former_leader_sent_and_lands_late_is_built_upon() {
    let (_, _, head) = led();
    let late = late(&head);
    let (mut second, actions) = second_finds(Beginning::Resumed(life(1, None)), &head, late.clone());
    let (again, expected) = swap(&actions);
    assert_eq!(expected.as_deref(), Some("v2"));
    assert_eq!((again.term, again.attempt), (late.term + 1, Attempt(late.attempt.0 + 1)));
    let actions = done(&mut second, "v3");
    assert!(matches!(actions[..], [Action::Deploy { attempt, .. }] if attempt == again.attempt), "{actions:?}");
}

#[test]
fn what_another_leader_of_the_same_term_or_a_higher_one_wrote_is_not() {
    let (_, _, head) = led();
    for term in [head.term + 1, head.term + 2] {
        let mut found = late(&head);
        found.term = term;
        let (_, actions) = second_finds(Beginning::Resumed(life(1, None)), &head, found);
        assert!(matches!(&actions[..], [.., Action::Ended(End::Deposed(_))]), "{actions:?}");
        assert!(!actions.iter().any(|action| matches!(action, Action::Swap { .. })), "{actions:?}");
    }
}

/// What a job tells its user in the end.
fn reason(actions: &[Action]) -> &str {
    match actions {
        [.., Action::Ended(End::Deposed(reason))] => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_lost_head_is_told_how_and_what_to_do() {
    let (_, _, head) = led();
    let mut found = late(&head);
    found.term = head.term + 1;
    let resumed = || Beginning::Resumed(life(1, None));
    let (_, actions) = second_finds(resumed(), &head, found.clone());
    let text = "/store/p/HEAD is first's now (term 2): this process does not lead the job any more; see it there";
    assert_eq!(reason(&actions), text);
    // One that this process itself has written before, or another one at its address.
    found.leader = "second".to_owned();
    let (_, actions) = second_finds(resumed(), &head, found);
    for part in
        ["/store/p/HEAD", "under its address, second (term 2)", "was put back, or another flowd", "with --take-over"]
    {
        assert!(reason(&actions).contains(part), "{part} in {actions:?}");
    }
    let (mut second, _) = Job::new(settings("second"), resumed(), (2, 0), Some((head, "v1".to_owned())));
    second.handle(1, Event::Swapped(Answer::Conflict));
    let actions = second.handle(1, Event::HeadRead(Box::new(None)));
    for part in ["/store/p/HEAD was deleted", "put it back", "with --take-over", "begins with nothing"] {
        assert!(reason(&actions).contains(part), "{part} in {actions:?}");
    }
}

#[test]
fn a_life_that_was_ended_when_another_began_may_run_after_all() {
    let (_, _, mut head) = led();
    head.wanted = Wanted::Canceled;
    let mut runs = late(&head);
    runs.wanted = Wanted::Running;
    let (_, actions) = second_finds(Beginning::Deployed(life(2, Some(1))), &head, runs);
    assert!(matches!(&actions[..], [Action::Ended(End::Refused(why))] if why.contains("first")), "{actions:?}");
}

/// A HEAD with a checkpoint, and a life that goes on from there; the life that HEAD names runs, as that says, elsewhere.
fn taken_over() -> (Head, Life) {
    let (_, _, mut head) = led();
    let checkpoint = at(head.attempt, 1);
    (head.latest, head.retained) = (Some(checkpoint), vec![checkpoint]);
    let (job, incarnation) = ("p".parse().expect("a name"), Incarnation::of(1));
    let origin = Origin { job, incarnation, checkpoint, savepoint: None, claim: true, dropped: vec![] };
    let follows = Some(Former::of(&head));
    (head, Life { origin: Some(origin), follows, take_over: true, ..life(2, None) })
}

/// The next checkpoint of the life that HEAD names counts.
fn went_on(head: &Head) -> Head {
    let (mut later, next) = (head.clone(), at(head.attempt, 2));
    (later.latest, later.nonce) = (Some(next), "of the next".to_owned());
    later.retained.push(next);
    later
}

fn is_refused(actions: &[Action], why: &str) {
    let [Action::Ended(End::Refused(text))] = actions else { panic!("{actions:?}") };
    assert!(text.contains(why), "{text}");
}

#[test]
fn who_takes_over_does_not_go_on_from_where_the_job_stands_no_more() {
    let (head, life) = taken_over();
    let why = "latest checkpoint was 0000000100000001, and is 0000000100000002 by now; deploy it again";
    // It came when this one was about to lead.
    let (_, actions) = second_finds(Beginning::Deployed(life.clone()), &head, went_on(&head));
    is_refused(&actions, why);
    // It was there when this one read HEAD again, be it that it goes on after a restart.
    for beginning in [Beginning::Deployed, Beginning::Resumed, Beginning::Continued] {
        let before = Some((went_on(&head), "v2".to_owned()));
        let (_, actions) = Job::new(settings("second"), beginning(life.clone()), (2, 0), before);
        is_refused(&actions, why);
    }
    // The first of all its checkpoints came.
    let mut nothing = head.clone();
    (nothing.latest, nothing.retained) = (None, vec![]);
    let life = Life { follows: Some(Former::of(&nothing)), origin: None, ..life };
    let (_, actions) = second_finds(Beginning::Deployed(life), &nothing, head);
    is_refused(&actions, "latest checkpoint was none, and is 0000000100000001 by now");
}

#[test]
fn who_takes_over_goes_on_from_where_the_job_stands() {
    let (head, mut life) = taken_over();
    let (_, actions) = second_finds(Beginning::Deployed(life.clone()), &head, late(&head));
    assert_eq!(swap(&actions).1.as_deref(), Some("v2"));
    // What an earlier version has written down does not say where it stood.
    life.follows = Some(Former { incarnation: Incarnation::of(1), latest: None });
    let (_, actions) = second_finds(Beginning::Resumed(life), &head, went_on(&head));
    assert_eq!(swap(&actions).1.as_deref(), Some("v2"));
}

#[test]
fn a_life_begins_after_the_one_that_it_was_deployed_after() {
    let (mut head, life) = taken_over();
    head.wanted = Wanted::Canceled;
    let mut another = head.next_life("third".to_owned(), Incarnation::of(3), None, 1);
    another.wanted = Wanted::Canceled;
    for follows in [life.follows.clone(), None] {
        let before = Some((another.clone(), "v2".to_owned()));
        let life = Life { follows, origin: None, take_over: false, ..life.clone() };
        let (_, actions) = Job::new(settings("second"), Beginning::Deployed(life), (2, 0), before);
        is_refused(&actions, "another life of the job has begun since it was deployed");
    }
}

#[test]
fn who_is_deposed_changes_head_no_more() {
    let (mut job, attempt, checkpoint) = swapping();
    done(&mut job, "v2");
    let actions = job.handle(200, Event::Tick);
    complete(&mut job, &actions, attempt);
    let mut found = job.head().expect("it leads").clone();
    (found.term, found.nonce, found.leader) = (found.term + 1, "of the second".to_owned(), "second".to_owned());
    let (name, time): (SavepointName, _) = ("kept".parse().expect("a name"), 1);
    found.savepoints.push(Savepoint { name: name.clone(), incarnation: found.incarnation.clone(), checkpoint, time });
    job.handle(201, Event::Swapped(Answer::Conflict));
    job.handle(202, Event::HeadRead(Box::new(Some((found, "v3".to_owned())))));
    let actions = job.handle(203, Event::GiveUp { number: 1, name });
    let [Action::Accepted(1, Err(why))] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(why, "this process does not lead the job any more");
}

#[test]
fn who_finds_that_the_job_is_over_changes_head_no_more() {
    let (_, _, head) = led();
    let (mut second, _) =
        Job::new(settings("second"), Beginning::Resumed(life(1, None)), (2, 0), Some((head.clone(), "v1".to_owned())));
    second.handle(1, Event::Cancel);
    second.handle(2, Event::Swapped(Answer::Conflict));
    let mut found = late(&head);
    found.wanted = Wanted::Finished;
    let actions = second.handle(3, Event::HeadRead(Box::new(Some((found, "v2".to_owned())))));
    assert!(matches!(&actions[..], [Action::Ended(End::Finished)]), "{actions:?}");
}

#[test]
fn who_is_deposed_deletes_nothing() {
    let (_, _, mut head) = led();
    let (earlier, latest) = (at(head.attempt, 1), at(head.attempt, 2));
    (head.latest, head.retained) = (Some(latest), vec![earlier, latest]);
    let before = Some((head.clone(), "v1".to_owned()));
    let (mut job, _) = Job::new(settings("second"), Beginning::Resumed(life(1, None)), (2, 0), before);
    done(&mut job, "v2");
    let loaded = |checkpoint| {
        let manifest = Box::new(manifest((1, checkpoint), Snapshot::default()));
        Event::ManifestLoaded(Incarnation::of(1), checkpoint, Ok(manifest))
    };
    let actions = job.handle(2, loaded(latest));
    assert!(matches!(actions[..], [Action::Deploy { .. }]), "{actions:?}");
    swap(&job.handle(3, Event::Redeploy { number: 1, spec: None }));
    job.handle(4, Event::Swapped(Answer::Conflict));
    let mut other = job.head().expect("it leads").next_life("third".to_owned(), Incarnation::of(2), None, 4);
    other.nonce = "of the third".to_owned();
    let actions = job.handle(5, Event::HeadRead(Box::new(Some((other, "v3".to_owned())))));
    let is_answer = |action: &&Action| matches!(action, Action::Accepted(1, Err(why)) if why.contains("does not lead"));
    assert_eq!(actions.iter().filter(is_answer).count(), 1, "{actions:?}");
    let actions = job.handle(6, loaded(earlier));
    assert!(actions.is_empty(), "{actions:?}");
}

#[test]
fn who_makes_room_waits_a_minute_for_a_checkpoint() {
    let (mut job, _, head) = led();
    let attempt = head.attempt;
    job.handle(1000, Event::Started { attempt });
    let asked = job.handle(2000, Event::Redeploy { number: 1, spec: None });
    assert!(!asked.iter().any(|action| matches!(action, Action::Swap { .. })), "{asked:?}");
    let due = job.next_deadline().expect("it waits");
    assert!(due <= 62_000, "{due}");
    assert!(job.handle(61_999, Event::Tick).iter().all(|action| !matches!(action, Action::Swap { .. })));
    let (head, _) = swap(&job.handle(62_000, Event::Tick));
    assert_eq!(head.attempt, Attempt(attempt.0 + 1));
    let done = job.handle(62_001, Event::Swapped(Answer::Done("v2".to_owned())));
    assert!(
        done.iter().any(|action| matches!(action, Action::Cancel { attempt: before } if *before == attempt)),
        "{done:?}"
    );
    assert!(done.iter().any(|action| matches!(action, Action::Accepted(1, Ok(())))), "{done:?}");
}

fn at(attempt: Attempt, counter: u64) -> CheckpointId {
    CheckpointId((u64::from(attempt.0) << 32) + counter)
}

fn object((life, checkpoint): (u128, CheckpointId), unique: u128) -> ObjectName {
    ObjectName::new(&Incarnation::of(life), checkpoint, unique)
}

fn chunk(object: &ObjectName) -> Chunk {
    Chunk { object: object.clone(), offset: 0, length: 1, crc: 0 }
}

/// What a lane of one part carries.
fn carries(object: &ObjectName) -> Snapshot {
    let part = Part { chunk: chunk(object), records: 1 };
    let segments = vec![Segment { checkpoint: object.checkpoint(), parts: vec![part] }];
    Snapshot { output: Some(Output { lane: 0, segments, files: vec![] }), ..Snapshot::default() }
}

/// State in such objects.
fn state(objects: &[&ObjectName]) -> Snapshot {
    let runs = objects.iter().map(|object| Run { chunk: chunk(object), entries: 1, groups: None }).collect();
    Snapshot { state: Some(Chain { groups: 0..=0, runs, pending: vec![] }), ..Snapshot::default() }
}

fn manifest((life, checkpoint): (u128, CheckpointId), snapshot: Snapshot) -> Manifest {
    let node = Node { subtasks: vec![snapshot], ..Node::default() };
    let whose = (Incarnation::of(life), checkpoint);
    Manifest::new("p".parse().expect("a name"), whose, 1, Default::default(), [(out(), node)].into())
}

/// All that a checkpoint carries is written.
fn written(attempt: Attempt, checkpoint: CheckpointId) -> Event {
    Event::Progressed { attempt, lane: (out(), 0), progress: Progress { checkpoint, part: 1 } }
}

/// The checkpoint that these begin is taken, and carries output, as far as its swap.
fn complete(job: &mut Job, begun: &[Action], attempt: Attempt) -> (CheckpointId, Head) {
    let triggered = begun.iter().find_map(|action| match action {
        Action::Trigger { checkpoint, .. } => Some(*checkpoint),
        _ => None,
    });
    let checkpoint = triggered.expect("a checkpoint begins");
    let life = job.head().expect("it leads").incarnation.clone();
    let acknowledge = |piece| Event::Acknowledged { attempt, checkpoint, node: out(), subtask: 0, piece };
    let output = carries(&ObjectName::new(&life, checkpoint, 7)).output.expect("one");
    job.handle(3, acknowledge(Piece::Output(output)));
    let actions = job.handle(3, acknowledge(Piece::Passed { ended: false, splits: vec![] }));
    assert!(actions.iter().any(|action| matches!(action, Action::StoreManifest(_))), "{actions:?}");
    let (head, _) = swap(&job.handle(4, Event::ManifestStored(checkpoint, Ok(()))));
    assert_eq!(head.latest, Some(checkpoint));
    (checkpoint, head)
}

/// A job as far as the swap of its first checkpoint: the job, the attempt, the checkpoint.
fn swapping() -> (Job, Attempt, CheckpointId) {
    let (mut job, actions, head) = led();
    let attempt = head.attempt;
    assert!(matches!(actions[..], [Action::Deploy { .. }]), "{actions:?}");
    let begun = job.handle(2, Event::Started { attempt });
    let (checkpoint, _) = complete(&mut job, &begun, attempt);
    assert_eq!(checkpoint, at(attempt, checkpoint.0 & u64::from(u32::MAX)));
    (job, attempt, checkpoint)
}

#[test]
fn what_a_claimed_savepoint_alone_held_is_deleted_with_the_first_checkpoint() {
    let (_, _, mut head) = led();
    let (name, taken): (SavepointName, _) = ("kept".parse().expect("a name"), at(head.attempt, 1));
    let of = (1, taken);
    head.savepoints =
        vec![Savepoint { name: name.clone(), incarnation: Incarnation::of(1), checkpoint: taken, time: 1 }];
    head.wanted = Wanted::Canceled;
    let (goes_on, dropped) = (object(of, 1), object(of, 2));
    let (job, incarnation) = ("p".parse().expect("a name"), Incarnation::of(1));
    let origin = Origin { job, incarnation, checkpoint: taken, savepoint: Some(name), claim: true, dropped: vec![] };
    let claims = Life { origin: Some(origin), ..life(2, Some(1)) };
    let (mut job, _) = Job::new(settings("second"), Beginning::Deployed(claims), (2, 0), Some((head, "v1".to_owned())));
    done(&mut job, "v2");
    let savepoint = manifest(of, state(&[&goes_on, &dropped]));
    job.handle(2, Event::ManifestLoaded(Incarnation::of(1), taken, Ok(Box::new(savepoint.clone()))));
    job.handle(3, Event::Adopted(Ok(Box::new(manifest((2, CheckpointId::ADOPTED), state(&[&goes_on]))))));
    let actions = done(&mut job, "v3");
    let attempt = actions.iter().find_map(|action| match action {
        Action::Deploy { attempt, .. } => Some(*attempt),
        _ => None,
    });
    let attempt = attempt.expect("it begins");
    job.handle(4, Event::Started { attempt });
    let begun = job.handle(200, Event::Tick);
    let (_, head) = complete(&mut job, &begun, attempt);
    assert!(head.savepoints.is_empty(), "{head:?}");
    let actions = done(&mut job, "v4");
    assert_eq!(deleted(&actions), [dropped, savepoint.name()].into(), "{actions:?}");
}

/// What these delete.
fn deleted(actions: &[Action]) -> BTreeSet<ObjectName> {
    let deletions = actions.iter().filter_map(|action| match action {
        Action::Delete(objects) => Some(objects),
        _ => None,
    });
    deletions.flatten().cloned().collect()
}

#[test]
fn what_is_retired_while_something_is_deleted_is_deleted_after_it() {
    let (mut job, attempt, first) = swapping();
    let mut taken = vec![first];
    assert_eq!(deleted(&done(&mut job, "v2")), [].into());
    let of = |checkpoint| {
        BTreeSet::from([object((1, checkpoint), 7), ObjectName::manifest(&Incarnation::of(1), checkpoint)])
    };
    let mut next = |job: &mut Job| {
        let last = taken[taken.len() - 1];
        let time = 200 * taken.len() as u64;
        let begun = job.handle(time, written(attempt, last));
        let (checkpoint, head) = complete(job, &begun, attempt);
        taken.push(checkpoint);
        let version = format!("of {}", taken.len());
        (head.retired, deleted(&done(job, &version)))
    };
    let nth = |counter| at(attempt, counter);
    assert_eq!(first, nth(1));
    assert_eq!(next(&mut job), (vec![], [].into()));
    assert_eq!(next(&mut job), (vec![nth(1)], of(nth(1))));
    // That takes its time.
    assert_eq!(next(&mut job), (vec![nth(1), nth(2)], [].into()));
    job.handle(600, Event::Deleted);
    assert_eq!(next(&mut job), (vec![nth(2), nth(3)], &of(nth(2)) | &of(nth(3))));
    job.handle(800, Event::Deleted);
    assert_eq!(next(&mut job), (vec![nth(4)], of(nth(4))));
}

#[test]
fn a_stop_is_kept_while_output_of_the_former_life_is_written() {
    let (_, _, mut head) = led();
    let latest = at(head.attempt, 1);
    (head.latest, head.retained) = (Some(latest), vec![latest]);
    (head.wanted, head.unwritten) = (Wanted::Canceled, true);
    let beginning = Beginning::Resumed(life(2, Some(1)));
    let (mut job, actions) = Job::new(settings("second"), beginning, (2, 0), Some((head, "v1".to_owned())));
    let (former, _) = swap(&actions);
    let name: SavepointName = "last".parse().expect("a name");
    let actions = job.handle(1, Event::Savepoint { number: 1, name: name.clone(), stop: true });
    assert!(matches!(actions[..], [Action::Accepted(1, Ok(()))]), "{actions:?}");
    done(&mut job, "v2");
    let owing = manifest((1, latest), carries(&object((1, latest), 1)));
    let actions = job.handle(2, Event::ManifestLoaded(Incarnation::of(1), latest, Ok(Box::new(owing))));
    assert!(actions.iter().any(|action| matches!(action, Action::Settle { .. })), "{actions:?}");
    job.handle(3, written(former.attempt, latest));
    let (head, _) = swap(&job.handle(4, Event::Stopped { attempt: former.attempt }));
    assert_eq!(head.incarnation, Incarnation::of(2));
    let actions = done(&mut job, "v3");
    assert!(actions.iter().any(|action| matches!(action, Action::Deploy { .. })), "{actions:?}");
    let begun = job.handle(5, Event::Started { attempt: head.attempt });
    let (checkpoint, _) = complete(&mut job, &begun, head.attempt);
    let actions = done(&mut job, "v4");
    assert!(!actions.iter().any(|action| matches!(action, Action::Release { .. })), "{actions:?}");
    let (head, _) = swap(&job.handle(6, written(head.attempt, checkpoint)));
    assert_eq!(head.savepoint(&name).map(|kept| kept.checkpoint), Some(checkpoint));
    let (head, _) = swap(&done(&mut job, "v5"));
    assert_eq!((head.wanted, head.unwritten), (Wanted::Canceled, false));
}

#[test]
fn a_job_is_stopped_behind_the_output_of_a_checkpoint_that_is_on_its_way() {
    let (mut job, attempt, checkpoint) = swapping();
    let actions = job.handle(5, Event::Cancel);
    assert!(actions.is_empty(), "{actions:?}");
    let actions = done(&mut job, "v2");
    assert!(matches!(actions[..], [Action::Confirm { .. }, ..]), "{actions:?}");
    let too_early = |action: &Action| matches!(action, Action::Swap { .. } | Action::Release { .. });
    assert!(!actions.iter().any(too_early), "{actions:?}");
    let actions = job.handle(6, written(attempt, checkpoint));
    let (end, _) = swap(&actions);
    assert_eq!((end.wanted, end.unwritten), (Wanted::Canceled, false));
}

#[test]
fn sources_give_nothing_once_their_job_is_canceled() {
    let (mut job, attempt, checkpoint) = swapping();
    let actions = done(&mut job, "v2");
    assert!(actions.iter().any(|action| matches!(action, Action::Release { .. })), "{actions:?}");
    let actions = job.handle(5, Event::Cancel);
    assert!(matches!(actions[..], [Action::Hold { .. }]), "{actions:?}");
    // However long HEAD can't be told.
    for answer in [None, Some(Answer::Again)] {
        let actions = match answer {
            None => job.handle(6, written(attempt, checkpoint)),
            Some(answer) => job.handle(7, Event::Swapped(answer)),
        };
        assert!(!actions.iter().any(|action| matches!(action, Action::Release { .. })), "{actions:?}");
        assert_eq!(job.state(), State::Stopping);
    }
}

/// A job that goes on from a checkpoint with output, after its former leader ended; its HEAD retains an earlier one, too.
fn resumed() -> (Job, Attempt, [CheckpointId; 2]) {
    let (_, _, mut head) = led();
    let (earlier, latest) = (at(head.attempt, 1), at(head.attempt, 2));
    (head.latest, head.retained) = (Some(latest), vec![earlier, latest]);
    let before = Some((head.clone(), "v1".to_owned()));
    let (job, _) = Job::new(settings("second"), Beginning::Resumed(life(1, None)), (2, 0), before);
    (job, Attempt(head.attempt.0 + 1), [earlier, latest])
}

#[test]
fn a_job_that_is_canceled_before_it_goes_on_writes_what_it_owes() {
    let (mut job, attempt, [_, latest]) = resumed();
    let actions = job.handle(1, Event::Cancel);
    assert!(actions.is_empty(), "{actions:?}");
    assert_eq!(job.state(), State::Stopping);
    done(&mut job, "v2");
    let owes = manifest((1, latest), carries(&object((1, latest), 1)));
    let actions = job.handle(2, Event::ManifestLoaded(Incarnation::of(1), latest, Ok(Box::new(owes))));
    assert_eq!(swap(&actions).0.wanted, Wanted::Running, "nothing is deployed, and it has not ended");
    let actions = done(&mut job, "v3");
    let settles = Attempt(attempt.0 + 1);
    assert!(matches!(actions[..], [.., Action::Settle { attempt, .. }] if attempt == settles), "{actions:?}");
    job.handle(3, written(settles, latest));
    let (end, _) = swap(&job.handle(4, Event::Stopped { attempt: settles }));
    assert_eq!((end.wanted, end.unwritten), (Wanted::Canceled, false));
}

#[test]
fn an_attempt_of_a_former_leader_is_stopped_before_a_canceled_job_ends() {
    let (_, _, mut head) = led();
    let latest = at(head.attempt, 1);
    (head.latest, head.retained) = (Some(latest), vec![latest]);
    let (attempt, before) = (head.attempt, Some((head.clone(), "v1".to_owned())));
    let settings = Settings { cluster: Some(InCluster { term: 5, finding: 1000 }), ..settings("second") };
    let (mut job, _) = Job::new(settings, Beginning::Continued(life(1, None)), (2, 0), before);
    job.handle(1, Event::Cancel);
    done(&mut job, "v2");
    let owes = manifest((1, latest), carries(&object((1, latest), 1)));
    let actions = job.handle(2, Event::ManifestLoaded(Incarnation::of(1), latest, Ok(Box::new(owes))));
    assert!(matches!(actions[..], [.., Action::Cancel { attempt: stopped }] if stopped == attempt), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Swap { .. })), "{actions:?}");
    // Only then is what it owes written by another one.
    let (next, _) = swap(&job.handle(3, Event::Stopped { attempt }));
    assert_eq!(next.attempt, Attempt(attempt.0 + 1));
    let actions = done(&mut job, "v3");
    assert!(matches!(actions[..], [.., Action::Settle { .. }]), "{actions:?}");
}

#[test]
fn a_job_that_is_canceled_before_it_begins_copies_nothing() {
    let (_, _, mut head) = led();
    let checkpoint = at(head.attempt, 1);
    (head.latest, head.retained, head.wanted) = (Some(checkpoint), vec![checkpoint], Wanted::Canceled);
    let (job, incarnation) = ("p".parse().expect("a name"), Incarnation::of(1));
    let origin = Origin { job, incarnation, checkpoint, savepoint: None, claim: false, dropped: vec![] };
    let begins = Life { origin: Some(origin), ..life(2, Some(1)) };
    let (mut job, _) = Job::new(settings("second"), Beginning::Deployed(begins), (2, 0), Some((head, "v1".to_owned())));
    job.handle(1, Event::Cancel);
    let actions = done(&mut job, "v2");
    assert!(!actions.iter().any(|action| matches!(action, Action::Adopt { .. })), "{actions:?}");
    assert_eq!(swap(&actions).0.wanted, Wanted::Canceled);
    assert!(matches!(&done(&mut job, "v3")[..], [Action::Ended(End::Canceled)]));
}

#[test]
fn a_retained_checkpoint_that_can_not_be_read_for_now_is_asked_for_again() {
    let (mut job, attempt, [earlier, latest]) = resumed();
    done(&mut job, "v2");
    let of = |checkpoint, loaded| Event::ManifestLoaded(Incarnation::of(1), checkpoint, loaded);
    job.handle(2, of(latest, Ok(Box::new(manifest((1, latest), Snapshot::default())))));
    let failure = Failure { kind: Kind::Retryable, reason: "busy".to_owned() };
    job.handle(2, of(earlier, Err(failure)));
    job.handle(3, Event::Started { attempt });
    let begun = job.handle(200, Event::Tick);
    complete(&mut job, &begun, attempt);
    let actions = done(&mut job, "v3");
    let asks = |action: &&Action| matches!(action, Action::LoadManifest(_, checkpoint) if *checkpoint == earlier);
    assert_eq!(actions.iter().filter(asks).count(), 1, "{actions:?}");
    assert!(deleted(&actions).is_empty(), "{actions:?}");
    job.handle(201, of(earlier, Ok(Box::new(manifest((1, earlier), Snapshot::default())))));
    let begun = job.handle(400, Event::Tick);
    complete(&mut job, &begun, attempt);
    assert!(!deleted(&done(&mut job, "v4")).is_empty());
}

#[test]
fn output_of_a_checkpoint_that_came_to_count_when_nothing_ran_is_written_before_the_end() {
    let (mut job, attempt, checkpoint) = swapping();
    let failure = Failure { kind: Kind::Fatal, reason: "broken".to_owned() };
    job.handle(5, Event::Failed { attempt, failure });
    job.handle(6, Event::Stopped { attempt });
    let (next, _) = swap(&done(&mut job, "v2"));
    assert_eq!((next.wanted, next.attempt), (Wanted::Running, Attempt(attempt.0 + 1)));
    let actions = done(&mut job, "v3");
    assert!(matches!(actions[..], [Action::Settle { .. }]), "{actions:?}");
    job.handle(7, written(next.attempt, checkpoint));
    let (end, _) = swap(&job.handle(8, Event::Stopped { attempt: next.attempt }));
    assert_eq!((end.wanted, end.unwritten), (Wanted::Failed, false));
    let actions = done(&mut job, "v4");
    assert!(matches!(&actions[..], [Action::Ended(End::Failed(failure))] if failure.reason == "broken"), "{actions:?}");
}

#[test]
fn a_job_whose_head_can_not_be_read_any_more_fails() {
    let (mut job, attempt, _) = swapping();
    let actions = job.handle(5, Event::Swapped(Answer::Conflict));
    assert!(matches!(actions[..], [Action::ReadHead]), "{actions:?}");
    let actions = job.handle(6, Event::HeadUnreadable("it is no JSON".to_owned()));
    assert!(actions.iter().any(|action| matches!(action, Action::Cancel { .. })), "{actions:?}");
    let actions = job.handle(7, Event::Stopped { attempt });
    let [Action::Ended(End::Failed(failure))] = &actions[..] else { panic!("{actions:?}") };
    assert!(failure.reason.contains("it is no JSON"), "{failure:?}");
}

#[test]
fn a_job_that_is_canceled_ends_though_its_head_can_not_be_read() {
    let (mut job, attempt, _) = swapping();
    job.handle(5, Event::Swapped(Answer::Conflict));
    job.handle(6, Event::Cancel);
    job.handle(7, Event::HeadUnreadable("it is no JSON".to_owned()));
    let actions = job.handle(8, Event::Stopped { attempt });
    assert!(matches!(&actions[..], [Action::Ended(End::Failed(_))]), "{actions:?}");
}
