//! What a user gets who hands in something wrong: pipelines, components and data, through `flowctl` and a daemon that has to
//! stay up.

mod components;
mod files;
mod pipelines;
mod wide;

use flow_e2e::flowd::Flowd;

/// `check` without a server and `deploy` to one must say the same: exactly this, each line but the last with the name of the
/// file.
#[track_caller]
fn refused(flowd: &Flowd, name: &str, pipeline: &str, expect: &[&str]) {
    let file = flowd.pipeline(name, pipeline);
    let count = match expect.len() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    let mut lines: Vec<String> = expect.iter().map(|line| format!("{file}:{line}")).collect();
    lines.push(format!("error: the pipeline has {count}"));
    for command in ["check", "deploy"] {
        let called = flowd.ctl(&[command, &file]);
        assert_eq!((called.code, called.stdout.as_str()), (2, ""), "{command} {name}: {}", called.stderr);
        assert_eq!(called.stderr.lines().collect::<Vec<_>>(), lines, "{command} {name}");
    }
    assert_eq!(flowd.json(&["list"])["jobs"].as_array().map(Vec::len), Some(0), "{name} was started");
}
