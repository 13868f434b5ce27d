//! Parts of pages that the programs write themselves: what `--help` says of each command, what `flowctl explain` says of
//! each field of a pipeline file. What stands above the line that marks such a part is written by people.
//! `GOLDEN=write cargo test` writes the parts anew; look at the difference before it is committed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use flow_e2e::flowd::binary;
use serde_json::Value;

/// The line under which a page is written by a program.
const LINE: &str =
    "<!-- From here on written by GOLDEN=write cargo nextest run --release --workspace --test book -->\n";

/// Writes the rest of a page.
type Writer = fn() -> String;

/// The pages with their writers.
const PAGES: [(&str, Writer); 3] = [
    ("docs/src/reference/flowctl.md", || commands("flowctl", &[])),
    ("docs/src/reference/flowd.md", || commands("flowd", &[])),
    ("docs/src/reference/pipeline.md", || fields("")),
];

/// Pages that are not as the programs would write them.
pub fn check(checkout: &Path) -> Vec<String> {
    let differs = |(path, write): &(&str, Writer)| {
        let file = checkout.join(path);
        let is = fs::read_to_string(&file).unwrap_or_default();
        let Some((head, _)) = is.split_once(LINE) else { return Some(format!("{path}: has no line\n{LINE}")) };
        let page = format!("{head}{LINE}{}", write());
        if env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&file, &page).expect("a file");
            return None;
        }
        let line = is.lines().zip(page.lines()).position(|(is, shall)| is != shall).unwrap_or_default() + 1;
        (is != page).then(|| format!("{path}:{line}: not what the program says; GOLDEN=write writes it anew"))
    };
    PAGES.iter().filter_map(differs).collect()
}

/// What a program answers.
fn answer(program: &str, arguments: &[&str]) -> String {
    let mut asked = Command::new(binary(program));
    // No stream is a terminal, whose width would count.
    asked.args(arguments).env("COLUMNS", "100").stdin(Stdio::null());
    let answer = asked.output().expect("it starts");
    assert!(answer.status.success(), "{program} {arguments:?}");
    let text = String::from_utf8(answer.stdout).expect("text");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A section for a command, and one for each below it.
fn commands(program: &str, command: &[&str]) -> String {
    let help = answer(program, &[command, &["--help"]].concat());
    let name = [&[program], command].concat().join(" ");
    let below = listed(&help).into_iter().map(|below| commands(program, &[command, &[below]].concat()));
    format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end()) + &below.collect::<String>()
}

/// The subcommands that a help lists.
fn listed(help: &str) -> Vec<&str> {
    // There may be several lists of them, each under a heading of its own.
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands")).take_while(|line| *line != "Options:");
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").collect()
}

/// A section for a field that has fields, and one for each of those.
fn fields(path: &str) -> String {
    let explained = answer("flowctl", &["explain", path, "-o", "json"]);
    let field: Value = serde_json::from_str(&explained).expect("JSON");
    let text = |field: &Value, name: &str| field[name].as_str().unwrap_or_default().replace('|', "\\|");
    let below = field["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    if below.is_empty() {
        return String::new();
    }
    let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
    let mut section = format!("\n## {title}\n\n{}\n\n| field | type | |\n|---|---|---|\n", text(&field, "description"));
    for one in below {
        let needed = if one["required"] == true { " **Required.**" } else { "" };
        let row =
            format!("| `{}` | {} | {}{needed} |\n", text(one, "field"), text(one, "type"), text(one, "description"));
        section += &row;
    }
    let dot = if path.is_empty() { "" } else { "." };
    let names = below.iter().map(|one| format!("{path}{dot}{}", text(one, "field")));
    section + &names.map(|name| fields(&name)).collect::<String>()
}

#[test]
fn commands_are_found() {
    let help = "About\n\nUsage: x\n\nCommands:\n  check   Check\n          and more\n  list    List\n  help    Print\n\nOptions:\n  -h\n";
    assert_eq!(listed(help), ["check", "list"]);
    let groups = "Commands to run:\n  deploy  Send\n\nCommands to look:\n  list    List\n\nOptions:\n  -h\n";
    assert_eq!(listed(groups), ["deploy", "list"]);
    assert!(listed("Options:\n  -h\n").is_empty());
}
