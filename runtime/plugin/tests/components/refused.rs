//! Files that are no operator of a served version: each gets a text that names the file, the cause and the next step.

use flow_dataflow::function::Kind;
use flow_plugin::{Engine, Error};

use crate::guest::{Guest, encode};
use crate::stage::{ENGINE, limits};

#[track_caller]
fn refused(bytes: &[u8]) -> Error {
    match ENGINE.load("ops/enrich.wasm", bytes, &limits()) {
        Err(e) => e,
        Ok(_) => panic!("it was taken for an operator"),
    }
}

#[track_caller]
fn check(bytes: &[u8], says: &[&str]) {
    let text = refused(bytes).to_string();
    assert!(text.contains("ops/enrich.wasm"), "names no file: {text}");
    for part in says {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn what_is_no_webassembly() {
    for (bytes, says) in [
        (&b""[..], "the file is empty"),
        (b"\x7fELF\x02\x01\x01", "a native program or library (ELF)"),
        (b"#!/bin/sh\necho", "a script"),
        (b"(component)", "WebAssembly text"),
        (b"print('hello')", "it is text"),
        (b"PK\x03\x04....", "an archive"),
        (b"\x89PNG\r\n\x1a\n", "it begins with the bytes 89 50 4e 47"),
        (b"\0as", "it begins with the bytes 00 61 73 instead of"),
        (b"text\0", "it begins with the bytes 74 65 78 74"),
        (&[0; 5000], "it holds 5000 zero bytes and nothing else. `flowctl build`"),
        ("ä".repeat(5000).as_bytes(), "it is text"),
        (format!("x{}", "ä".repeat(5000)).as_bytes(), "it is text"),
        (b"caf\xc3", "it begins with the bytes 63 61 66 c3"),
    ] {
        check(bytes, &["is not WebAssembly", says, "flowctl build"]);
    }
}

#[test]
fn a_core_module() {
    let core = Guest::new(Kind::Map).core();
    assert!(matches!(refused(&core), Error::CoreModule { .. }));
    check(&core, &["core module, not a component", "flowctl build"]);
}

#[test]
fn broken_components() {
    let whole = Guest::new(Kind::Map).build();
    for cut in [8, 9, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..cut]);
        assert!(matches!(error, Error::Invalid { .. } | Error::NoOperator { .. }), "{cut}: {error}");
    }
    let mut flipped = whole.clone();
    flipped[4] = 0x0e;
    check(&flipped, &["is not a valid component"]);
}

#[test]
fn components_of_another_world() {
    check(&wat::parse_str("(component)").expect("valid"), &["it exports nothing", "flow:operator/{map,filter"]);
    let other = "package test:other; world w { export run: func(); }";
    let core = wat::parse_str(r#"(module (func (export "run")))"#).expect("valid");
    check(&encode(&core, "w", Some(other)), &["no operator: it exports run", "wit/"]);
}

/// `wit/` in one text, under another version, with more in its worlds.
fn world(version: &str, body: &str) -> String {
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/operator-0.1.0/");
    let read = |file| std::fs::read_to_string(format!("{wit}{file}")).expect("wit/ is there");
    let (types, kinds) = (read("types.wit"), read("kinds.wit"));
    let kinds = kinds.replacen("package flow:operator@0.1.0;", "", 1);
    let all = format!("{types}\n{kinds}\nworld test {{ {body} }}\ninterface clock {{ now: func() -> u64; }}");
    all.replace("0.1.0", version)
}

#[test]
fn another_version() {
    let text = world("0.2.0", "import log; export %map;");
    let core = wat::parse_str(
        r#"(module (memory (export "memory") 1)
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
             (func (export "flow:operator/map@0.2.0#apply") (param i32 i32 i64 i64) (result i32) unreachable))"#,
    )
    .expect("valid");
    let error = refused(&encode(&core, "test", Some(&text)));
    assert!(matches!(error, Error::Version { .. }), "{error}");
    assert!(error.to_string().contains("flow:operator/map@0.2.0; flow:operator is served in version 0.1.0"), "{error}");
}

#[test]
fn several_kinds_at_once() {
    let both = Guest::new(Kind::Map)
        .with(r#"(func (export "flow:operator/filter@0.1.0#apply") (param i32 i32 i64 i64) (result i32) unreachable)"#);
    let text = world("0.1.0", "import log; export lifecycle; export %map; export filter;");
    check(&encode(&both.core(), "test", Some(&text)), &["several kinds of operator: ", "map", "filter", "split it"]);
}

#[test]
fn without_a_life_cycle() {
    let text = world("0.1.0", "export %map;");
    let core = wat::parse_str(
        r#"(module (memory (export "memory") 1)
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
             (func (export "flow:operator/map@0.1.0#apply") (param i32 i32 i64 i64) (result i32) unreachable))"#,
    )
    .expect("valid");
    check(&encode(&core, "test", Some(&text)), &["flow:operator/lifecycle@0.1.0", "`describe` is missing"]);
}

