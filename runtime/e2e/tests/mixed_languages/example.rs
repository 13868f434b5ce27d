//! The example in the operator's own folder, as its README says to run it.

use std::fs;
use std::path::Path;

use flow_e2e::flowd::{Flowd, plugins};

#[test]
fn the_example_runs_as_it_is() {
    let flowd = Flowd::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/python-enrich");
    for file in ["pipeline.yaml", "orders.jsonl"] {
        flowd.write(file, fs::read(folder.join(file)).expect("it lies in the folder"));
    }
    let component = plugins().join("python-enrich.wasm");
    flowd.write("python-enrich.wasm", fs::read(component).expect("deployment/plugins.sh builds it"));
    let called = flowd.ctl(&["run", "pipeline.yaml"]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    let wanted = "\
{\"id\":1,\"customer\":{\"name\":\"Jürgen\",\"country\":\"DE\"},\"country\":\"Deutschland\"}
{\"id\":2,\"customer\":{\"name\":\"Aiko\",\"country\":\"JP\"},\"country\":\"日本\"}
{\"id\":4,\"customer\":{\"name\":\"Chloé\",\"country\":\"FR\"},\"country\":\"France\"}
";
    assert_eq!(called.stdout, wanted);
    for part in ["orders.jsonl:3 was skipped (unknown-value)", "orders.jsonl:5 was skipped (no-key)"] {
        assert!(called.stderr.contains(part), "{part} is not in: {}", called.stderr);
    }
}
