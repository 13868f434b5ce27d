//! Tidy tests: the house rules that a machine can check, over the files of the checkout and `cargo metadata`. They look
//! at the text of the repository only; they must never build, start or fetch anything.
//!
//! Each check is a function from text to violations, tested on planted ones beside it; the tests here run them on the
//! real files.

mod code;
mod deployment;
mod layers;
mod size;
mod source;
mod tree;
mod words;

use tree::Tree;

fn report(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn dependencies_point_the_right_way() {
    let tree = Tree::of_checkout();
    report(&layers::check(&tree.metadata("Cargo.toml"), layers::RUNTIME));
    if tree.has("plugins/Cargo.toml") {
        report(&layers::check_plugins(&tree.metadata("plugins/Cargo.toml")));
    }
}

#[test]
fn files_are_small() {
    // What is generated nobody reads.
    let written = Tree::of_checkout().rust().into_iter().filter(|(path, _)| !path.contains("/src/generated/"));
    report(&size::check(&written.collect::<Vec<(String, String)>>()));
}

#[test]
fn sources_keep_the_house_rules() {
    let violations: Vec<String> =
        Tree::of_checkout().rust().iter().flat_map(|(path, text)| source::check(path, text)).collect();
    report(&violations);
}

#[test]
fn images_and_their_cluster_fit_the_checkout() {
    report(&deployment::check(&Tree::of_checkout()));
}

#[test]
fn text_names_nothing_of_one_machine() {
    let violations: Vec<String> =
        Tree::of_checkout().text().iter().flat_map(|(path, text)| words::check(path, text)).collect();
    report(&violations);
}
