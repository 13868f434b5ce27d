//! `flowctl build`, on the operators of this repository, with the compiler of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{call, flowctl, run};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

#[test]
fn a_real_operator() {
    let directory = tempfile::tempdir().expect("a directory");
    let operator = repository().join("plugins/tokenizer");
    let built = run(directory.path(), &["build", operator.to_str().expect("text"), "-o", "t.wasm", "--output", "json"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    let json: Value = serde_json::from_str(&built.stdout).expect("JSON");
    let expect = [("file", "t.wasm"), ("kind", "flat-map"), ("world", "flow:operator/flat-map-operator@0.1.0")];
    for (field, value) in expect {
        assert_eq!(json[field], value, "{json}");
    }
    let component = fs::read(directory.path().join("t.wasm")).expect("it was written");
    assert_eq!(json["bytes"], component.len());
    assert_eq!(component[..8], *b"\0asm\x0d\0\x01\0");

    // What is a component is checked and kept as it is.
    let again = run(directory.path(), &["build", "--module", "t.wasm"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stdout.starts_with("t.component.wasm: flat-map operator (flow:operator/"), "{}", again.stdout);
    assert_eq!(fs::read(directory.path().join("t.component.wasm")).expect("it was written"), component);
}

#[test]
fn only_a_regular_file_is_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};

    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let module = at("core.wasm");
    let operator = crate::look::built("identity");
    let build = |out: &str| {
        let out = out.to_owned();
        let arguments = ["build", "--module", operator.to_str().expect("text"), "-o", &out];
        let built = run(directory.path(), &arguments);
        assert_eq!(built.code, 0, "{out}: {}", built.stderr);
    };
    fs::write(&module, "old").expect("writable");
    symlink("core.wasm", at("link")).expect("a link");
    symlink("later.wasm", at("early")).expect("a link");
    build("link");
    build("early");
    for (link, file) in [("link", "core.wasm"), ("early", "later.wasm")] {
        assert!(at(link).is_symlink(), "{link} was replaced");
        assert_eq!(fs::read(at(file)).expect("it was written")[..4], *b"\0asm");
    }

    let pipe = at("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe)
    });
    build("pipe");
    assert_eq!(reader.join().expect("it reads").expect("readable")[..4], *b"\0asm");
    assert!(fs::metadata(&pipe).expect("it is there").file_type().is_fifo(), "the pipe was replaced");
}

/// Compiles the standard library as well: minutes when the cache is cold.
#[test]
#[ignore = "long: compiles the standard library for Wasm"]
fn a_real_operator_with_the_library_from_source() {
    let directory = tempfile::tempdir().expect("a directory");
    let operator = repository().join("plugins/tokenizer");
    let operator = operator.to_str().expect("text");
    let built = run(directory.path(), &["build", operator, "-o", "t.wasm", "--std", "source"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(built.stdout.starts_with("t.wasm: flat-map operator ("), "{}", built.stdout);
}

#[test]
fn what_can_not_be_built() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    let check = |arguments: &[&str], code: i32, expect: &str| {
        let called = run(here, &[&["build"], arguments].concat());
        assert_eq!((called.code, called.stdout.as_str()), (code, ""), "{}", called.stderr);
        assert!(called.stderr.contains(expect), "{arguments:?}: {}", called.stderr);
    };
    check(&["nowhere"], 2, "error: no directory nowhere");
    check(&[], 2, " has no Cargo.toml\n  give the directory of the operator's crate");
    check(&["--module", "no.wasm"], 2, "error: can't read no.wasm: No such file");
    fs::write(here.join("text.wasm"), "(module)").expect("a file");
    check(&["--module", "text.wasm"], 2, "error: text.wasm is not Wasm");
    fs::write(here.join("empty.wasm"), b"\0asm\x01\0\0\0").expect("a file");
    check(&["--module", "empty.wasm"], 2, "error: empty.wasm is no operator: it exports nothing");
    let plugins = repository().join("plugins");
    check(&[plugins.to_str().expect("text")], 2, "is a workspace, not an operator\n  build one of its members:");
    assert_eq!(fs::read_dir(here).expect("it exists").count(), 2, "nothing was written");
}

#[test]
fn code_that_does_not_compile() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    fs::create_dir(here.join("src")).expect("a directory");
    fs::write(here.join("Cargo.toml"), "[package]\nname = \"broken\"\nedition = \"2024\"\n[workspace]\n")
        .expect("a file");
    fs::write(here.join("src/lib.rs"), "fn f() -> u8 { \"text\" }").expect("a file");
    let called = run(here, &["build", "--target-dir", "target"]);
    assert_eq!(called.code, 1, "{}", called.stderr);
    assert!(called.stderr.contains("mismatched types"), "{}", called.stderr);
    assert!(called.stderr.ends_with("error: broken does not compile\n  cargo says why above\n"), "{}", called.stderr);

    // It compiles, and is no operator.
    fs::write(here.join("src/lib.rs"), "pub fn f() -> u8 { 1 }").expect("a file");
    let called = run(here, &["build", "--target-dir", "target"]);
    assert_eq!(called.code, 2, "{}", called.stderr);
    assert!(called.stderr.contains("is no operator: it exports nothing"), "{}", called.stderr);
}

#[test]
fn no_compiler() {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = directory.path().join("bin");
    fs::create_dir(&fake).expect("a directory");
    for program in ["cargo", "rustc"] {
        let path = fake.join(program);
        fs::write(&path, "#!/bin/sh\nexit 1\n").expect("a file");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    }
    // A way that no compiler of this machine knows: the system's own is asked too, and has the library compiled nowhere.
    let mut command = flowctl(directory.path());
    let called = call(command.args(["build", "--std", "prebuilt"]).env("PATH", &fake).env_remove("RUSTC"));
    if called.code == 2 {
        // This system's /usr/bin/rustc has the target.
        return;
    }
    assert_eq!(called.code, 5, "{}", called.stderr);
    let expect = "can compile to wasm32-unknown-unknown (asked: ";
    assert!(called.stderr.contains(expect) && called.stderr.contains("rustup target add"), "{}", called.stderr);
}
