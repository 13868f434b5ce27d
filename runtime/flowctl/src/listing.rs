//! What `flowctl --help` shows: the commands by what they are for, since clap lists them without headings, and first steps.

use clap::builder::Styles;
use clap::{Command, Subcommand};

use crate::{cli, exit};

/// All commands, in the order of use.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "write operators and pipelines",
        &["new", "build", "test", "dev", "check", "run", "graph", "explain", "schema", "plugin"],
    ),
    ("run jobs", &["deploy", "list", "describe", "top", "logs", "stop", "cancel", "scale"]),
    ("keep what jobs have done", &["checkpoint", "savepoint", "sink"]),
    ("look after a cluster", &["workers", "drain", "certs"]),
    ("set up flowctl", &["context", "completion", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  flowctl new enrich                         an operator with tests and a pipeline
  flowctl run pipeline.yaml                  here, until its input ends
  flowctl deploy pipeline.yaml               on the server, as a job
  flowctl list
  flowctl logs orders -f --tail 10
  flowctl stop orders --savepoint --wait
  flowctl deploy pipeline.yaml --from-savepoint orders/NAME
  flowctl list -o json                       for programs, as every command
  flowctl deploy --help                      more of one command, with examples";

/// What stands under the options.
pub fn after() -> String {
    format!("{EXAMPLES}\n\n{}", exit::CODES)
}

/// The whole, for clap to fill in.
pub fn template() -> String {
    let styles = Styles::default();
    let title = |text: &str| format!("{0}{text}{0:#}", styles.get_header());
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n\n");
    let all = cli::Command::augment_subcommands(Command::new("flowctl"));
    for (purpose, names) in GROUPS {
        text += &title(&format!("Commands to {purpose}:"));
        text.push('\n');
        for name in names {
            let literal = styles.get_literal();
            text += &format!("  {literal}{name:<10}{literal:#}  {}\n", about(&all, name));
        }
        text.push('\n');
    }
    text + &title("Options:") + "\n{options}{after-help}"
}

fn about(all: &Command, name: &str) -> String {
    let Some(command) = all.find_subcommand(name) else {
        // Clap's own.
        return "Print this message or the help of the given command".to_owned();
    };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let alias = command.get_visible_aliases().map(|alias| format!(" [alias: {alias}]"));
    about + &alias.collect::<String>()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_listed_once_and_fits_on_its_line() {
        let mut listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let all = cli::Cli::command();
        let mut names: Vec<&str> = all.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        listed.sort_unstable();
        names.sort_unstable();
        assert_eq!(listed, names);
        let help = cli::Cli::command().render_long_help().to_string();
        for line in help.lines().take_while(|line| *line != "Options:") {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for part in ["\nCommands to run jobs:\n  deploy      Send a pipeline", "\nExamples:\n", "\nExit codes:\n"] {
            assert!(help.contains(part), "{part} in {help}");
        }
        assert!(!help.contains('{'), "clap takes braces for tags: {help}");
    }
}
