//! Help, versions, completion, wrong usage.

use crate::run;

const COMMANDS: [&str; 25] = [
    "dev",
    "top",
    "graph",
    "plugin",
    "context",
    "explain",
    "schema",
    "new",
    "test",
    "check",
    "run",
    "deploy",
    "list",
    "describe",
    "logs",
    "cancel",
    "stop",
    "savepoint",
    "sink",
    "scale",
    "workers",
    "drain",
    "certs",
    "build",
    "completion",
];

#[test]
fn every_command_has_examples() {
    let here = std::env::temp_dir();
    let all = run(&here, &["--help"]);
    for command in COMMANDS {
        assert!(all.stdout.contains(&format!("\n  {command} ")), "{command} in {}", all.stdout);
        let called = run(&here, &[command, "--help"]);
        assert_eq!(called.code, 0);
        let example = format!("Examples:\n  {}", if command == "completion" { "source <(" } else { "flowctl " });
        assert!(called.stdout.contains(&example), "{}", called.stdout);
    }
    assert!(all.stdout.contains("Exit codes:\n  0    done\n"), "{}", all.stdout);
}

#[test]
fn wrong_usage_ends_with_2() {
    let here = std::env::temp_dir();
    let check = |arguments: &[&str], expect: &str| {
        let called = run(&here, arguments);
        assert_eq!(called.code, 2, "{arguments:?}: {}", called.stderr);
        assert!(called.stdout.is_empty() && called.stderr.contains(expect), "{arguments:?}: {}", called.stderr);
    };
    check(&[], "Usage: flowctl");
    check(&["deploi"], "similar subcommands exist: 'savepoint', 'completion', 'explain', 'deploy'");
    check(&["check"], "<FILE>");
    check(&["list", "-o", "xml"], "possible values: table, wide, json, yaml, name");
    check(&["deploy", "p.yaml", "--name", "Not a name"], "is no valid name");
    check(&["logs", "x", "--tail", "few"], "--tail <N>");
    check(&["completion", "tcsh"], "it is bash, zsh or fish");
    check(&["deploy", "p.yaml", "--from-savepoint", "a b"], "\"a b\" is no savepoint: \"a b\" is no valid name");
    check(&["deploy", "p.yaml", "--from-savepoint", "a/b/c"], "write NAME or JOB/NAME");
    check(&["deploy", "p.yaml", "--from-checkpoint", "newest"], "with latest for the latest one");
    check(&["deploy", "p.yaml", "--from-savepoint", "a", "--from-checkpoint", "latest"], "cannot be used with");
    check(&["deploy", "p.yaml", "--abandon-output", "--reset-progress"], "cannot be used with");
    for given in [&["--claim"][..], &["--drop-state", "a"], &["--new-state", "a/b"], &["--allow-repeat"]] {
        let line = [&["deploy", "p.yaml"], given].concat();
        check(&line, "none is given to begin with\n  name one with --from-savepoint or --from-checkpoint\n");
    }
    check(&["stop", "orders", "--savepoint=A"], "\"A\" is no valid name");
    check(&["savepoint", "create", "orders", "--name", "A"], "\"A\" is no valid name");
    check(&["scale", "orders"], "write JOB/NODE=N, such as orders/counts=4, or JOB=N for all that it has");
    check(&["scale", "orders/counts=0"], "it needs 1 subtask at least");
    check(&["deploy", "p.yaml", "--parallelism", "counts"], "write NODE=N, such as counts=4");
    check(&["deploy", "p.yaml", "--parallelism", "a=1", "--parallelism", "a=2"], "error: a is given twice");
    check(&["build", ".", "--module", "x.wasm"], "cannot be used with");
    check(&["describe", "../healthz"], "\"../healthz\" is no valid name");
    check(&["list", "--server", "localhost:8081"], "has no http:// or https:// in front");
}

#[test]
fn wrong_usage_in_json() {
    let here = std::env::temp_dir();
    for arguments in
        [&["list", "-o", "json", "--nosuch"][..], &["check", "-ojson"], &["graph", "-o", "json", "none.yaml"]]
    {
        let called = run(&here, arguments);
        assert_eq!((called.code, called.stdout.as_str()), (2, ""), "{arguments:?}: {}", called.stderr);
        let error: serde_json::Value = serde_json::from_str(&called.stderr).expect("one object");
        assert_eq!(error["code"], "invalid", "{error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.contains('\n')), "{error}");
    }
}

#[test]
fn bash_completes_with_the_script() {
    let script = r#"source <("$0" completion bash)
        complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _flowctl flowctl "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[*]}"; }
        complete_line flowctl de
        complete_line flowctl list --ou
        complete_line flowctl list -o j
        complete_line flowctl deploy pi
        complete_line flowctl savepoint i
        complete_line flowctl deploy p.yaml --from
        complete -p flowctl"#;
    let mut bash = std::process::Command::new("bash");
    let called = crate::call(bash.args(["--norc", "-c", script, env!("CARGO_BIN_EXE_flowctl")]));
    assert_eq!((called.code, called.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = called.stdout.lines().collect();
    assert_eq!(lines[..4], ["dev deploy describe", "--output", "json", ""]);
    assert_eq!(lines[4..6], ["inspect", "--from-savepoint --from-checkpoint"]);
    assert!(lines[6].contains("-o default"), "where it knows nothing, bash completes names of files: {lines:?}");
}

#[test]
fn completion_knows_the_commands() {
    let here = std::env::temp_dir();
    for (shell, word) in [("bash", "_flowctl()"), ("zsh", "#compdef flowctl"), ("fish", "complete -c flowctl")] {
        let called = run(&here, &["completion", shell]);
        assert_eq!(called.code, 0);
        assert!(called.stdout.contains(word), "{shell}");
        assert!(COMMANDS.iter().all(|command| called.stdout.contains(command)), "{shell}");
    }
}
