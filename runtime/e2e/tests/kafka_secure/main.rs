//! Kafka as people run it: TLS, users, tokens, secrets. What is wrong with them is said with the broker, the mechanism and the
//! next step, and a secret is never told to anybody.

mod refused;
mod served;
mod tokens;

use std::path::Path;

use flow_e2e::flowd::Flowd;
use flow_e2e::secure::{PASSWORD, Secure};

/// A pipeline from one topic to another, both of the brokers at this address, with these further fields.
fn pipeline(brokers: &str, from: &str, to: &str, fields: &str, stop: &str) -> String {
    format!(
        "sources:\n  in: {{kafka: {{brokers: '{brokers}', topic: {from}, {fields}{stop}}}}}\n\
         sinks:\n  out: {{kafka: {{brokers: '{brokers}', topic: {to}, {fields}}}, from: in}}\n"
    )
}

fn tls(secure: &Secure) -> String {
    format!("tls: {{ca: '{}'}}", secure.file("ca.pem").display())
}

/// Nobody was told the password: not by a command, not in a log, not in what lies in flowd's directory.
#[track_caller]
fn nothing_told(flowd: &Flowd, job: Option<&str>) {
    let mut commands = vec![vec!["list"], vec!["list", "-o", "json"]];
    if let Some(job) = job {
        commands.extend([vec!["describe", job], vec!["describe", job, "-o", "json"], vec!["logs", job]]);
    }
    for command in commands {
        let called = flowd.ctl(&command);
        assert_eq!(called.code, 0, "{command:?}: {}", called.stderr);
        assert!(!format!("{}{}", called.stdout, called.stderr).contains(PASSWORD), "{command:?} tells the password");
    }
    assert!(!flowd.log().contains(PASSWORD), "flowd's log tells the password");
    hidden_below(&flowd.path("data"));
}

/// No file below a directory has the password in it.
#[track_caller]
fn hidden_below(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            hidden_below(&path);
        } else if let Ok(content) = std::fs::read(&path) {
            let text = String::from_utf8_lossy(&content);
            assert!(!text.contains(PASSWORD), "{} has the password in it", path.display());
        }
    }
}
