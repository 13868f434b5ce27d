//! Pipelines and the plans that they give: goldens for the shapes that matter, and properties of all of them.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::diagnostic::Error;
use flow_model::graph::Role;
use flow_model::ids::OperatorName;
use flow_model::kind::OperatorKind;
use flow_model::plan::{Head, Partitioning, Plan, Tail, plan};
use flow_model::spec::Pipeline;
use proptest::prelude::*;

const HEAD: &str = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: job}\n";

fn name(text: &str) -> OperatorName {
    OperatorName::new(text).expect("a good name")
}

/// Operators whose name begins with `count` are processes, with `filter` filters, the others flat-maps.
fn planned(body: &str) -> Result<Plan, Error> {
    let pipeline = Pipeline::parse("p.yaml", format!("{HEAD}{body}").as_bytes()).expect("a good pipeline");
    let kinds = pipeline.operators.iter().map(|operator| {
        let kind = match operator.name.as_str() {
            name if name.starts_with("count") => OperatorKind::Process,
            name if name.starts_with("filter") => OperatorKind::Filter,
            _ => OperatorKind::FlatMap,
        };
        (operator.name.clone(), kind)
    });
    plan(&pipeline, &kinds.collect())
}

#[track_caller]
fn check(body: &str, expect: &str) {
    let plan = planned(body).expect("a plan");
    assert_eq!(plan.to_string().trim(), expect.trim());
    let json = serde_json::to_string(&plan).expect("serializable");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("reads back"), plan);
}

#[test]
fn word_count() {
    check(
        "
parallelism: 2
sources: {lines: {files: {path: ./texts}}}
operators:
  tokens: {component: t.wasm, from: lines}
  counts: {component: c.wasm, from: tokens, key: $value}
sinks: {out: {files: {path: ./out}, from: counts}}
",
        "
job: 2 tasks, 4 subtasks, 128 key groups

task 0: lines → tokens (parallelism 2)
  source    lines (files)
  flat-map  tokens
  to        task 1, hash by $value

task 1: counts → out (parallelism 2)
  from      task 0, hash by $value
  process   counts (key $value)
  sink      out (files)
",
    );
}

