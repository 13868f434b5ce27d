//! The rules for one Rust file: a purpose at its top, a name that says the concept, no panic by `unwrap`, unsafe code
//! in named places only, no clock and no I/O in the data plane's pure half.

use crate::code::{lines_with_word, without_literals, without_tests};

/// Names that say nothing, for a file or a folder of modules.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

/// Files that may say `unsafe`, or a folder of them, and say before each one why it is sound.
const UNSAFE: &[&str] = &[
    "runtime/plugin/src/cache.rs",
    "runtime/plugin/src/interrupt/",
    "runtime/flowd/src/parent.rs",
    "runtime/worker/src/failpoint.rs",
    "runtime/worker/src/kafka/raw/",
    "benches/src/child.rs",
];
/// How many lines above an `unsafe` its argument may begin.
const ARGUMENT: usize = 10;

/// Crates that must be steppable by a test: what they would need time, files, threads or sockets for comes in from outside.
const PURE: &[&str] = &["runtime/frame/src/", "runtime/model/src/", "runtime/dataflow/src/"];
const IMPURE: &[&str] = &["Instant", "SystemTime", "std::fs", "std::net", "std::thread", "std::process", "std::env"];

/// Violations in one Rust file.
pub fn check(path: &str, text: &str) -> Vec<String> {
    let literal_free = without_literals(text);
    let product = if is_test(path) { String::new() } else { without_tests(&literal_free) };
    let mut violations = Vec::new();
    let mut at = |line: usize, what: &str| violations.push(format!("{path}:{line}: {what}"));

    if !text.starts_with("//!") {
        at(1, "opens without `//!`: what it is for and what it must never do");
    }
    if let Some(name) = path.trim_end_matches(".rs").split('/').find(|name| EMPTY_NAMES.contains(name)) {
        at(1, &format!("`{name}` says nothing: name the concept"));
    }
    for (number, line) in (1..).zip(product.lines()) {
        if line.contains(".unwrap()") {
            at(number, "unwrap outside tests: return the error, or `expect` why it holds");
        }
    }
    let lines: Vec<&str> = text.lines().collect();
    for number in lines_with_word(&literal_free, "unsafe") {
        if !UNSAFE.iter().any(|allowed| path.starts_with(allowed)) {
            at(number, "unsafe outside its small modules (listed in the tidy test)");
        } else if !declares(lines[number - 1])
            && !lines[number.saturating_sub(ARGUMENT)..number].iter().any(|line| line.contains("SAFETY:"))
        {
            at(number, "unsafe without `// SAFETY:` and why it is sound");
        }
    }
    if PURE.iter().any(|root| path.starts_with(root)) {
        for word in IMPURE {
            for number in lines_with_word(&product, word) {
                at(number, &format!("{word} in a crate without I/O: take it as a parameter"));
            }
        }
    }
    for stub in ["todo", "unimplemented"] {
        for (number, line) in (1..).zip(literal_free.lines()) {
            if line.contains(&format!("{stub}!(")) {
                at(number, "a stub: leave it out until it works");
            }
        }
    }
    violations
}

/// `unsafe fn` and `unsafe extern` ask something of their callers; what they do themselves is argued inside them.
fn declares(line: &str) -> bool {
    line.contains("unsafe fn ") || line.contains("unsafe extern ")
}

/// A file of an integration test or a benchmark, as Cargo finds them.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "benches")) && !path.starts_with("benches/src/")
        || path.starts_with("runtime/e2e/")
        || path.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(path, text).len()
    }

    #[test]
    fn planted_violations_are_found() {
        let check = |path: &str, text: &str, expected: usize| assert_eq!(found(path, text), expected, "{path}: {text}");
        let fine = "//! A purpose.\nfn f() -> u8 { 1 }\n";
        check("runtime/worker/src/slot.rs", fine, 0);
        check("runtime/worker/src/slot.rs", "fn f() {}\n", 1);
        check("runtime/worker/src/utils.rs", fine, 1);
        check("runtime/worker/src/common/mod.rs", fine, 1);
        check("runtime/worker/src/slot.rs", "//! A.\nfn f() { g().unwrap() }\n", 1);
        check("runtime/worker/src/slot.rs", "//! A.\nfn f() { g().unwrap_or(1) }\n", 0);
        check("runtime/worker/src/slot.rs", "//! A.\nfn f() { unsafe { g() } }\n", 1);
        check("runtime/worker/src/slot.rs", "//! A.\n#![forbid(unsafe_code)]\n", 0);
        check(UNSAFE[0], "//! A.\nfn f() { unsafe { g() } }\n", 1);
        check(UNSAFE[0], "//! A.\npub unsafe fn f() {}\n", 0);
        check(UNSAFE[0], "//! A.\nfn f() {\n  // SAFETY: g takes nothing.\n  unsafe { g() }\n}\n", 0);
        check("runtime/dataflow/src/step.rs", "//! A.\nuse std::time::Instant;\n", 1);
        check("runtime/worker/src/slot.rs", "//! A.\nuse std::time::Instant;\n", 0);
        check("runtime/worker/src/slot.rs", "//! A.\nfn f() { todo!() }\n", 1);
        check("runtime/worker/src/slot.rs", "//! A.\nfn f() { unimplemented!(\"x\") }\n", 1);
    }

    #[test]
    fn tests_and_docs_may_unwrap() {
        assert_eq!(found("runtime/frame/tests/frame.rs", "//! A.\nfn f() { g().unwrap() }\n"), 0);
        assert_eq!(
            found("sdk/rust/flow-sdk/src/lib.rs", "//! A.\n/// ```\n/// g().unwrap();\n/// ```\nfn f() {}\n"),
            0
        );
        let tested = "//! A.\nfn f() {}\n#[cfg(test)]\nmod tests {\n fn t() { g().unwrap() }\n}\n";
        assert_eq!(found("runtime/worker/src/slot.rs", tested), 0);
    }
}
