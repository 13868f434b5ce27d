//! Pipeline files.

use std::fs;

use flow_e2e::flowd::{Flowd, plugins};

use crate::refused;

const GOOD: &str = "\
sources:
  in: {generator: {count: 1}}
operators:
  a: {component: tokenizer.wasm, from: in}
  b:
    component: counter.wasm
    from: a
    key: $value
sinks:
  out: {blackhole: {}, from: b}
";

#[test]
fn each_mistake_is_named_with_its_place() {
    let flowd = Flowd::new();
    for component in ["tokenizer.wasm", "counter.wasm"] {
        flowd.write(component, fs::read(plugins().join(component)).expect("deployment/plugins.sh builds it"));
    }
    let cases: [(&str, &str, &str, &[&str]); 9] = [
        (
            "unknown-field",
            "    key:",
            "    paralelism: 2\n    key:",
            &[r#"11:5: unknown field "paralelism" in operator "b"; did you mean "parallelism"?"#],
        ),
        (
            "unknown-input",
            "    from: a",
            "    from: aa",
            &[r#"10:11: operator "b" reads "aa", which does not exist; did you mean "a"? known: in, a"#],
        ),
        ("no-input", "    from: a\n", "", &[r#"9:5: operator "b" has no "from"; add for example `from: some-source`"#]),
        (
            "cycle",
            "from: in}",
            "from: b}",
            &[r#"7:40: records would go round in a circle: a → b → a; let "a" read something else"#],
        ),
        (
            "wrong-type",
            "count: 1",
            "count: many",
            &[r#"5:27: "count" of generator of source "in" must be a whole number, found the text "many""#],
        ),
        (
            "duplicate",
            "  out: {",
            "  a: {",
            &[r#"13:3: duplicate name "a": an operator on line 7 has it; choose another name"#],
        ),
        (
            "no-key",
            "    key: $value\n",
            "",
            &[
                r#"8:3: operator "b" is a process and has no key; add `key: $key` (or $value, or a field such as customer.id)"#,
            ],
        ),
        (
            "key-for-nothing",
            "from: in}",
            "from: in, key: $value}",
            &[r#"7:49: operator "a" is a flat-map, which has no key; remove `key`, or use a process component"#],
        ),
        ("no-yaml", "sinks:", "sinks: [", &["12:8: not YAML: unclosed bracket '['"]),
    ];
    for (name, part, replaced, expect) in cases {
        assert_eq!(GOOD.matches(part).count(), 1, "{part:?} is not one place");
        refused(&flowd, name, &GOOD.replace(part, replaced), expect);
    }
    // Whatever came before, a good one runs.
    flowd.finished(&flowd.deploy("good", GOOD));
}
