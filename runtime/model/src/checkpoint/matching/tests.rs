//! What is told of states that fit a pipeline, and of those that do not.

use super::super::snapshot::{Chain, Node, Output, Progress, Run, Segment, Snapshot, Split, StateName};
use super::super::{Attempt, Chunk};
use super::*;

fn name(text: &str) -> OperatorName {
    text.parse().expect("a name")
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn chunk(object: ObjectName, offset: u64) -> Chunk {
    Chunk { object, offset, length: 10, crc: 7 }
}

fn chain(runs: &[(&ObjectName, u64)], pending: &[&ObjectName]) -> Chain {
    let runs =
        runs.iter().map(|(object, offset)| Run { chunk: chunk((*object).clone(), *offset), entries: 3, groups: None });
    Chain { groups: 0..=127, runs: runs.collect(), pending: pending.iter().copied().cloned().collect() }
}

const LIFE: u128 = 1;

fn object(counter: u32, unique: u128) -> ObjectName {
    ObjectName::new(&Incarnation::of(LIFE), CheckpointId::new(Attempt(1), counter), unique)
}

/// A source, an operator with a value and a map and one state that was given up, another with a list, and a sink.
fn manifest() -> Manifest {
    let split = |split: &str, next| Split { split: split.into(), next, at: None, until: None, id: None, ended: false };
    let state = |name: &str, kind: &str, number| StateName { name: name.into(), kind: kind.into(), number };
    let (old, new, shared) = (object(1, 11), object(9, 12), object(5, 13));
    let with = |state| Snapshot { state: Some(state), ..Snapshot::default() };
    let segment = Segment { checkpoint: CheckpointId::new(Attempt(1), 9), parts: Vec::new() };
    let output = Output { lane: 0, segments: vec![segment], files: Vec::new() };
    let nodes = [
        (
            "in",
            Node {
                subtasks: vec![Snapshot { splits: vec![split("t[0]", 5), split("t[1]", 6)], ..Snapshot::default() }],
                ..Node::default()
            },
        ),
        ("idle", Node { subtasks: vec![Snapshot::default()], ..Node::default() }),
        (
            "totals",
            Node {
                subtasks: vec![
                    with(chain(&[(&old, 0), (&shared, 0)], &[&new, &object(9, 15)])),
                    with(chain(&[(&shared, 10), (&new, 0)], &[])),
                ],
                states: vec![state("sum", "value", 0), state("seen", "map", 2), state("gone", DROPPED, 1)],
                ..Node::default()
            },
        ),
        (
            "last",
            Node {
                subtasks: vec![with(chain(&[(&object(7, 14), 0)], &[]))],
                states: vec![state("recent", "list", 0)],
                ..Node::default()
            },
        ),
        (
            "out",
            Node {
                subtasks: vec![Snapshot { output: Some(output), ..Snapshot::default() }],
                lanes: [(0, Progress { checkpoint: CheckpointId::new(Attempt(1), 8), part: 2 })].into(),
                ..Node::default()
            },
        ),
    ];
    let nodes = nodes.map(|(node, content)| (name(node), content)).into();
    let id = (Incarnation::of(LIFE), CheckpointId::new(Attempt(1), 9));
    Manifest::new("p".parse().expect("a name"), id, 77, KeyGroups::default(), nodes)
}

fn reads<'a>(kind: SplitKind, what: &str, has: impl Fn(&str) -> bool + 'a) -> Reads<'a> {
    Reads { kind, what: what.to_owned(), has: Box::new(has) }
}

fn kafka<'a>(topic: &'a str) -> Reads<'a> {
    reads(SplitKind::Kafka, &format!("the topic {topic}"), move |split| split.starts_with(&format!("{topic}[")))
}

/// Nodes as `source`, `operator/state:kind` or `operator`.
fn wanted<'a>(texts: &[&str]) -> Vec<Wanted<'a>> {
    let mut nodes: Vec<Wanted<'_>> = Vec::new();
    for text in texts {
        let (node, state) = text.split_once('/').map_or((*text, None), |(node, state)| (node, Some(state)));
        let node = name(node);
        if nodes.last().is_none_or(|last| last.name != node) {
            let reads = ["in", "idle", "more"].contains(text).then(|| kafka("t"));
            nodes.push(Wanted { name: node, reads, states: Vec::new() });
        }
        if let Some((state, kind)) = state.and_then(|state| state.split_once(':')) {
            nodes.last_mut().expect("one was added").states.push((state.to_owned(), kind.to_owned()));
        }
    }
    nodes
}

