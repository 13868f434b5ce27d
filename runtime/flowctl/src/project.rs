//! The files of a new operator project: from templates and from the SDK that flowctl carries in itself. Only text; it
//! reads and writes nothing.

use flow_model::kind::OperatorKind;

/// The copy of the SDK: paths and texts.
pub const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The versions of other crates that the operators of Flow's repository are built and tested with; cargo takes from it
/// what the project needs.
const LOCK: &str = include_str!("../../../plugins/Cargo.lock");

/// Names that a project can't have: those of what it depends on, of crates that come with the compiler, and of its
/// pipeline's source and sink.
const TAKEN: [&str; 12] = [
    "alloc",
    "core",
    "flow-frame",
    "flow-sdk",
    "orders",
    "out",
    "proc-macro",
    "serde",
    "serde-json",
    "std",
    "test",
    "vendor",
];

/// Names that mean something else in the code or in the pipeline file.
const WORDS: [&str; 56] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "no", "null", "off", "on", "override", "priv", "pub", "ref", "return", "self", "static", "struct",
    "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yes",
    "yield",
];

/// What is to be made.
pub struct Project<'a> {
    /// The crate's, the component's and the operator's name.
    pub name: &'a str,
    /// What the operator does with records.
    pub kind: OperatorKind,
    /// Where the SDK's crate is; the copy in the project if absent.
    pub sdk: Option<&'a str>,
}

/// What is wrong with a name, if something is.
pub fn refused(name: &str) -> Option<&'static str> {
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("it does not begin with a letter");
    }
    if name.contains("--") {
        return Some("it has two \"-\" in a row");
    }
    if WORDS.contains(&name) {
        return Some("it is a word of Rust or YAML");
    }
    TAKEN.contains(&name).then_some("another part of the project is called so")
}

impl Project<'_> {
    /// Path and text of each file.
    pub fn files(&self) -> Vec<(String, String)> {
        let (operator, test, options) = match self.kind {
            OperatorKind::Map => (
                include_str!("../templates/map.rs"),
                include_str!("../templates/map.test.yaml"),
                "\n    config: {rate: 0.5}",
            ),
            OperatorKind::Filter => (
                include_str!("../templates/filter.rs"),
                include_str!("../templates/filter.test.yaml"),
                "\n    config: {min: 10}",
            ),
            OperatorKind::FlatMap => {
                (include_str!("../templates/flat-map.rs"), include_str!("../templates/flat-map.test.yaml"), "")
            }
            OperatorKind::Process => (
                include_str!("../templates/process.rs"),
                include_str!("../templates/process.test.yaml"),
                "\n    key: customer",
            ),
        };
        let pipeline = include_str!("../templates/pipeline.yaml").replace("@options@", options);
        let sdk = self.sdk.unwrap_or("vendor/flow-sdk");
        let manifest = include_str!("../templates/Cargo.toml.in").replace("\"@sdk@\"", &format!("{sdk:?}"));
        let test_file = format!("{}.test.yaml", self.name);
        let mut files: Vec<(String, String)> = [
            ("Cargo.toml", manifest.as_str()),
            ("src/lib.rs", operator),
            (test_file.as_str(), test),
            ("pipeline.yaml", &pipeline),
            ("README.md", include_str!("../templates/README.md")),
        ]
        .map(|(path, text)| (path.to_owned(), self.filled(text)))
        .into();
        files.push((".gitignore".into(), "/target\n/*.wasm\n".into()));
        files.push(("Cargo.lock".into(), LOCK.into()));
        if self.sdk.is_none() {
            files.extend(SDK.iter().map(|(path, text)| (format!("vendor/{path}"), (*text).to_owned())));
        }
        files
    }

    fn filled(&self, template: &str) -> String {
        let sdk = match self.sdk {
            None => {
                "`vendor/` holds the SDK as flowctl @version@ carries it, so that nothing has to be fetched for it."
                    .into()
            }
            Some(path) => format!("The SDK is the one in `{path}`."),
        };
        template
            .replace("@sdk-note@", &sdk)
            .replace("@name@", self.name)
            .replace("@Type@", &self.type_name())
            .replace("@version@", env!("CARGO_PKG_VERSION"))
    }

    /// `large-orders` → `LargeOrders`.
    fn type_name(&self) -> String {
        let capital = |word: &str| {
            word.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(word.chars().skip(1)).collect::<String>()
        };
        let name: String = self.name.split('-').map(capital).collect();
        // A name that the prelude of the SDK has already would be ambiguous to a reader, and some to the compiler.
        if PRELUDE.contains(&name.as_str()) { format!("{name}Operator") } else { name }
    }
}

/// What the templates use of the SDK and of Rust by these names, or declare themselves.
const PRELUDE: [&str; 28] = [
    "Column",
    "Context",
    "Deserialize",
    "Emitter",
    "Err",
    "Error",
    "Filter",
    "FlatMap",
    "Harness",
    "Input",
    "Item",
    "ListState",
    "Map",
    "MapOutput",
    "MapState",
    "None",
    "Ok",
    "Option",
    "Order",
    "Process",
    "Record",
    "Result",
    "Serialize",
    "Some",
    "State",
    "String",
    "Total",
    "Totals",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn project<'a>(name: &'a str, sdk: Option<&'a str>) -> Project<'a> {
        Project { name, kind: OperatorKind::Map, sdk }
    }

    #[test]
    fn names() {
        let check = |name: &str, expect: &str| assert_eq!(project(name, None).type_name(), expect);
        check("large-orders-2", "LargeOrders2");
        check("x", "X");
        check("filter", "FilterOperator");
        check("list-state", "ListStateOperator");
        for name in ["1a", "a--b", "flow-sdk", "serde", "orders", "test"] {
            assert!(refused(name).is_some(), "{name}");
        }
        assert_eq!(refused("enrich"), None);
    }

    #[test]
    fn nothing_of_a_template_stays() {
        for kind in [OperatorKind::Map, OperatorKind::Filter, OperatorKind::FlatMap, OperatorKind::Process] {
            for sdk in [None, Some("/s\"dk")] {
                let files = Project { name: "a-b", kind, sdk }.files();
                for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("vendor/")) {
                    let left = ["@name@", "@Type@", "@sdk", "@options@", "@version@"]
                        .iter()
                        .find(|word| text.contains(**word));
                    assert_eq!(left, None, "{path}");
                }
                assert_eq!(files.iter().any(|(path, _)| path == "vendor/flow-sdk/src/lib.rs"), sdk.is_none());
            }
        }
    }

    #[test]
    fn the_copy_of_the_sdk_is_whole_and_names_no_place() {
        let of = |path: &str| SDK.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
        for path in
            ["flow-sdk/wit/types.wit", "flow-sdk/src/state/mod.rs", "flow-frame/src/lib.rs", "flow-sdk/Cargo.toml"]
        {
            assert!(of(path).is_some(), "{path}");
        }
        let manifest = of("Cargo.toml").expect("it is made");
        for line in ["members = [\"flow-sdk\", \"flow-frame\"]", "flow-frame = { path = \"flow-frame\" }", "edition = "]
        {
            assert!(manifest.contains(line), "{line} in {manifest}");
        }
        assert!(!manifest.contains("runtime/") && !manifest.contains("wasmtime"), "{manifest}");
        assert!(SDK.iter().all(|(path, _)| !path.starts_with('/') && !path.contains("golden")));
    }
}
