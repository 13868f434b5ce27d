//! A job's life by commands, against a real coordinator.

use std::fs;

use flow_coordinator::rest::Options;
use serde_json::Value;

use crate::golden;
use crate::session::Session;

const FINITE: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: finite}
sources:
  in: {generator: {count: 10, value: x}}
sinks:
  out: {blackhole: {}, from: in}
";

fn session() -> Session {
    let endless = FINITE.replace("finite", "endless").replace("count: 10", "rate: 100");
    let failing = FINITE.replace("generator: {count: 10, value: x}", "files: {path: nowhere}");
    Session::new(&[("finite.yaml", FINITE), ("endless.yaml", &endless), ("failing.yaml", &failing)])
}

#[test]
fn json_stays_as_it_is() {
    let session = session();
    golden::check("check.json", &session.good("check finite.yaml -o json"));
    golden::check("deploy.json", &session.good("deploy finite.yaml --wait -o json"));
    golden::check("list.json", &session.good("list -o json"));
    golden::check("describe.json", &session.good("describe finite -o json"));
    let refused = session.run("cancel finite -o json");
    assert_eq!((refused.code, refused.stdout.as_str()), (4, ""));
    golden::check("refused.json", &refused.stderr);
    let failed = session.run("deploy failing.yaml -o json");
    assert_eq!(failed.code, 2);
    let error: Value = serde_json::from_str(&failed.stderr).expect("JSON");
    assert_eq!((&error["code"], &error["diagnostics"][0]["line"]), (&"invalid-pipeline".into(), &5.into()));
}

#[test]
fn a_job_in_tables() {
    let session = session();
    let empty = session.run("list");
    assert_eq!((empty.code, empty.stdout.trim()), (0, ""));
    assert_eq!(empty.stderr, "no jobs; start one with `flowctl deploy FILE`\n");

    let deployed = session.good("deploy finite.yaml --wait");
    let id = deployed.trim_end().strip_suffix(" finished").expect("it finished");
    let list = session.good("list");
    assert!(list.starts_with("ID             NAME    STATE     SUBMITTED"), "{list}");
    assert!(list.contains(&format!("\n{id}  finite  finished  ")), "{list}");
    let description = session.good("describe finite");
    for expected in
        ["state      finished\n", "OPERATOR", "\nout              1          10           10 ", "\ntask 0: in → out"]
    {
        assert!(description.contains(expected), "{expected:?} in {description}");
    }
    assert!(!description.contains('\x1b'), "no colours in a pipe: {description}");
    let log = session.good("logs finite --tail 1");
    assert!(log.ends_with("Z info  job is finished\n"), "{log}");
    assert_eq!(session.good("logs finite -f --tail 1"), log);
    let json: Value = serde_json::from_str(&session.good("logs finite --tail 1 -o json")).expect("one object");
    assert_eq!(json["message"], "job is finished");
}

#[test]
fn a_job_is_canceled() {
    let session = session();
    let deployed = session.run("deploy endless.yaml");
    assert!(deployed.stdout.ends_with(" running\n"), "{}", deployed.stdout);
    assert!(deployed.stderr.contains("stop it with `flowctl cancel endless-"), "{}", deployed.stderr);
    let twice = session.run("deploy endless.yaml");
    assert_eq!(twice.code, 4);
    assert!(
        twice.stderr.starts_with("error: a job named \"endless\" is already running\n  stop it"),
        "{}",
        twice.stderr
    );
    session.good("deploy endless.yaml --name second");
    assert!(session.good("cancel endless --wait").ends_with(" canceled\n"));
    assert!(session.good("cancel second --wait").ends_with(" canceled\n"));
}

#[test]
fn waiting_tells_how_it_ended() {
    let session = session();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| session.run("deploy endless.yaml --wait"));
        while session.run("cancel endless").code == 4 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        waiting.join().expect("it ends")
    });
    assert_eq!(waiting.code, 1);
    assert!(waiting.stderr.trim_end().ends_with(" is canceled"), "{}", waiting.stderr);
}

#[test]
fn more_than_the_server_takes() {
    let operators = "operators:\n  a: {component: ./big.wasm, from: in}\nsinks:";
    let options = Options { body_max: 1 << 20, ..Options::default() };
    let session = Session::with(options, &[("big.yaml", &FINITE.replace("sinks:", operators))]);
    fs::write(session.directory().join("big.wasm"), vec![0; 9 << 20]).expect("a file");
    let called = session.run("deploy big.yaml");
    assert_eq!(called.code, 2, "{}", called.stderr);
    let expect =
        "error: pipeline and components together are larger than 1Mi\n  raise it with --body-max SIZE of flowd\n";
    assert!(called.stderr.ends_with(expect), "{}", called.stderr);
}

#[test]
fn unknown_jobs() {
    let session = session();
    for line in ["describe nobody", "logs nobody", "logs nobody -f", "cancel nobody"] {
        let called = session.run(line);
        let expect = "error: no job \"nobody\"\n  `flowctl list` shows the jobs that there are\n";
        assert_eq!((called.code, called.stderr.as_str()), (4, expect), "{line}");
    }
}
