//! "Did you mean …?": the known word nearest to an unknown one, and how text of a stranger is quoted in a message.

/// Longer words get no suggestion: the work grows with the square of the length.
const LONGEST: usize = 80;

/// The candidate that differs from `word` by the fewest edits, if it is near enough to be a slip of the pen: at most
/// one edit per three characters, and at least one allowed. An ending left out counts as one edit; case, `_` and `-`
/// count as equal.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word)?;
    let limit = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&word, &folded(candidate)?), candidate)))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn folded(word: &str) -> Option<Vec<char>> {
    (word.len() <= LONGEST)
        .then(|| word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect())
}

fn distance(word: &[char], candidate: &[char]) -> usize {
    match edits(word, candidate) {
        edits if word.len() > 2 && candidate.starts_with(word) => edits.min(1),
        edits => edits,
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between `a` and `b` (optimal string alignment).
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// `text` in double quotes, escaped, cut after 60 characters: fit for one line of a terminal or a log.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// `a, b, c and 7 more`: at most ten names; `none` for none.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return "none".into();
    }
    let mut text = names.iter().take(10).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 10 {
        text.push_str(&format!(" and {} more", names.len() - 10));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let fields = ["from", "component", "on-error", "parallelism", "key"];
        let check = |word: &str, expect: Option<&str>| assert_eq!(nearest(word, fields), expect, "{word}");
        check("form", Some("from"));
        check("fro", Some("from"));
        check("onError", Some("on-error"));
        check("on_error", Some("on-error"));
        check("paralelism", Some("parallelism"));
        check("Key", Some("key"));
        check("comp", Some("component"));
        check("window", None);
        check("co", None);
        check("", None);
        check(&"x".repeat(1000), None);
    }

    #[test]
    fn quotes_are_short_and_on_one_line() {
        assert_eq!(quoted("a\nb\u{1b}"), r#""a\nb\u{1b}""#);
        assert_eq!(quoted(&"ä".repeat(61)), format!("\"{}…\"", "ä".repeat(60)));
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed(["n"; 12]), "n, n, n, n, n, n, n, n, n, n and 2 more");
    }
}