const SAME: &[&str] = &["in", "idle", "totals/sum:value", "totals/seen:map", "last/recent:list", "out"];

fn differences(nodes: &[&str], dropped: &[&str], new: &[&str]) -> Vec<String> {
    let checked = check(&manifest(), (&wanted(nodes), KeyGroups::default()), &texts(dropped), &texts(new));
    let text = checked.err().map(|error| error.to_string()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn refused(nodes: &[&str], (dropped, new): (&[&str], &[&str]), expect: &[&str]) {
    let found = differences(nodes, dropped, new);
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for (line, parts) in found.iter().zip(expect) {
        assert!(parts.split(" … ").all(|part| line.contains(part)), "{line}\nlacks {parts}");
    }
}

#[test]
fn what_goes_together() {
    let check = |nodes: &[&str], dropped: &[&str], new: &[&str]| {
        assert_eq!(differences(nodes, dropped, new), [""; 0], "{nodes:?}, without {dropped:?}, with {new:?}");
    };
    check(SAME, &[], &[]);
    // Operators without state and sinks come and go.
    check(&["in", "totals/seen:map", "totals/sum:value", "last/recent:list", "other"], &[], &[]);
    check(&["in", "totals/sum:value", "last/recent:list"], &["totals/seen"], &[]);
    check(&["in", "totals/sum:value"], &["totals/seen", "last"], &[]);
    check(&["in", "totals"], &["totals", "last/recent"], &[]);
    check(&[SAME, &["totals/max:value"]].concat(), &[], &["totals/max"]);
    check(&[SAME, &["stock/a:value", "stock/b:map"]].concat(), &[], &["stock"]);
    check(&[SAME, &["more"]].concat(), &[], &["more"]);
    check(&["more", "totals/seen:map", "totals/sum:value", "last/recent:list"], &["in"], &["more"]);
    // What is given up may go on under its name, whether that is said or not.
    for new in [&[][..], &["totals/seen"]] {
        check(&["in", "totals/sum:value", "totals/seen:list", "last/recent:list"], &["totals/seen"], new);
    }
    check(SAME, &["in", "totals", "last"], &[]);
    // One that was given up before is not missed, and does not come back.
    check(&[SAME, &["totals/gone:value"]].concat(), &[], &["totals/gone"]);
}

#[test]
fn what_does_not_is_told_with_what_to_do() {
    refused(
        &["in", "totals/sum:value", "last/recent:list"],
        (&[], &[]),
        &["the state totals/seen … --drop-state totals/seen"],
    );
    refused(
        &["more"],
        (&[], &[]),
        &[
            "positions of the source in … --drop-state in",
            "the state last/recent, which … --drop-state last/recent",
            "the state totals/seen",
            "the state totals/sum",
            "does not have positions of the source more: … begin where its `start` says … --new-state more",
        ],
    );
    refused(
        &["in", "totals/sum:list", "totals/seen:map", "last/recent:list", "last/first:value"],
        (&[], &[]),
        &[
            "totals/sum is a value in the checkpoint and a list in the pipeline … --drop-state totals/sum",
            "does not have the state last/first: let it begin empty with --new-state last/first",
        ],
    );
    // The name of a source is an operator's now.
    refused(
        &["in/sum:value", "totals/sum:value", "totals/seen:map", "last/recent:list"],
        (&[], &[]),
        &["positions of the source in", "does not have the state in/sum"],
    );
}

/// What is told of a source that reads this, where the checkpoint has these splits of it.
fn of_source(splits: &[&str], reads: Reads<'_>, dropped: &[&str]) -> Vec<String> {
    let split =
        |split: &&str| Split { split: (*split).to_owned(), next: 5, at: None, until: None, id: None, ended: false };
    let snapshots = splits.iter().map(|text| Snapshot { splits: vec![split(text)], ..Snapshot::default() });
    let node = Node { subtasks: snapshots.collect(), ..Node::default() };
    let Manifest { pipeline, incarnation, checkpoint, .. } = manifest();
    let manifest =
        Manifest::new(pipeline, (incarnation, checkpoint), 77, KeyGroups::default(), [(name("in"), node)].into());
    // As one of an earlier version is read: nothing else than the names of splits tells what they are of.
    let manifest = Manifest::from_bytes(&manifest.to_bytes()).expect("it is whole");
    let wanted = [Wanted { name: name("in"), reads: Some(reads), states: Vec::new() }];
    let checked = check(&manifest, (&wanted, KeyGroups::default()), &texts(dropped), &[]);
    checked.err().map_or_else(Vec::new, |error| error.differences.iter().map(ToString::to_string).collect())
}

fn files<'a>(path: &'a str) -> Reads<'a> {
    reads(SplitKind::Files, &format!("files of {path}"), move |split| split.starts_with(path))
}

