//! Components.

use std::fs;

use flow_e2e::flowd::{Flowd, plugins};

use crate::refused;

/// With the operator's component as its first line of operators.
fn pipeline(component: &str) -> String {
    format!(
        "sources:\n  in: {{generator: {{count: 1}}}}\n\
         operators:\n  op: {{component: {component}, from: in}}\n\
         sinks:\n  out: {{blackhole: {{}}, from: op}}\n"
    )
}

#[test]
fn each_file_is_told_for_what_it_is() {
    let flowd = Flowd::new();
    let whole = fs::read(plugins().join("tokenizer.wasm")).expect("deployment/plugins.sh builds it");
    let build = "`flowctl build` in the operator's project writes a component";
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", &format!("empty.wasm is not WebAssembly: the file is empty. {build}")),
        ("script", b"#!/bin/sh\necho", &format!("script.wasm is not WebAssembly: it is a script. {build}")),
        (
            "core",
            b"\0asm\x01\0\0\0",
            "core.wasm is a WebAssembly core module, not a component: a component says what it exports and imports in \
             types. Run `flowctl build` in the operator's project, it makes a component of the module",
        ),
        (
            "another-world",
            b"\0asm\x0d\0\x01\0",
            "another-world.wasm is a component, but no operator: it exports nothing. An operator exports \
             flow:operator/lifecycle@0.1.0 and one of flow:operator/{map,filter,flat-map,process}@0.1.0: build it with \
             an SDK, or for a world of wit/",
        ),
        (
            "another-version",
            &patched(&whole, "@0.1.0", "@0.2.0"),
            "another-version.wasm was built for flow:operator/flat-map@0.2.0; flow:operator is served in version 0.1.0 \
             here. Build it with the SDK of that version, or update Flow",
        ),
        (
            "asks-for-more",
            &patched(&whole, "flow:operator/log@0.1.0", "wasi:clocks/wall@0.20.0"),
            "asks-for-more.wasm imports wasi:clocks/wall@0.20.0, which operators do not get: no files, network, clock or \
             environment. Build Rust for wasm32-unknown-unknown, and other languages without WASI, as sdk/ says",
        ),
    ];
    for (name, bytes, expect) in cases {
        flowd.write(&format!("{name}.wasm"), bytes);
        refused(&flowd, name, &pipeline(&format!("{name}.wasm")), &[&format!("7:19: operator \"op\": {expect}")]);
    }
    // What is wrong with these is told by the compiler, in words of its own.
    for (name, bytes) in [("cut-off", &whole[..whole.len() / 2]), ("damaged", &damaged(&whole))] {
        flowd.write(&format!("{name}.wasm"), bytes);
        let called = flowd.ctl(&["deploy", &flowd.pipeline(name, &pipeline(&format!("{name}.wasm")))]);
        let expect = format!("{name}.yaml:7:19: operator \"op\": {name}.wasm is not a valid component: ");
        assert!(called.code == 2 && called.stderr.starts_with(&expect), "{}", called.stderr);
    }
    flowd.finished(&flowd.deploy("good", &pipeline("'{plugins}/tokenizer.wasm'")));
}

/// The same component, with another name of the same length wherever it has this one.
fn patched(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = component.to_vec();
    let named = bytes.windows(from.len()).enumerate().filter(|(_, part)| *part == from.as_bytes());
    let places: Vec<usize> = named.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to.as_bytes()));
    bytes
}

/// With a hole in its code.
fn damaged(component: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 100].fill(0xff);
    bytes
}
