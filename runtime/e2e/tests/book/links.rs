//! Whether what pages name is there: other pages and their headings, and files of the repository.

use std::path::{Component, Path, PathBuf};

use crate::page::Page;

/// Folders of the repository whose files pages name in sentences.
const FOLDERS: [&str; 7] = ["benches/", "deployment/", "docs/", "plugins/", "runtime/", "sdk/", "wit/"];

/// Links and names that lead nowhere. A link must stay in the book, which is rendered without the repository; one of a page
/// outside of the book may lead to every file.
pub fn check(pages: &[Page], checkout: &Path) -> Vec<String> {
    let mut violations = Vec::new();
    for page in pages {
        for (line, target) in &page.links {
            let problem = broken(page, target, pages, checkout);
            violations.extend(problem.map(|problem| format!("{}:{line}: {target}: {problem}", page.path)));
        }
        for (line, word) in &page.words {
            let path = word.split(char::is_whitespace).next().unwrap_or_default();
            let named = FOLDERS.iter().any(|folder| path.starts_with(folder)) && !path.contains(['*', '$', '{']);
            if named && !checkout.join(path).exists() {
                violations.push(format!("{}:{line}: `{path}` is not in the repository", page.path));
            }
        }
    }
    violations
}

fn broken(page: &Page, target: &str, pages: &[Page], checkout: &Path) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = match file {
        "" => page.path.clone(),
        file => normal(&Path::new(&page.path).parent().unwrap_or(Path::new("")).join(file)),
    };
    let in_book = page.path.starts_with("docs/src/");
    if in_book && !path.starts_with("docs/src/") {
        return Some("leads out of the book; name the file as `code`".into());
    }
    let Some(anchor) = anchor else {
        return (!checkout.join(&path).exists()).then(|| "there is no such file".into());
    };
    match pages.iter().find(|page| page.path == path) {
        Some(page) if page.anchors.contains(anchor) => None,
        Some(page) => Some(format!("there is no such heading; there are {:?}", page.anchors)),
        None => Some("there is no such page".into()),
    }
}

/// The path without `..`.
fn normal(path: &Path) -> String {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = normal.pop(),
            part => normal.push(part),
        }
    }
    normal.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_found() {
        let checkout = tempfile::tempdir().expect("a directory");
        for file in ["docs/src/a.md", "docs/src/b/c.md", "README.md", "wit/x"] {
            let path = checkout.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, "").expect("a file");
        }
        let other = || Page::read("docs/src/a.md", "# The title\n");
        let check = |path: &str, text: &str, expect: usize| {
            let found = check(&[other(), Page::read(path, text)], checkout.path());
            assert_eq!(found.len(), expect, "{text}: {found:?}");
        };
        check("docs/src/b/c.md", "[x](../a.md) [x](../a.md#the-title) [x](#own)\n## Own\n`wit/x` `wit/*`", 0);
        check("docs/src/b/c.md", "[x](../gone.md)", 1);
        check("docs/src/b/c.md", "[x](../a.md#gone)", 1);
        check("docs/src/b/c.md", "[x](#gone)", 1);
        check("docs/src/b/c.md", "[x](../../../README.md)", 1);
        check("docs/src/b/c.md", "`wit/gone.txt --help`", 1);
        check("README.md", "[x](wit/x) [x](docs/src/a.md)", 0);
        check("README.md", "[x](wit/gone)", 1);
    }
}
