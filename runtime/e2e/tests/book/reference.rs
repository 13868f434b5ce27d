//! Pages that the programs write themselves: what `--help` of each command says. `GOLDEN=write cargo test` writes them anew;
//! look at the difference before it is committed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use flow_e2e::flowd::binary;

/// The pages, their programs and what stands above.
const PAGES: [(&str, &str, &str); 2] = [
    (
        "docs/src/reference/flowctl.md",
        "flowctl",
        "What `--help` says of each command. Exit codes have [a page of their own](exit-codes.md).",
    ),
    (
        "docs/src/reference/flowd.md",
        "flowd",
        "What `--help` says of each command. How a daemon is run is told in [Run a daemon](../guide/daemon.md).",
    ),
];

/// The paths of the pages.
pub fn paths() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(path, _, _)| *path)
}

/// Pages that are not as the programs would write them.
pub fn check(checkout: &Path) -> Vec<String> {
    let differs = |(path, program, about): &(&str, &str, &str)| {
        let mut page = format!("# {program}\n\n{about}\n");
        describe(program, &[], &mut page);
        let file = checkout.join(path);
        if env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&file, &page).expect("a file");
        }
        let is = fs::read_to_string(&file).unwrap_or_default();
        let line = is.lines().zip(page.lines()).position(|(is, shall)| is != shall).unwrap_or_default() + 1;
        (is != page).then(|| format!("{path}:{line}: not what `{program} --help` says; GOLDEN=write writes it anew"))
    };
    PAGES.iter().filter_map(differs).collect()
}

/// Appends a section for a command, and one for each that is below it.
fn describe(program: &str, command: &[&str], page: &mut String) {
    let help = help(program, command);
    let name = [&[program], command].concat().join(" ");
    *page += &format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end());
    for below in commands(&help) {
        describe(program, &[command, &[below]].concat(), page);
    }
}

fn help(program: &str, command: &[&str]) -> String {
    let mut asked = Command::new(binary(program));
    // No stream is a terminal, whose width would count.
    asked.args(command).arg("--help").env("COLUMNS", "110").stdin(Stdio::null());
    let answer = asked.output().expect("it starts");
    assert!(answer.status.success(), "{program} {command:?} --help");
    let text = String::from_utf8(answer.stdout).expect("help is text");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The subcommands that a help lists.
fn commands(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").collect()
}

#[test]
fn commands_are_found() {
    let help = "About\n\nUsage: x\n\nCommands:\n  check   Check\n          and more\n  list    List\n  help    Print\n\nOptions:\n  -h\n";
    assert_eq!(commands(help), ["check", "list"]);
    assert!(commands("Options:\n  -h\n").is_empty());
}