#[test]
fn with_parallelism_one_a_keyed_operator_is_chained() {
    let body = "
key-groups: 1
sources: {in: {generator: {count: 10}}}
operators:
  count: {component: c.wasm, from: in, key: customer.id}
  filter: {component: f.wasm, from: count}
sinks: {out: {blackhole: {}, from: filter}}
";
    check(
        body,
        "
job: 1 task, 1 subtask, 1 key group

task 0: in → count → filter → out (parallelism 1)
  source    in (generator)
  process   count (key customer.id)
  filter    filter
  sink      out (blackhole)
",
    );
    let plan = planned(body).expect("a plan");
    assert_eq!(plan.tasks[0].chain.iter().map(|element| element.takes_key).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn another_parallelism_rebalances() {
    check(
        "
sources: {in: {kafka: {brokers: 'b:1', topic: t}, parallelism: 4}}
operators: {map: {component: m.wasm, from: in, parallelism: 2}}
sinks: {out: {kafka: {brokers: 'b:1', topic: u}, from: map}}
",
        "
job: 3 tasks, 7 subtasks, 128 key groups

task 0: in (parallelism 4)
  source    in (kafka)
  to        task 1, rebalance

task 1: map (parallelism 2)
  from      task 0, rebalance
  flat-map  map
  to        task 2, rebalance

task 2: out (parallelism 1)
  from      task 1, rebalance
  sink      out (kafka)
",
    );
}

#[test]
fn fan_out_and_fan_in_are_forward_exchanges() {
    check(
        "
parallelism: 3
sources:
  in: {files: {path: a}}
  more: {files: {path: b}}
operators:
  a: {component: a.wasm, from: in}
  b: {component: b.wasm, from: in}
  count: {component: c.wasm, from: [b, a, more], key: $key}
sinks: {out: {stdout: {}, from: count}}
",
        "
job: 5 tasks, 15 subtasks, 128 key groups

task 0: in (parallelism 3)
  source    in (files)
  to        task 2, forward
  to        task 3, forward

task 1: more (parallelism 3)
  source    more (files)
  to        task 4, hash by $key

task 2: a (parallelism 3)
  from      task 0, forward
  flat-map  a
  to        task 4, hash by $key

task 3: b (parallelism 3)
  from      task 0, forward
  flat-map  b
  to        task 4, hash by $key

task 4: count → out (parallelism 3)
  from      task 3, hash by $key
  from      task 2, hash by $key
  from      task 1, hash by $key
  process   count (key $key)
  sink      out (stdout)
",
    );
}

#[test]
fn a_source_straight_into_a_sink_and_an_operator_that_nobody_reads() {
    check(
        "
sources:
  in: {generator: {}}
  other: {generator: {}}
operators: {lost: {component: l.wasm, from: other}}
sinks: {out: {blackhole: {}, from: in}}
",
        "
job: 2 tasks, 2 subtasks, 128 key groups

task 0: in → out (parallelism 1)
  source    in (generator)
  sink      out (blackhole)

task 1: other → lost (parallelism 1)
  source    other (generator)
  flat-map  lost
  to        nobody
",
    );
}

#[test]
fn dead_letters_have_exchanges_of_their_own() {
    check(
        "
parallelism: 2
sources: {in: {generator: {}}}
operators:
  a: {component: a.wasm, from: in, on-error: dead-letter}
  b: {component: b.wasm, from: a, on-error: skip}
  count: {component: c.wasm, from: b, key: $key, on-error: {retry: 2, then: dead-letter}}
sinks:
  out: {blackhole: {}, from: count}
  dead: {stdout: {}, from: dead-letter, parallelism: 1}
  of-a: {blackhole: {}, from: [a.dead-letter, count]}
",
        "
job: 5 tasks, 9 subtasks, 128 key groups

task 0: in → a → b (parallelism 2)
  source    in (generator)
  flat-map  a
  flat-map  b
  to        task 1, hash by $key
  dead      task 3, rebalance: dead letters of a
  dead      task 3, rebalance: dead letters of count
  dead      task 4, forward: dead letters of a

task 1: count (parallelism 2)
  from      task 0, hash by $key
  process   count (key $key)
  to        task 2, forward
  to        task 4, forward
  dead      task 3, rebalance: dead letters of count

task 2: out (parallelism 2)
  from      task 1, forward
  sink      out (blackhole)

task 3: dead (parallelism 1)
  from      task 0, rebalance: dead letters of a
  from      task 1, rebalance: dead letters of count
  from      task 0, rebalance: dead letters of count
  sink      dead (stdout)

task 4: of-a (parallelism 2)
  from      task 1, forward
  from      task 0, forward: dead letters of a
  sink      of-a (blackhole)
",
    );
}

#[test]
fn sources_and_sinks_send_dead_letters_too() {
    check(
        "
parallelism: 2
sources: {in: {files: {path: ., format: json}, on-error: dead-letter}}
sinks:
  out: {kafka: {brokers: b, topic: t}, from: in, on-error: dead-letter}
  dead: {stdout: {}, from: dead-letter, parallelism: 1}
  of-out: {blackhole: {}, from: out.dead-letter}
",
        "
job: 3 tasks, 5 subtasks, 128 key groups

task 0: in → out (parallelism 2)
  source    in (files)
  sink      out (kafka)
  dead      task 1, rebalance: dead letters of in
  dead      task 1, rebalance: dead letters of out
  dead      task 2, forward: dead letters of out

task 1: dead (parallelism 1)
  from      task 0, rebalance: dead letters of in
  from      task 0, rebalance: dead letters of out
  sink      dead (stdout)

task 2: of-out (parallelism 2)
  from      task 0, forward: dead letters of out
  sink      of-out (blackhole)
",
    );
}

#[test]
fn the_json_form() {
    let plan = planned(
        "
sources: {in: {generator: {}, parallelism: 2}}
operators: {count: {component: c.wasm, from: in, key: $key}}
sinks: {out: {blackhole: {}, from: count}}
",
    )
    .expect("a plan");
    let expect = serde_json::json!({
        "pipeline": "job",
        "key-groups": 128,
        "tasks": [
            {
                "id": 0, "name": "in", "parallelism": 2,
                "head": {"source": {"name": "in", "connector": "generator"}},
                "chain": [],
                "tail": {"exchanges": [0]},
            },
            {
                "id": 1, "name": "count → out", "parallelism": 1,
                "head": {"exchanges": [0]},
                "chain": [{"operator": "count", "kind": "process", "key": "$key"}],
                "tail": {"sink": {"name": "out", "connector": "blackhole"}},
            },
        ],
        "exchanges": [{"id": 0, "from": 0, "to": 1, "partitioning": {"hash": "$key"}}],
    });
    assert_eq!(serde_json::to_value(&plan).expect("serializable"), expect);
}

#[test]
fn kinds_that_do_not_fit_their_place() {
    let body = "sources: {in: {generator: {}}}
operators:
  count: {component: c.wasm, from: in}
  filter: {component: f.wasm, from: count, key: $key}
sinks: {out: {blackhole: {}, from: filter}}
";
    let messages = planned(body).expect_err("two errors").to_string();
    let expect = r#"p.yaml:6:3: operator "count" is a process and has no key; add `key: $key` (or $value, or a field such as customer.id)
p.yaml:7:49: operator "filter" is a filter, which has no key; remove `key`, or use a process component"#;
    assert_eq!(messages, expect);

    let pipeline = Pipeline::parse("p.yaml", format!("{HEAD}{body}").as_bytes()).expect("a good pipeline");
    let kinds = BTreeMap::from([(name("filter"), OperatorKind::Process)]);
    let messages = plan(&pipeline, &kinds).expect_err("an error").to_string();
    assert_eq!(messages, r#"p.yaml:6:3: the kind of operator "count" is not known; read its component first"#);
}

#[test]
fn more_queues_than_a_process_should_have() {
    let body = |keyed: usize| {
        let operators: String = (1..=keyed)
            .map(|n| format!("  count{n}: {{component: c.wasm, from: {}, key: $key}}\n", format_args!("n{}", n - 1)))
            .collect();
        let operators = operators.replace("from: n0", "from: in").replace("from: n", "from: count");
        format!(
            "parallelism: 256\nkey-groups: 256\nsources: {{in: {{files: {{path: ./a}}}}}}\noperators:\n{operators}\
             sinks: {{out: {{files: {{path: ./out}}, from: count{keyed}}}}}\n"
        )
    };
    planned(&body(4)).expect("as many as there may be");
    let message = planned(&body(5)).expect_err("more").to_string();
    let expect = "p.yaml:12:3: down to \"count5\", 327680 queues between subtasks are needed; one process can have 262144; \
                  lower `parallelism`, or give neighbours the same";
    assert_eq!(message, expect);
}

/// A random pipeline: sources, operators that read what stands before them in a shuffled file, sinks.
#[derive(Debug, Clone)]
struct Shape {
    sources: Vec<u32>,
    /// Parallelism, whether keyed, what it reads (an index modulo what stands before it).
    operators: Vec<(u32, bool, Vec<usize>)>,
    sinks: Vec<(u32, Vec<usize>)>,
    reversed: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let parallelism = || prop_oneof![3 => Just(1u32), 3 => Just(2), 1 => 3u32..=5];
    let inputs = || proptest::collection::vec(any::<usize>(), 1..4);
    (
        proptest::collection::vec(parallelism(), 1..4),
        proptest::collection::vec((parallelism(), any::<bool>(), inputs()), 0..10),
        proptest::collection::vec((parallelism(), inputs()), 1..4),
        any::<bool>(),
    )
        .prop_map(|(sources, operators, sinks, reversed)| Shape { sources, operators, sinks, reversed })
}

impl Shape {
    fn body(&self) -> String {
        let sources: Vec<String> = (0..self.sources.len()).map(|n| format!("s{n}")).collect();
        let operators = self.operators.iter().enumerate();
        let operators: Vec<String> =
            operators.map(|(n, (_, keyed, _))| format!("{}{n}", if *keyed { "count" } else { "map" })).collect();
        let readable: Vec<&String> = sources.iter().chain(&operators).collect();
        let from = |inputs: &[usize], before: usize| {
            let names: BTreeSet<&str> = inputs.iter().map(|input| readable[input % before].as_str()).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let mut lines: Vec<String> = Vec::new();
        for (n, (parallelism, keyed, inputs)) in self.operators.iter().enumerate() {
            let key = if *keyed { ", key: $key" } else { "" };
            let from = from(inputs, sources.len() + n);
            let name = &operators[n];
            lines.push(format!("  {name}: {{component: c.wasm, parallelism: {parallelism}, from: [{from}]{key}}}\n"));
        }
        if self.reversed {
            lines.reverse();
        }
        let mut body = String::from("sources:\n");
        for (name, parallelism) in sources.iter().zip(&self.sources) {
            body += &format!("  {name}: {{generator: {{}}, parallelism: {parallelism}}}\n");
        }
        body += "operators:\n";
        body.extend(lines);
        body += "sinks:\n";
        for (n, (parallelism, inputs)) in self.sinks.iter().enumerate() {
            let from = from(inputs, readable.len());
            body += &format!("  out{n}: {{blackhole: {{}}, parallelism: {parallelism}, from: [{from}]}}\n");
        }
        body
    }
}

/// Every edge of the plan, from operator to operator: inside the chains and over the exchanges.
fn edges(plan: &Plan) -> Vec<(OperatorName, OperatorName)> {
    let mut edges = Vec::new();
    for task in &plan.tasks {
        let names: Vec<&OperatorName> = task.operators().collect();
        edges.extend(names.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())));
    }
    for exchange in &plan.exchanges {
        let last = plan.task(exchange.from).operators().last().expect("no task is empty");
        let first = plan.task(exchange.to).operators().next().expect("no task is empty");
        edges.push((last.clone(), first.clone()));
    }
    edges.sort();
    edges
}

proptest! {
    #[test]
    fn a_plan_is_its_graph(shape in shapes()) {
        let pipeline = Pipeline::parse("p.yaml", format!("{HEAD}{}", shape.body()).as_bytes()).expect("a good pipeline");
        let plan = planned(&shape.body()).expect("a plan");
        let graph = pipeline.graph();

        // The graph is in topological order and its edges agree with each other.
        for (id, node) in graph.iter() {
            prop_assert!(node.inputs.iter().all(|input| *input < id));
            prop_assert!(node.inputs.iter().all(|&input| graph.node(input).outputs.contains(&id)));
            prop_assert!(node.outputs.iter().all(|&output| graph.node(output).inputs.contains(&id)));
            prop_assert_eq!(node.inputs.is_empty(), matches!(node.role, Role::Source(_)));
        }

        // Each node runs in exactly one task.
        let mut placed: Vec<OperatorName> = plan.tasks.iter().flat_map(|task| task.operators().cloned()).collect();
        let mut declared: Vec<OperatorName> = graph.nodes().iter().map(|node| node.name.clone()).collect();
        placed.sort();
        declared.sort();
        prop_assert_eq!(placed, declared);

        // The edges are those of the graph, each once.
        let mut expected = Vec::new();
        for node in graph.nodes() {
            expected.extend(node.inputs.iter().map(|&input| (graph.node(input).name.clone(), node.name.clone())));
        }
        expected.sort();
        prop_assert_eq!(edges(&plan), expected);

        // Ids are indices, exchanges are known at both ends and lead forward.
        for (index, task) in plan.tasks.iter().enumerate() {
            prop_assert_eq!(task.id.index(), index);
            prop_assert!(task.inputs().iter().all(|&id| plan.exchange(id).to == task.id));
            prop_assert!(task.outputs().iter().all(|&id| plan.exchange(id).from == task.id));
        }
        for (index, exchange) in plan.exchanges.iter().enumerate() {
            prop_assert_eq!(exchange.id.index(), index);
            prop_assert!(exchange.from < exchange.to);
            prop_assert!(plan.task(exchange.from).outputs().contains(&exchange.id));
            prop_assert!(plan.task(exchange.to).inputs().contains(&exchange.id));
            let equal = plan.task(exchange.from).parallelism == plan.task(exchange.to).parallelism;
            match exchange.partitioning {
                Partitioning::Forward => prop_assert!(equal),
                Partitioning::Rebalance => prop_assert!(!equal),
                Partitioning::Hash(_) => {}
            }
        }

        // A keyed operator has its key from a hash exchange or takes it itself, and then is alone with all keys.
        for task in &plan.tasks {
            for (place, element) in task.chain.iter().enumerate() {
                let hashed = place == 0
                    && !task.inputs().is_empty()
                    && task.inputs().iter().all(|&id| matches!(plan.exchange(id).partitioning, Partitioning::Hash(_)));
                prop_assert_eq!(element.key.is_some(), element.kind.is_keyed());
                prop_assert_eq!(element.takes_key, element.kind.is_keyed() && !hashed);
                prop_assert!(!element.takes_key || task.parallelism == 1);
                // Nothing in a chain stands behind a fan-out or in front of a fan-in.
                let spec = pipeline.operator(&element.operator).expect("it is in the file");
                prop_assert_eq!(spec.parallelism, task.parallelism);
                prop_assert!(place == 0 || spec.from.len() == 1);
            }
            let whole = matches!(task.head, Head::Source(_)) || !task.inputs().is_empty();
            prop_assert!(whole);
            let readers = match &task.tail {
                Tail::Sink(_) => 0,
                Tail::Exchanges(exchanges) => exchanges.len(),
            };
            let last = task.operators().last().expect("no task is empty");
            let node = graph.nodes().iter().find(|node| node.name == *last).expect("it is in the graph");
            prop_assert_eq!(readers, node.outputs.len());
        }
    }
}

/// `flowctl` shows the plan that a server sent, whatever server that is.
#[test]
fn a_plan_that_names_what_it_has_not_is_not_read() {
    let plan = planned(
        "sources:\n  in: {generator: {}}\noperators:\n  count: {component: c, from: in, key: $key, parallelism: 2}\nsinks:\n  out: {blackhole: {}, from: count, parallelism: 2}\n",
    );
    let good = serde_json::to_value(plan.expect("a plan")).expect("serializable");
    serde_json::from_value::<Plan>(good.clone()).expect("as it was sent");
    let check = |path: &str, value: serde_json::Value, expect: &str| {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap_or_else(|| panic!("{path} in {good}")) = value;
        let error = serde_json::from_value::<Plan>(bad).expect_err(path).to_string();
        assert!(error.contains(expect), "{path}: {error}");
    };
    check("/tasks/1/id", 0.into(), "task 0 stands in place 1 of the plan");
    check("/exchanges/0/id", 7.into(), "exchange 7 stands in place 0");
    check("/exchanges/0/from", 2.into(), "exchange 0 names task 2, of 2");
    check("/exchanges/0/to", 9.into(), "exchange 0 names task 9, of 2");
    check("/tasks/0/tail/exchanges/0", 1.into(), "task 0 names exchange 1, of 1");
    check("/tasks/1/head/exchanges/0", 3.into(), "task 1 names exchange 3, of 1");
}