#[test]
fn imports_that_nobody_grants() {
    let clock = Guest::new(Kind::Map).import(r#"(import "flow:operator/clock@0.1.0" "now" (func (result i64)))"#);
    let text = world("0.1.0", "import log; import clock; export lifecycle; export %map;");
    check(&encode(&clock.core(), "test", Some(&text)), &["imports flow:operator/clock@0.1.0", "no files, network"]);

    let wasi = "package wasi:clocks@0.2.0; interface monotonic-clock { now: func() -> u64; }
                world w { import monotonic-clock; export run: func(); }";
    let core = wat::parse_str(
        r#"(module (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func (result i64))) (func (export "run")))"#,
    )
    .expect("valid");
    // No operator either, which is said first: what it is comes before what it needs.
    assert!(matches!(refused(&encode(&core, "w", Some(wasi))), Error::NoOperator { .. }));

    let stateful =
        Guest::new(Kind::Map).import(r#"(import "flow:operator/state@0.1.0" "clear-many" (func (param i32 i32 i32)))"#);
    let text = world("0.1.0", "import log; import state; export lifecycle; export %map;");
    check(&encode(&stateful.core(), "test", Some(&text)), &["imports flow:operator/state@0.1.0"]);
}

#[test]
fn the_right_names_with_wrong_types() {
    let text = "package flow:operator@0.1.0;
        interface %map { apply: func(batch: list<u8>) -> list<u8>; }
        interface lifecycle { describe: func() -> u32; init: func(); before-barrier: func(); end-of-input: func(); }
        world test { export lifecycle; export %map; }";
    let core = wat::parse_str(
        r#"(module (memory (export "memory") 1)
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
             (func (export "flow:operator/lifecycle@0.1.0#describe") (result i32) unreachable)
             (func (export "flow:operator/lifecycle@0.1.0#init"))
             (func (export "flow:operator/lifecycle@0.1.0#before-barrier"))
             (func (export "flow:operator/lifecycle@0.1.0#end-of-input"))
             (func (export "flow:operator/map@0.1.0#apply") (param i32 i32) (result i32) unreachable))"#,
    )
    .expect("valid");
    check(
        &encode(&core, "test", Some(text)),
        &["does not have the types of wit/operator-0.1.0", "expected `record` found `u32`"],
    );

    let text = "package flow:operator@0.1.0;
        interface log { log: func(message: string); }
        interface %map { apply: func(batch: list<u8>) -> list<u8>; }
        world test { import log; export %map; }";
    let core = wat::parse_str(
        r#"(module (import "flow:operator/log@0.1.0" "log" (func (param i32 i32))) (memory (export "memory") 1)
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
             (func (export "flow:operator/map@0.1.0#apply") (param i32 i32) (result i32) unreachable))"#,
    )
    .expect("valid");
    check(&encode(&core, "test", Some(text)), &["does not have the types", "log"]);
}

#[test]
fn descriptions_that_can_not_be() {
    let map = || Guest::new(Kind::Map);
    for (guest, says) in [
        (map().says(Kind::Filter), "it says that it is a filter, but exports flow:operator/map"),
        (map().columns(&[2, 10]), "it reads column 10, which no input has"),
        (map().columns(&[0]), "it reads column 0,"),
        (map().columns(&[16]), "it reads column 16,"),
        (map().columns(&[2, 2]), "it names column 2 twice"),
        (map().ports(&[]), "it has 0 ports"),
        (map().ports(&["main", "late", "late"]), "port `late` is there twice"),
        (map().ports(&[""]), "a port has a name of 0 bytes"),
        (Guest::new(Kind::Filter).ports(&["main", "rest"]), "it is a filter with 2 ports"),
        (map().state("count", 0), "it is a map with states; only a process has state"),
        (Guest::new(Kind::Process).state("a", 0).state("a", 1), "state `a` is there twice"),
        (Guest::new(Kind::Process).state("", 0), "a state has a name of 0 bytes"),
        (
            (0..65).fold(Guest::new(Kind::Process), |g, n| g.state(&n.to_string(), 0)),
            "it has 65 states; 64 are allowed",
        ),
        (map().capability("http"), "it needs the capability `http`"),
    ] {
        let bytes = guest.build();
        assert!(matches!(refused(&bytes), Error::Description { .. }), "{}", refused(&bytes));
        check(&bytes, &["describes itself wrongly: ", says]);
    }
}

#[test]
fn an_engine_ends_with_its_last_user() {
    let ticking = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux").flatten();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.map(name).filter(|name| name.trim() == "wasm-ticker").count()
    };
    let before = ticking();
    let engines: Vec<_> = (0..5).map(|_| Engine::new(flow_plugin::Options::default()).expect("it starts")).collect();
    drop(engines);
    let gone = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        ticking() <= before + 1
    });
    assert!(gone, "tickers are left over");
}

#[test]
fn components_of_a_form_that_can_not_be_watched() {
    let inner = "(component (core module $m (func (export \"f\"))) (core instance (instantiate $m)))";
    let nested = wat::parse_str(format!("(component {inner})")).expect("it is right");
    assert!(matches!(refused(&nested), Error::Unserved { .. }));
    check(&nested, &["can't run here: it has components with code inside of it", "Build it as one component"]);
    let handed_in = r#"(component
        (core module $m (func $f (loop $l (br $l))) (start $f))
        (component $c (alias outer 1 $m (core module $inner)) (core instance (instantiate $inner)))
        (instance (instantiate $c)))"#;
    check(&wat::parse_str(handed_in).expect("it is right"), &["it has components with code inside of it"]);
    for name in ["flow-page-n0", "flow-start-n7", "FLOW-PAGE-N0"] {
        let own = format!(
            "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
               (func (export \"{name}\") (canon lift (core func $i \"f\"))))"
        );
        check(&wat::parse_str(own).expect("it is right"), &[&format!("it exports `{name}`"), "keeps for itself"]);
    }
}
