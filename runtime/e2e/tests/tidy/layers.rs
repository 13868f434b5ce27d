//! Which crate may depend on which. Each split of a crate exists for a dependency that it forbids; this holds it.
//! Dependencies of tests are free.

use std::collections::BTreeSet;

use serde_json::Value;

/// What one crate may use.
pub struct Layer {
    name: &'static str,
    /// The crates of this repository that it may depend on; no other.
    ours: &'static [&'static str],
    /// Crates of others that it must not depend on; `*` is every one.
    never: &'static [&'static str],
}

const fn layer(name: &'static str, ours: &'static [&'static str], never: &'static [&'static str]) -> Layer {
    Layer { name, ours, never }
}

const SHELL: &[&str] = &["tokio", "rdkafka", "rocksdb", "wasmtime", "axum", "ureq", "libc"];

/// The crates of the main workspace, lowest first.
pub const RUNTIME: &[Layer] = &[
    layer("flow-frame", &[], &["*"]),
    layer("flow-model", &[], SHELL),
    layer("flow-dataflow", &["flow-frame", "flow-model"], SHELL),
    layer(
        "flow-plugin",
        &["flow-dataflow", "flow-frame", "flow-model"],
        &["tokio", "rdkafka", "rocksdb", "axum", "ureq"],
    ),
    layer("flow-protocol", &["flow-model"], SHELL),
    layer("flow-rpc", &["flow-model"], SHELL),
    layer("flow-store", &[], &["rdkafka", "rocksdb", "wasmtime", "axum", "ureq", "libc"]),
    layer(
        "flow-worker",
        &["flow-dataflow", "flow-frame", "flow-model", "flow-plugin", "flow-protocol", "flow-rpc", "flow-store"],
        &["wasmtime", "axum", "ureq"],
    ),
    layer(
        "flow-coordinator",
        &["flow-model", "flow-protocol", "flow-rpc", "flow-store", "flow-worker"],
        &["rdkafka", "rocksdb", "wasmtime", "ureq"],
    ),
    layer(
        "flowd",
        &["flow-coordinator", "flow-model", "flow-sdk-test", "flow-store", "flow-worker"],
        &["rdkafka", "rocksdb", "wasmtime"],
    ),
    layer("flowctl", &["flow-model"], &["tokio", "rdkafka", "rocksdb", "wasmtime", "axum"]),
    layer("flow-sdk", &["flow-frame"], SHELL),
    layer(
        "flow-sdk-test",
        &["flow-dataflow", "flow-frame", "flow-model", "flow-plugin", "flow-sdk"],
        &["tokio", "rdkafka", "rocksdb"],
    ),
    layer("flow-sim", &["flow-dataflow", "flow-frame", "flow-model", "flow-protocol"], SHELL),
    layer("flow-e2e", &[], &[]),
    layer("flow-demo", &["flow-model"], &["rocksdb", "wasmtime"]),
    layer(
        "flow-benches",
        &["flow-dataflow", "flow-e2e", "flow-frame", "flow-model", "flow-plugin", "flow-worker"],
        &[],
    ),
];

/// Violations in the metadata of a workspace whose crates all stand in `layers`.
pub fn check(metadata: &Value, layers: &[Layer]) -> Vec<String> {
    let ours: BTreeSet<&str> = layers.iter().map(|layer| layer.name).collect();
    let mut violations = Vec::new();
    for (name, dependencies) in packages(metadata) {
        let Some(layer) = layers.iter().find(|layer| layer.name == name) else {
            violations.push(format!("{name}: a new crate: say in the tidy test what it may depend on"));
            continue;
        };
        for dependency in dependencies {
            if ours.contains(dependency) {
                if !layer.ours.contains(&dependency) {
                    violations.push(format!("{name} depends on {dependency}, which is above or beside it"));
                }
            } else if layer.never.contains(&dependency) || layer.never.contains(&"*") {
                violations.push(format!("{name} depends on {dependency}, which it exists to do without"));
            }
        }
    }
    violations
}

/// Violations in the metadata of the operators: of this repository they see the SDK only, as their users do.
pub fn check_plugins(metadata: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, dependencies) in packages(metadata) {
        for dependency in dependencies {
            if RUNTIME.iter().any(|layer| layer.name == dependency) && dependency != "flow-sdk" {
                violations.push(format!("operator {name} depends on {dependency}; only flow-sdk is for operators"));
            }
        }
    }
    violations
}

/// Each package of the metadata with the names of its dependencies, those of tests left out.
fn packages(metadata: &Value) -> Vec<(&str, Vec<&str>)> {
    let mut packages = Vec::new();
    for package in list(metadata, "packages") {
        let product = list(package, "dependencies").iter().filter(|one| one["kind"] != "dev");
        packages.extend(name(package).map(|of| (of, product.filter_map(name).collect())));
    }
    packages
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn name(value: &Value) -> Option<&str> {
    value["name"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workspace(name: &str, dependency: &str, kind: Option<&str>) -> Value {
        json!({"packages": [{"name": name, "dependencies": [{"name": dependency, "kind": kind}]}]})
    }

    #[test]
    fn planted_violations_are_found() {
        let check = |name: &str, dependency: &str, expected: usize| {
            let violations = check(&workspace(name, dependency, None), RUNTIME);
            assert_eq!(violations.len(), expected, "{name} → {dependency}: {violations:?}");
        };
        check("flow-dataflow", "flow-model", 0);
        check("flow-dataflow", "tokio", 1);
        check("flow-dataflow", "flow-worker", 1);
        check("flow-model", "flow-frame", 1);
        check("flow-frame", "serde", 1);
        check("flow-worker", "flow-coordinator", 1);
        check("flowctl", "flow-worker", 1);
        check("flow-sdk", "flow-dataflow", 1);
        check("flow-sdk-test", "flow-plugin", 0);
        check("flow-rpc", "flow-model", 0);
        check("flow-rpc", "flow-dataflow", 1);
        check("flow-surprise", "serde", 1);
    }

    #[test]
    fn tests_may_depend_on_more_and_build_scripts_not() {
        assert!(check(&workspace("flow-frame", "proptest", Some("dev")), RUNTIME).is_empty());
        assert_eq!(check(&workspace("flow-frame", "cc", Some("build")), RUNTIME).len(), 1);
    }

    #[test]
    fn operators_see_the_sdk_only() {
        assert!(check_plugins(&workspace("counter", "flow-sdk", None)).is_empty());
        assert!(check_plugins(&workspace("counter", "flow-sdk-test", Some("dev"))).is_empty());
        assert_eq!(check_plugins(&workspace("counter", "flow-dataflow", None)).len(), 1);
    }
}
