//! `flowd check`: the plan, or what is wrong.

use flow_model::api::{Checked, Refusal, RefusalCode};

use crate::process::{FINITE, Place};

#[test]
fn the_plan() {
    let place = Place::new(FINITE);
    let (code, stdout, stderr) = place.call(&["check", "p.yaml"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("finite: 1 task, 1 subtask, ") && stdout.contains("sink      out (stdout)"), "{stdout}");
    let (code, stdout, _) = place.call(&["check", "p.yaml", "--output", "json"]);
    let checked: Checked = serde_json::from_str(&stdout).expect("as the REST API answers");
    assert_eq!((code, checked.plan.tasks.len()), (0, 1));
}

#[test]
fn what_is_wrong() {
    let operators = "operators:\n  a: {component: ./a.wasm, from: in}\nsinks:";
    let place =
        Place::new(&FINITE.replace("sinks:", operators).replace("{stdout: {}, from: in}", "{stdout: {}, from: a}"));
    let check = |expect: &str| {
        let (code, stdout, _) = place.call(&["check", "p.yaml", "--output", "json"]);
        let refusal: Refusal = serde_json::from_str(&stdout).expect("as the REST API refuses");
        assert_eq!((code, refusal.code), (2, RefusalCode::InvalidPipeline));
        let text = refusal.diagnostics[0].to_string();
        assert!(text.starts_with("p.yaml:7:18: ") && text.contains(expect), "{text}");
    };
    check("can't read the component ./a.wasm of operator \"a\"");
    std::fs::write(place.path().join("a.wasm"), "no Wasm at all").expect("a file");
    check("operator \"a\": ./a.wasm is not WebAssembly");
}
