//! The book and the README, done to the letter: what they tell to write, build and type works, what they say is shown is
//! shown, what they name is there. A page that stops being true must fail here.

mod fragment;
mod links;
mod page;
mod reference;
mod rest;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use page::Page;

/// Where the pages lie.
const BOOK: &str = "docs/src";

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout")
}

fn read(path: &str) -> Page {
    let text = fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page::read(path, &text)
}

/// All pages with the README and the list of contents.
fn pages() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned()];
    let mut folders = vec![checkout().join(BOOK)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path.strip_prefix(checkout()).expect("it lies there").display().to_string());
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn report(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// A test for each page that has something to do. Those with `kafka` in their names run one at a time: brokers are large,
/// and both pages of the tutorial build a crate of one name, which share a directory of the compiler's.
macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        const DONE: &[&str] = &[$($path),*];
        $(#[test]
        fn $name() {
            report(&terminal::run(&read($path), &checkout()));
        })*
    };
}

pages! {
    readme: "README.md",
    start: "docs/src/start.md",
    tutorial_without_kafka: "docs/src/tutorial/operator.md",
    tutorial_kafka: "docs/src/tutorial/kafka.md",
    operators: "docs/src/guide/operators.md",
    kafka: "docs/src/guide/kafka.md",
    errors_kafka: "docs/src/guide/errors.md",
    test: "docs/src/guide/test.md",
    develop: "docs/src/guide/develop.md",
    command_line: "docs/src/guide/command-line.md",
    languages: "docs/src/guide/languages.md",
    daemon: "docs/src/guide/daemon.md",
    troubleshooting_kafka: "docs/src/guide/troubleshooting.md",
    observe: "docs/src/guide/observe.md",
    security: "docs/src/guide/security.md",
    cluster: "docs/src/guide/cluster.md",
    checkpoints: "docs/src/guide/checkpoints.md",
    savepoints: "docs/src/guide/savepoints.md",
    store: "docs/src/guide/store.md",
    operate: "docs/src/guide/operate.md",
    pipeline: "docs/src/reference/pipeline.md",
    exit_codes: "docs/src/reference/exit-codes.md",
    metrics: "docs/src/reference/metrics.md",
    rest_api: "docs/src/reference/rest.md",
}

#[test]
fn what_programs_write_is_up_to_date() {
    report(&reference::check(&checkout()));
}

#[test]
fn the_rest_api_is_as_told() {
    report(&rest::check(&checkout()));
}

#[test]
fn every_page_is_listed_and_done() {
    let pages = pages();
    let contents = format!("{BOOK}/SUMMARY.md");
    let listed: Vec<String> = read(&contents).links.into_iter().map(|(_, to)| format!("{BOOK}/{to}")).collect();
    let is_page = |page: &&Page| page.path.starts_with(BOOK) && page.path != contents;
    let missing = pages.iter().filter(is_page).filter(|page| !listed.contains(&page.path));
    let mut violations: Vec<String> = missing.map(|page| format!("{}: not in {contents}", page.path)).collect();
    let done: Vec<&str> =
        DONE.iter().copied().chain(["docs/src/reference/flowctl.md", "docs/src/reference/flowd.md"]).collect();
    let idle = pages.iter().filter(|page| !page.blocks.is_empty() && !done.contains(&page.path.as_str()));
    violations.extend(idle.map(|page| format!("{}: has blocks that no test does: list it in the test", page.path)));
    violations.extend(pages.iter().flat_map(|page| page.odd.clone()));
    report(&violations);
}

#[test]
fn links_lead_somewhere() {
    report(&links::check(&pages(), &checkout()));
}

/// Blocks of Rust that are no files are documentation tests of this crate.
#[test]
fn code_in_rust_is_run() {
    let listed = include_str!("../../src/lib.rs");
    let is_code = |page: &&Page| page.blocks.iter().any(|block| block.language == "rust" && block.file.is_none());
    let pages = pages();
    let forgotten =
        pages.iter().filter(is_code).filter(|page| !listed.contains(&format!("\"../../../{}\"", page.path)));
    report(&forgotten.map(|page| format!("{}: name it in runtime/e2e/src/lib.rs", page.path)).collect::<Vec<_>>());
}
