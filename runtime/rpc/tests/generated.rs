//! The generated code is what the proto files say. `GOLDEN=write cargo nextest run --release -p flow-rpc` writes it anew.

use std::path::Path;
use std::{env, fs};

/// What each file of generated code begins with.
const HEAD: &str = "//! Generated of the files in `proto/`. Never change it by hand.\n#![allow(missing_docs, clippy::all, clippy::pedantic)]\n\n";

fn generated(root: &Path, name: &str) -> String {
    let files = protox::compile([format!("{name}.proto")], [root.join("proto")]).expect("a good proto file");
    let out = tempfile::tempdir().expect("a directory");
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(out.path())
        .compile_fds(files)
        .expect("it compiles");
    HEAD.to_owned()
        + &fs::read_to_string(out.path().join(format!("flow.{name}.v1.rs"))).expect("a file of that package")
}

#[test]
fn the_committed_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names: Vec<String> = fs::read_dir(root.join("proto"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert!(!names.is_empty());
    for name in names {
        let (path, text) = (root.join(format!("src/generated/{name}.rs")), generated(root, &name));
        if env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&path, &text).expect("a file");
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == text,
            "{} differs; GOLDEN=write writes it anew",
            path.display()
        );
    }
}
