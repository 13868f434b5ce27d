//! Whether the page about the REST API names the requests and the refusals that there are, no more and no less. Both are read
//! from the source: a router does not tell its routes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/src/reference/rest.md";
const ROUTER: &str = "runtime/coordinator/src/rest/mod.rs";
const CODES: &str = "runtime/model/src/api.rs";

/// What page and source do not both have.
pub fn check(checkout: &Path) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(checkout.join(path)).unwrap_or_default();
    let page = read(PAGE);
    let mut violations = differences("request", &requests(&page), &routes(&read(ROUTER)));
    violations.extend(differences("code", &codes(&page), &refusals(&read(CODES))));
    violations
}

fn differences(what: &str, page: &BTreeSet<String>, source: &BTreeSet<String>) -> Vec<String> {
    let missing = source.difference(page).map(|one| format!("{PAGE}: does not have the {what} {one}"));
    let surplus = page.difference(source).map(|one| format!("{PAGE}: has the {what} {one}, which does not exist"));
    missing.chain(surplus).collect()
}

/// The requests in the first column of a table.
fn requests(page: &str) -> BTreeSet<String> {
    let first = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    first.map(|(request, _)| request.to_owned()).filter(|request| request.contains(" /")).collect()
}

/// `.route("/jobs", get(jobs::list))` → `GET /jobs`.
fn routes(source: &str) -> BTreeSet<String> {
    let of = |route: &str| {
        let (path, rest) = route.split_once("\", ")?;
        let (method, _) = rest.split_once('(')?;
        Some(format!("{} {path}", method.to_uppercase()))
    };
    source.split(".route(\"").skip(1).filter_map(of).collect()
}

/// The codes in the second column of the table whose first is a status.
fn codes(page: &str) -> BTreeSet<String> {
    let rows =
        page.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()));
    rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned())).collect()
}

/// The words that stand for refusals in JSON, but for the one that older clients read in the place of newer words.
fn refusals(source: &str) -> BTreeSet<String> {
    let words = source.split_once("impl RefusalCode").map_or("", |(_, rest)| rest);
    let words = words.lines().skip(1).take_while(|line| *line != "}").filter_map(|line| line.split('"').nth(1));
    words.filter(|word| *word != "unknown").map(str::to_owned).collect()
}

#[test]
fn what_differs_is_found() {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let page = "| `GET /a` | it |\n| `POST /b/{job}` | x |\n| 404 | `no` | it |\n| `other` | |\n";
    assert_eq!(requests(page), set(&["GET /a", "POST /b/{job}"]));
    assert_eq!(codes(page), set(&["no"]));
    let source = "x().route(\"/a\", get(a))\n.route(\"/b/{job}\", post(b::c))";
    assert_eq!(routes(source), requests(page));
    let source = "impl RefusalCode {\n  A => \"no\",\n  B => \"unknown\",\n}\n\"other\"";
    assert_eq!(refusals(source), codes(page));
    assert_eq!(differences("word", &set(&["a"]), &set(&["b"])).len(), 2);
}
