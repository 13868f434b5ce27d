//! Parts of pipeline files, as pages show them, made whole so that they can be checked. Must add nothing that a part itself
//! has.

/// The sections of a file, each with the lines that belong to it.
fn sections(text: &str) -> Vec<(&str, String)> {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        let name = line.split_once(':').map(|(name, _)| name).filter(|name| !name.starts_with([' ', '#', '-']));
        match (name, sections.last_mut()) {
            (Some(name), _) => sections.push((name, format!("{line}\n"))),
            (None, Some((_, section))) => *section += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    sections
}

/// The fragment with what it lacks: from `whole`, the last file that its page showed, or else a source `in` and a sink
/// behind the last operator or source.
pub fn complete(fragment: &str, whole: Option<&str>) -> String {
    let own = sections(fragment);
    let default = || {
        let last = last_of(&own, "operators").or_else(|| last_of(&own, "sources")).unwrap_or("in");
        let sink = format!("sinks: {{out: {{blackhole: {{}}, from: {last}}}}}\n");
        let head = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: fragment}\n";
        format!("{head}sources: {{in: {{generator: {{count: 1}}}}}}\n{sink}")
    };
    let rest = whole.map_or_else(default, str::to_owned);
    let lacks = |(name, _): &(&str, String)| !own.iter().any(|(has, _)| has == name);
    let mut file: String = sections(&rest).into_iter().filter(lacks).map(|(_, text)| text).collect();
    file += fragment;
    file
}

/// The last name in a section that is written over several lines.
fn last_of<'f>(sections: &'f [(&str, String)], name: &str) -> Option<&'f str> {
    let (_, text) = sections.iter().find(|(section, _)| *section == name)?;
    let names = text.lines().skip(1).filter_map(|line| Some(line.strip_prefix("  ")?.split_once(':')?.0));
    names.filter(|name| !name.starts_with([' ', '#', '-'])).last()
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn only_what_lacks_is_added() {
        let head = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: fragment}\n";
        let check =
            |fragment: &str, expect: &str| assert_eq!(complete(fragment, None), format!("{head}{expect}{fragment}"));
        check(
            "operators:\n  a: {from: in}\n  b:\n    from: a\n    config: {x: 1}\n",
            "sources: {in: {generator: {count: 1}}}\nsinks: {out: {blackhole: {}, from: b}}\n",
        );
        check("sources:\n  orders: {kafka: {}}\n", "sinks: {out: {blackhole: {}, from: orders}}\n");
        let whole = format!("{head}sources:\n  a: {{}}\nsinks:\n  b: {{}}\n");
        assert_eq!(complete(&whole, None), whole);
        let fragment = "sinks:\n  c: {}\n";
        assert_eq!(complete(fragment, Some(&whole)), format!("{head}sources:\n  a: {{}}\n{fragment}"));
    }
}
