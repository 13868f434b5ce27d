//! What no file of the repository may name: a place of one machine, the host of a package registry, work left undone.
//! Package managers have their own settings, and a path of one machine is wrong on every other.

/// Hosts in two parts, so that this file does not name them either.
const HOSTS: &[(&str, &str)] = &[
    ("crates", "io"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry.npmjs", "org"),
    ("maven.apache", "org"),
    ("repo1.maven", "org"),
    ("proxy.golang", "org"),
    ("deb.debian", "org"),
    ("archive.ubuntu", "com"),
    ("static.rust-lang", "org"),
];
const HOMES: &[&str] = &["root", "work", "home"];
const UNDONE: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("XX", "X")];

/// Violations in one text file. Lock files are written by package managers, which name their sources in them; Maven's
/// XML names its schema by the address of the project that defines it.
pub fn check(path: &str, text: &str) -> Vec<String> {
    if path.ends_with(".lock") || path.ends_with("-lock.json") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut found = |what: String| violations.push(format!("{path}:{number}: {what}"));
        if let Some(place) = machine_path(line) {
            found(format!("names {place}, a place of one machine"));
        }
        for (name, domain) in HOSTS {
            let host = format!("{name}.{domain}");
            let schema = line.contains("xmlns=");
            if line.contains(&host) && !schema {
                found(format!("names {host}, the host of a registry"));
            }
        }
        for (first, second) in UNDONE {
            let word = format!("{first}{second}");
            if !crate::code::lines_with_word(line, &word).is_empty() {
                found(format!("{word}: do it, or file an issue"));
            }
        }
    }
    violations
}

/// The absolute path below a home or a work directory that `line` names.
fn machine_path(line: &str) -> Option<String> {
    for home in HOMES {
        let place = format!("/{home}/");
        for (at, _) in line.match_indices(&place) {
            // Inside a longer path it is a folder of that name, which is no place of a machine.
            let inside = line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-})>*~".contains(c));
            let names_more = line[at + place.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '.');
            if !inside && names_more {
                return Some(place);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_violations_are_found() {
        let check = |line: String, expected: usize| assert_eq!(check("a.md", &line).len(), expected, "{line}");
        check(format!("see /{}/x", "root"), 1);
        check(format!("path = \"/{}/main\"", "work"), 1);
        check(format!("/{}/someone/flow", "home"), 1);
        check("runtime/work/x and $DIR/work/x and runtime/worker/src".into(), 0);
        check(format!("get it from https://{}.{}/x", "pypi", "org"), 1);
        check(format!("// {}{}: later", "TO", "DO"), 1);
        check(format!("{}{}S are fine, as part of a word", "TO", "DO"), 0);
    }

    #[test]
    fn lock_files_name_their_sources() {
        let line = format!("source = \"registry+{}.{}\"", "crates", "io");
        assert_eq!(check("Cargo.toml", &line).len(), 1);
        assert!(check("plugins/Cargo.lock", &line).is_empty());
    }
}
