//! A page as its test sees it: blocks of code with what is to be done with them, links, headings, names of files. Only
//! text comes in; it must never run or open anything.
//!
//! What happens to a block follows from how a reader takes it. A block after a paragraph that ends in a file's name
//! (`` `orders.yaml`: ``) is that file; `sh` is typed into a terminal; `text` after `sh` is what the terminal then shows, with
//! `…` for what differs each time. Anything else is said in a comment in front of the block, which a reader does not see:
//! `<!-- test: not run, REASON -->`, `<!-- test: exit 2 -->`, `<!-- test: Ctrl-C when it shows TEXT -->`.

use std::collections::BTreeSet;

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its path in the repository.
    pub path: String,
    /// Its fenced blocks, in their order.
    pub blocks: Vec<Block>,
    /// Line and target of each link and picture.
    pub links: Vec<(usize, String)>,
    /// What a link can name after `#`: the headings, as mdBook spells them.
    pub anchors: BTreeSet<String>,
    /// Line and text of each piece of code in a sentence.
    pub words: Vec<(usize, String)>,
    /// What can't be understood, as violations.
    pub odd: Vec<String>,
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins.
    pub line: usize,
    /// What the fence says it is.
    pub language: String,
    /// What it holds.
    pub text: String,
    /// The file that it is.
    pub file: Option<String>,
    /// What is said about it.
    pub mark: Option<Mark>,
}

/// What a comment in front of a block says.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark {
    /// It can't be run, for this reason.
    NotRun(String),
    /// Its last command ends with this code, or that which checks it if it is a pipeline file.
    Exit(u8),
    /// Its command is stopped by Ctrl-C when the terminal shows this.
    Interrupted(String),
}

/// The mark in a comment of HTML; none if the comment is not for the test.
fn mark(comment: &str) -> Option<Result<Mark, String>> {
    let text = comment.trim().strip_prefix("<!-- test:")?.strip_suffix("-->")?.trim();
    let mark = if let Some(reason) = text.strip_prefix("not run,") {
        (!reason.trim().is_empty()).then(|| Mark::NotRun(reason.trim().to_owned()))
    } else if let Some(code) = text.strip_prefix("exit ") {
        code.trim().parse().ok().map(Mark::Exit)
    } else {
        text.strip_prefix("Ctrl-C when it shows ").map(|shown| Mark::Interrupted(shown.to_owned()))
    };
    Some(mark.ok_or_else(|| format!("the mark \"{text}\" says nothing that the test knows")))
}

/// The file that a paragraph announces: `` … in `src/lib.rs`: ``.
fn announced(paragraph: &str) -> Option<String> {
    let (_, name) = paragraph.trim_end().strip_suffix("`:")?.rsplit_once('`')?;
    (!name.is_empty() && !name.contains(char::is_whitespace)).then(|| name.to_owned())
}

/// What mdBook makes of a heading for its address.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter_map(|c| match c {
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
            c if c.is_whitespace() => Some('-'),
            _ => None,
        })
        .collect()
}

impl Page {
    /// Reads the text of a page.
    pub fn read(path: &str, text: &str) -> Page {
        let mut page = Page {
            path: path.to_owned(),
            blocks: Vec::new(),
            links: Vec::new(),
            anchors: BTreeSet::new(),
            words: Vec::new(),
            odd: Vec::new(),
        };
        let line_of = |at: usize| text[..at].matches('\n').count() + 1;
        let unused = |(line, _): (usize, Mark)| format!("{path}:{line}: a mark without a block after it");
        let (mut heading, mut paragraph, mut noted): (Option<String>, String, Option<(usize, Mark)>) =
            Default::default();
        let mut block: Option<Block> = None;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = line_of(range.start);
            if matches!(&event, Event::Start(tag) if !matches!(tag, Tag::CodeBlock(_) | Tag::HtmlBlock)) {
                page.odd.extend(noted.take().map(unused));
            }
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors.extend(heading.take().map(|text| anchor(&text)));
                    paragraph.clear();
                }
                Event::Start(Tag::Paragraph) => paragraph = text[range].to_owned(),
                Event::Start(Tag::Link { dest_url, link_type, .. }) if link_type != LinkType::Email => {
                    page.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::Image { dest_url, .. }) => page.links.push((line, dest_url.into_string())),
                Event::Html(comment) => match mark(&comment) {
                    Some(Ok(mark)) => noted = Some((line, mark)),
                    Some(Err(odd)) => page.odd.push(format!("{path}:{line}: {odd}")),
                    None => {}
                },
                Event::Start(Tag::CodeBlock(kind)) => {
                    let CodeBlockKind::Fenced(info) = kind else {
                        page.odd.push(format!("{path}:{line}: an indented block: fence it and say its language"));
                        continue;
                    };
                    let language = info.split([' ', ',']).next().unwrap_or_default().to_owned();
                    let file = announced(&paragraph).filter(|_| !matches!(language.as_str(), "sh" | "text"));
                    let mark = noted.take().map(|(_, mark)| mark);
                    paragraph.clear();
                    block = Some(Block { line, language, text: String::new(), file, mark });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(part) => {
                    heading.iter_mut().for_each(|text| text.push_str(&part));
                    block.iter_mut().for_each(|block| block.text.push_str(&part));
                }
                Event::Code(part) => {
                    heading.iter_mut().for_each(|text| text.push_str(&part));
                    page.words.push((line, part.into_string()));
                }
                _ => {}
            }
        }
        page.odd.extend(noted.take().map(unused));
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Own *operators*, `fast` ones!

See [the rest](other.md#x) and put this into `a/b.yaml`:
```yaml
a: 1
```

<!-- test: exit 2 -->
```sh
flowctl check a/b.yaml
```
It says
```text
a/b.yaml:1:1: …
```

<!-- test: not run, it asks for a password -->
```sh
sudo true
```
";

    #[test]
    fn a_page_is_read() {
        let page = Page::read("p.md", PAGE);
        let block = |line, language: &str, text: &str, file: Option<&str>, mark| Block {
            line,
            language: language.into(),
            text: text.into(),
            file: file.map(str::to_owned),
            mark,
        };
        assert_eq!(
            page.blocks,
            [
                block(4, "yaml", "a: 1\n", Some("a/b.yaml"), None),
                block(9, "sh", "flowctl check a/b.yaml\n", None, Some(Mark::Exit(2))),
                block(13, "text", "a/b.yaml:1:1: …\n", None, None),
                block(18, "sh", "sudo true\n", None, Some(Mark::NotRun("it asks for a password".into()))),
            ]
        );
        assert_eq!(page.links, [(3, "other.md#x".to_owned())]);
        assert_eq!(page.anchors, BTreeSet::from(["own-operators-fast-ones".to_owned()]));
        assert_eq!(page.odd, Vec::<String>::new());
    }

    #[test]
    fn marks() {
        assert_eq!(mark("<!-- test: Ctrl-C when it shows it is -->\n"), Some(Ok(Mark::Interrupted("it is".into()))));
        assert_eq!(mark("<!-- a remark -->"), None);
        for wrong in ["<!-- test: not run -->", "<!-- test: not run,  -->", "<!-- test: exit one -->", "<!-- test: -->"]
        {
            assert!(matches!(mark(wrong), Some(Err(_))), "{wrong}");
        }
        let page = |text: &str| Page::read("p.md", text).odd;
        assert_eq!(page("<!-- test: exit 1 -->\n\nText.\n"), ["p.md:1: a mark without a block after it"]);
        assert_eq!(page("<!-- test: exit 1 -->"), ["p.md:1: a mark without a block after it"]);
    }
}
