//! The built `flowctl`, as a shell calls it: output, errors, exit codes. Where a server is needed it is a real
//! coordinator in this process, on a free port.

mod build;
mod certs;
mod checkpoints;
mod cluster;
mod contexts;
mod cut;
mod dev;
mod errors;
mod flowd;
mod golden;
mod look;
mod new;
mod pipes;
mod remote;
mod savepoints;
mod server;
mod session;
mod top;
mod usage;

use std::path::Path;
use std::process::{Command, Output};

/// What a call of flowctl did.
pub struct Called {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A command line of flowctl that knows no server and no home of this machine.
pub fn flowctl(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowctl"));
    command.current_dir(directory).env("XDG_CONFIG_HOME", directory.join(".config"));
    for variable in ["FLOW_SERVER", "FLOW_CONTEXT", "FLOW_TOKEN", "FLOW_CA", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// Calls it and waits.
pub fn call(command: &mut Command) -> Called {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Called { code: status.code().expect("it exits by itself"), stdout: text(stdout), stderr: text(stderr) }
}

/// Calls it in `directory`.
pub fn run(directory: &Path, arguments: &[&str]) -> Called {
    call(flowctl(directory).args(arguments))
}
