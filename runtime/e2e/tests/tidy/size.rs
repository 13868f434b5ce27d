//! How long files are, in product lines: the lines of a file without its test modules. Files of tests have no limit of
//! their own kind, only the hard one.

use std::collections::BTreeMap;

use crate::code::{without_literals, without_tests};

const LONGEST: usize = 800;
const MEDIAN: usize = 200;
const P90: usize = 500;
/// A tree of fewer files has no meaningful median.
const FEW: usize = 5;

/// Violations among all Rust files of the checkout, given as (path, text).
pub fn check(files: &[(String, String)]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut trees: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (path, text) in files {
        let lines = product_lines(text);
        if lines > LONGEST {
            violations.push(format!("{path}: {lines} product lines, more than {LONGEST}: split it by concept"));
        }
        if let Some((tree, _)) = path.split_once("/src/") {
            trees.entry(tree).or_default().push(lines);
        }
    }
    for (tree, mut lengths) in trees {
        if lengths.len() < FEW {
            continue;
        }
        lengths.sort_unstable();
        // The lower of the two middle ones, and the smallest that nine tenths do not exceed.
        let (median, p90) = (lengths[(lengths.len() - 1) / 2], lengths[(lengths.len() * 9).div_ceil(10) - 1]);
        if median > MEDIAN {
            violations.push(format!("{tree}: the median file has {median} product lines, more than {MEDIAN}"));
        }
        if p90 > P90 {
            violations
                .push(format!("{tree}: a tenth of the files is longer than {p90} product lines, allowed are {P90}"));
        }
    }
    violations
}

fn product_lines(text: &str) -> usize {
    let product = without_tests(&without_literals(text));
    // A test module is blank in `product`, but so is a comment, which counts: only lines that lost their code are tests.
    text.lines().count() - lost_lines(&without_literals(text), &product)
}

fn lost_lines(before: &str, after: &str) -> usize {
    let lost = |(before, after): &(&str, &str)| !before.trim().is_empty() && after.trim().is_empty();
    before.lines().zip(after.lines()).filter(lost).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> (String, String) {
        (path.to_owned(), "fn f() {}\n".repeat(lines))
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        assert_eq!(check(&[file("a/src/long.rs", LONGEST + 1)]).len(), 1);
        assert!(check(&[file("a/src/fits.rs", LONGEST)]).is_empty());
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn g() {}\n".repeat(LONGEST));
        let (path, text) = file("a/src/tested.rs", 10);
        assert_eq!(product_lines(&(text.clone() + &tests)), 10);
        assert!(check(&[(path, text + &tests)]).is_empty());
    }

    #[test]
    fn long_files_on_the_whole_are_found() {
        let lengths = |all: &[usize]| -> Vec<_> {
            all.iter().enumerate().map(|(at, &lines)| file(&format!("a/src/{at}.rs"), lines)).collect()
        };
        assert!(check(&lengths(&[10, 10, 200, 210, 210])).is_empty());
        assert_eq!(check(&lengths(&[10, 10, 201, 210, 210])).len(), 1, "median");
        assert_eq!(check(&lengths(&[10, 10, 20, 210, 501])).len(), 1, "p90");
    }
}
