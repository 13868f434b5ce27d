//! What there is to look at without a server: graphs, components, fields of the pipeline file, the schema.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::run;

const PIPELINE: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: orders}
sources:
  in: {generator: {}}
sinks:
  out: {stdout: {}, from: in, parallelism: 2}
";

/// A component that `deployment/plugins.sh` built.
pub fn built(name: &str) -> PathBuf {
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("flow/plugins"));
    let home = || std::env::home_dir().map(|home| home.join(".cache/flow/plugins"));
    let given = std::env::var_os("FLOW_PLUGINS").map(PathBuf::from);
    let path = given.or_else(cache).or_else(home).expect("a place for components").join(name).with_extension("wasm");
    assert!(path.exists(), "{} is not built: deployment/plugins.sh {name}", path.display());
    path
}

#[test]
fn a_graph_in_every_form() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("p.yaml"), PIPELINE).expect("a file");
    let graph = |form: &str| {
        let called = run(directory.path(), &["graph", "p.yaml", "-o", form]);
        assert_eq!(called.code, 0, "{}", called.stderr);
        called.stdout
    };
    assert_eq!(graph("text"), "orders\n\nin (generator)\n└─▶ out (stdout ×2)\n");
    assert!(graph("dot").contains("\"in\" -> \"out\";"));
    assert!(graph("mermaid").contains("n0 --> n1"));
    let json: Value = serde_json::from_str(&graph("json")).expect("JSON");
    assert_eq!((&json["nodes"][1]["role"], &json["edges"][0]["to"]), (&"sink".into(), &1.into()));
    let missing = run(directory.path(), &["graph", "no.yaml"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (2, ""));
    assert!(missing.stderr.starts_with("error: can't read the pipeline file no.yaml"), "{}", missing.stderr);
}

#[test]
fn a_component_is_inspected() {
    let here = std::env::temp_dir();
    let counter = built("counter");
    let counter = counter.to_str().expect("text");
    let called = run(&here, &["plugin", "inspect", counter]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    for line in [
        "world     flow:operator/process-operator@0.1.0\n",
        "kind      process\n",
        "reads     none\n",
        "state     count (value of u64-le, version 1)\n",
        "asks for  none\n",
    ] {
        assert!(called.stdout.contains(line), "{line} in {}", called.stdout);
    }
    let json: Value =
        serde_json::from_str(&run(&here, &["plugin", "inspect", counter, "-o", "json"]).stdout).expect("JSON");
    assert_eq!((&json["kind"], &json["states"][0]["encoding"]), (&"process".into(), &"u64-le".into()));
    let name = run(&here, &["plugin", "inspect", counter, "-o", "name"]).stdout;
    assert_eq!(json["digest"], name.trim());
}

#[test]
fn what_is_no_operator_is_inspected_as_far_as_it_goes() {
    let directory = tempfile::tempdir().expect("a directory");
    let inspect = |bytes: &[u8]| {
        fs::write(directory.path().join("x.wasm"), bytes).expect("a file");
        run(directory.path(), &["plugin", "inspect", "x.wasm"])
    };
    let empty = inspect(b"\0asm\x0d\0\x01\0");
    assert_eq!(empty.code, 2, "{}", empty.stderr);
    assert!(empty.stdout.contains("world     none of this version\nexports   none\n"), "{}", empty.stdout);
    assert!(empty.stdout.contains("\nproblem   "), "{}", empty.stdout);
    let text = inspect(b"text");
    assert_eq!((text.code, text.stdout.as_str()), (2, ""));
    assert!(text.stderr.starts_with("error: x.wasm is no valid component: "), "{}", text.stderr);
}

#[test]
fn fields_are_explained() {
    let here = std::env::temp_dir();
    let called = run(&here, &["explain", "sources.files.max-line"]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    assert_eq!(called.stdout, "sources.files.max-line  (byte size)\n\nA longer line fails the job. Default: 32Mi.\n");
    let whole = run(&here, &["explain"]).stdout;
    assert!(whole.contains("\nsources      map from names"), "{whole}");
    let code = run(&here, &["explain", "kind-mismatch"]).stdout;
    assert!(code.starts_with("kind-mismatch  (a problem in a pipeline file)\n\nAn operator's kind"), "{code}");
    let wrong = run(&here, &["explain", "sinks.blackhole.fast"]);
    assert_eq!(wrong.code, 2);
    assert_eq!(wrong.stderr, "error: \"sinks.blackhole\" has no field \"fast\"\n  it has no fields\n");
}

#[test]
fn the_schema_is_the_committed_one() {
    let called = run(&std::env::temp_dir(), &["schema"]);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/pipeline.schema.json");
    assert_eq!(called.stdout, fs::read_to_string(committed).expect("it is there"));
}

#[test]
fn forms_of_output() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("p.yaml"), PIPELINE).expect("a file");
    let check = |form: &str| run(directory.path(), &["check", "p.yaml", "-o", form]);
    assert_eq!(check("name").stdout, "orders\n");
    let yaml = check("yaml").stdout;
    assert!(yaml.contains("\n  pipeline: orders\n"), "{yaml}");
    assert_eq!(check("wide").stdout, check("table").stdout);
    let no_names = run(directory.path(), &["explain", "-o", "name"]);
    assert_eq!((no_names.code, no_names.stdout.as_str()), (2, ""));
    assert_eq!(no_names.stderr, "error: this command has no names to show\n  leave out -o name\n");
}
