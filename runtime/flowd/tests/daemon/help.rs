//! What `flowd` says of itself.

use crate::process::Place;

#[test]
fn every_command_has_examples() {
    let place = Place::new("");
    let help = |arguments: &[&str]| {
        let called =
            std::process::Command::new(env!("CARGO_BIN_EXE_flowd")).args(arguments).output().expect("it starts");
        assert_eq!(called.status.code(), Some(0));
        String::from_utf8(called.stdout).expect("text")
    };
    let all = help(&["--help"]);
    assert!(all.contains("Exit codes:\n  0    done\n"), "{all}");
    for command in ["standalone", "check", "run"] {
        assert!(all.contains(&format!("\n  {command} ")), "{command} in {all}");
        let own = help(&[command, "--help"]);
        assert!(own.contains(&format!("Examples:\n  flowd {command}")), "{own}");
    }
    let (code, stdout, stderr) = place.call(&["run"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("<FILE>"), "{stderr}");
}
