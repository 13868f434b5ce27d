//! Rust text without what is no product code: comments, the contents of literals, test modules. A scanner of a few
//! token kinds, not a parser: it keeps lines where they are, so that a finding has its line number.

/// `text` with comments and the contents of string and character literals replaced by spaces.
pub fn without_literals(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let after_word = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let blanked = comment(rest).or_else(|| string(rest, after_word)).or_else(|| character(rest));
        match blanked {
            Some(length) => {
                out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// The length of the comment that `rest` starts with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(rest.len())
}

/// The length of the string literal that `rest` starts with, with its prefix and hashes.
fn string(rest: &str, after_word: bool) -> Option<usize> {
    let prefix = if after_word { 0 } else { rest.find(|c| !matches!(c, 'b' | 'r' | 'c')).filter(|&at| at <= 2)? };
    let raw = rest[..prefix].contains('r');
    let hashes = if raw { rest[prefix..].find(|c| c != '#')? } else { 0 };
    let body = prefix + hashes + 1;
    if rest.as_bytes().get(body - 1) != Some(&b'"') {
        return None;
    }
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()));
    }
    let mut escaped = false;
    for (at, c) in rest[body..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(body + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// The length of the character literal that `rest` starts with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let mut chars = body.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        // The character after the backslash may be the quote itself.
        let start = chars.nth(1)?.0;
        return body[start..].find('\'').map(|at| 1 + start + at + 1);
    }
    matches!(chars.next(), Some((_, '\''))).then(|| 1 + first.len_utf8() + 1)
}

/// `code`, which has no literals any more, with every item under `#[cfg(test)]` replaced by spaces.
pub fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let length = item(&rest[at..]);
        out.extend(rest[at..at + length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[at + length..];
    }
    out + rest
}

/// The length of the item that `rest` starts with: up to a `;` or the end of its braces.
fn item(rest: &str) -> usize {
    let mut depth = 0;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The numbers, from 1, of the lines of `code` that contain `word` with no letter, digit or underscore at either side.
pub fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let inside = |line: &str| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word))
    };
    code.lines().enumerate().filter(|(_, line)| inside(line)).map(|(at, _)| at + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_go_and_lines_stay() {
        let check = |text: &str, expected: &str| assert_eq!(without_literals(text), expected, "{text}");
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */\n */ d", "a             \n    d");
        check(r#"f("x.unwrap()")"#, r#"f(            )"#);
        check(r#"f("a\"b") + 'c' + '\'' + '\n'"#, r#"f(      ) +     +      +     "#);
        check("br#\"a\"b\"# x", "          x");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("let r = r\"\\\"; y", "let r =     ; y");
        check("'é' x", "    x");
    }

    #[test]
    fn test_items_go_and_the_rest_stays() {
        let code =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nuse d;\nfn e() {}";
        let product = without_tests(code);
        for (name, stays) in [("a", true), ("b", false), ("c", true), ("d", false), ("e", true)] {
            assert_eq!(!lines_with_word(&product, name).is_empty(), stays, "{name}");
        }
        assert_eq!(lines_with_word(&product, "e"), [9]);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(lines_with_word("unsafe_code\nunsafe {\nnot_unsafe", "unsafe"), [2]);
    }
}