fn generator<'a>() -> Reads<'a> {
    reads(SplitKind::Generator, "a generator", |_| true)
}

#[test]
fn a_source_goes_on_with_more_or_less_of_the_same() {
    let check = |splits: &[&str], reads: Reads<'_>| assert_eq!(of_source(splits, reads, &[]), [""; 0], "{splits:?}");
    check(&["orders[0]", "orders[1]"], kafka("orders"));
    check(&["orders[0]", "old[0]"], kafka("orders"));
    check(&["/in/a", "/in/b"], files("/in"));
    check(&["/in/a", "/gone/b"], files("/in"));
    check(&["0", "1"], generator());
    // It has found nothing to read.
    check(&[], generator());
}

#[test]
fn a_source_of_another_kind_does_not_begin_anew_unasked() {
    let check = |splits: &[&str], reads: fn() -> Reads<'static>, expect: &str| {
        let found = of_source(splits, reads(), &[]);
        assert!(matches!(&found[..], [one] if one.contains(expect) && one.contains("--drop-state in")), "{found:?}");
        assert_eq!(of_source(splits, reads(), &["in"]), [""; 0], "{splits:?}");
    };
    let in_files = || files("/in");
    check(&["0"], in_files, "has positions in a generator in the checkpoint and reads files of /in in the pipeline");
    check(&["/in/a", "/in/b"], generator, "positions in files (/in/a and 1 more) in the checkpoint and reads a gen");
    check(&["orders[0]"], generator, "positions in Kafka topics (orders[0]) in the checkpoint and reads a generator");
    check(&["orders[0]"], in_files, "reads files of /in in the pipeline");
    check(&["0"], || kafka("orders"), "reads the topic orders in the pipeline");
    check(
        &["/old/a"],
        in_files,
        "positions in files (/old/a) in the checkpoint and reads files of /in in the pipeline",
    );
    check(&["old[0]", "old[1]"], || kafka("orders"), "(old[0] and 1 more)");
}

#[test]
fn what_names_nothing_is_told_with_what_it_may_mean() {
    refused(
        SAME,
        (&["totals/gone", "total/seen", "x"], &["total", "totals/sum", "in", "idle", "out"]),
        &[
            "--drop-state \"total/seen\": the checkpoint has nothing of that name; did you mean totals/seen?",
            "--drop-state \"totals/gone\"",
            "--drop-state \"x\": … it has: in, last, last/recent, totals, totals/seen, totals/sum",
            "--new-state in: the checkpoint has it",
            "--new-state \"out\": the pipeline has nothing of that name",
            "--new-state \"total\": the pipeline has nothing of that name; did you mean totals?",
            "--new-state totals/sum: the checkpoint has it; leave this out",
        ],
    );
}

#[test]
fn key_groups_stay_as_long_as_there_is_state() {
    let other = KeyGroups::new(64).expect("a number");
    let check = |dropped: &[&str], expect: Option<Vec<Difference>>| {
        let checked = check(&manifest(), (&wanted(SAME), other), &texts(dropped), &[]);
        assert_eq!(checked.err().map(|error| error.differences), expect);
    };
    check(&["totals"], Some(vec![Difference::KeyGroups(128, 64)]));
    check(&["totals", "last"], None);
}

