//! The JSON Schema of pipeline files: complete, up to date, and of one mind with the reader wherever a schema can be.

mod validator;

use std::path::{Path, PathBuf};
use std::{env, fs};

use flow_model::spec::{Pipeline, schema};
use serde_json::Value;

#[test]
fn the_reference_is_a_pipeline_and_shows_and_documents_every_field() {
    let pipeline = Pipeline::parse("reference.yaml", schema::REFERENCE.as_bytes());
    pipeline.unwrap_or_else(|error| panic!("{error}"));
    let missing = schema::undocumented().expect("it is good");
    assert!(missing.is_empty(), "show these in reference.yaml, with a comment above: {missing:#?}");
}

#[test]
fn the_committed_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.schema.json");
    let text = serde_json::to_string_pretty(&schema::schema().expect("it is good")).expect("JSON") + "\n";
    if env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, &text).expect("a file");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "{} differs; GOLDEN=write writes it anew",
        path.display()
    );
}

/// Every pipeline file of the checkout, and every one in a Markdown file.
fn examples() -> Vec<(PathBuf, String)> {
    fn below(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
            if entry.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    below(&entry, found);
                }
                continue;
            }
            let text = || fs::read_to_string(&entry).unwrap_or_default();
            if name.ends_with(".yaml") {
                found.push((entry.clone(), text()));
            } else if name.ends_with(".md") {
                let blocks = text();
                let blocks = blocks.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
                found.extend(blocks.map(|block| (entry.clone(), block.to_owned())));
            }
        }
    }
    let mut found = Vec::new();
    below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut found);
    found.retain(|(_, text)| text.contains("apiVersion: flow/v1") && text.contains("\nsinks:"));
    found
}

#[test]
fn every_example_is_valid() {
    let schema = schema::schema().expect("the reference is good");
    let examples = examples();
    assert!(examples.len() >= 4, "only {}", examples.len());
    for (path, text) in examples {
        // A template of a project has names to fill in.
        let text = text.replace("@options@", "").replace("@name@", "example");
        // A page may show what is wrong.
        if path.extension().is_some_and(|extension| extension == "md") && Pipeline::parse("p", text.as_bytes()).is_err()
        {
            continue;
        }
        let document: Value =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let errors = validator::errors(&schema, &document);
        assert!(errors.is_empty(), "{}: {errors:#?}\n{text}", path.display());
    }
}
