//! `flowctl completion`: the script with which a shell completes flowctl's command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Print a script that completes flowctl's command line in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(flowctl completion bash)                                  for this shell
  flowctl completion bash > ~/.local/share/bash-completion/completions/flowctl
  flowctl completion zsh > ~/.zfunc/_flowctl                         with ~/.zfunc in fpath
  flowctl completion fish > ~/.config/fish/completions/flowctl.fish")]
pub struct Args {
    /// The shell
    #[arg(value_parser = shell)]
    shell: Shell,
}

fn shell(name: &str) -> Result<Shell, String> {
    match name {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("it is bash, zsh or fish".into()),
    }
}

/// Prints it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "flowctl", &mut script);
    output.line(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