fn origin(claim: bool, dropped: &[&str]) -> Origin {
    let Manifest { pipeline, incarnation, checkpoint, .. } = manifest();
    Origin { job: pipeline, incarnation, checkpoint, savepoint: None, claim, dropped: texts(dropped) }
}

fn objects(manifest: &Manifest) -> BTreeSet<ObjectName> {
    manifest.objects().cloned().collect()
}

#[test]
fn a_new_life_has_objects_of_its_own() {
    let life = Incarnation::of(2);
    let (adopted, copies) = adopt(&manifest(), "q".parse().expect("a name"), &life, &origin(false, &[]));
    assert_eq!((adopted.pipeline.as_str(), adopted.incarnation.clone()), ("q", life.clone()));
    assert_eq!((adopted.checkpoint, adopted.time), (CheckpointId::ADOPTED, 77));
    // Each once, also where two subtasks name it, and none that nothing is restored from but what is named elsewhere too.
    let from: Vec<ObjectName> = copies.iter().map(|(from, _)| from.clone()).collect();
    assert_eq!(from, [object(1, 11), object(5, 13), object(7, 14), object(9, 12)]);
    let to: BTreeSet<ObjectName> = copies.iter().map(|(_, to)| to.clone()).collect();
    assert_eq!((to.len(), &to), (4, &objects(&adopted)));
    for (from, to) in &copies {
        assert_eq!((to.unique(), to.checkpoint()), (from.unique(), CheckpointId::ADOPTED));
        assert!(to.as_str().starts_with(life.as_str()));
    }
    // Nothing else changes but that there is no output.
    let mut expected = manifest();
    for node in expected.nodes.values_mut() {
        node.lanes.clear();
        for subtask in &mut node.subtasks {
            subtask.output = None;
            let runs = subtask.state.iter_mut().flat_map(|chain| {
                chain.pending.clear();
                &mut chain.runs
            });
            runs.for_each(|run| run.chunk.object = run.chunk.object.adopted(&life));
        }
    }
    assert_eq!(adopted.nodes, expected.nodes);
    // A second time nothing is different: a crash in between costs nothing but time.
    assert_eq!(adopt(&manifest(), "q".parse().expect("a name"), &life, &origin(false, &[])), (adopted, copies));
}

#[test]
fn what_is_claimed_stays_where_it_is() {
    let life = Incarnation::of(2);
    let (adopted, copies) = adopt(&manifest(), "p".parse().expect("a name"), &life, &origin(true, &["last"]));
    assert_eq!((adopted.incarnation, copies), (life, Vec::new()));
    let expected: BTreeSet<ObjectName> = [object(1, 11), object(5, 13), object(9, 12)].into();
    assert_eq!(
        adopted
            .nodes
            .values()
            .flat_map(|node| &node.subtasks)
            .flat_map(Snapshot::objects)
            .cloned()
            .collect::<BTreeSet<_>>(),
        expected
    );
}

#[test]
fn what_is_given_up_is_not_copied() {
    let adopted = |dropped: &[&str]| {
        adopt(&manifest(), "p".parse().expect("a name"), &Incarnation::of(2), &origin(false, dropped))
    };
    let (one, copies) = adopted(&["totals/seen", "in"]);
    assert_eq!(copies.len(), 4);
    assert!(!one.nodes.contains_key("in"));
    let states: Vec<_> =
        one.nodes["totals"].states.iter().map(|s| (s.name.as_str(), s.kind.as_str(), s.number)).collect();
    assert_eq!(states, [("sum", "value", 0), ("seen", DROPPED, 2), ("gone", DROPPED, 1)]);
    // With its last state an operator's runs go.
    let (none, copies) = adopted(&["totals/seen", "totals/sum", "last"]);
    assert_eq!(copies, []);
    assert_eq!(none.nodes["totals"], Node { subtasks: vec![Snapshot::default(); 2], ..Node::default() });
    assert!(!none.nodes.contains_key("last") && none.nodes.contains_key("out"));
}
