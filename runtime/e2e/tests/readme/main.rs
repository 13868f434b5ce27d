//! What the README tells a newcomer to write, build and call, done to the letter. A command or a line of code that stops
//! working there must fail here.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use flow_e2e::flowd::{Flowd, state};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout")
}

/// The fenced blocks of a language, in their order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The calls of flowctl in all blocks of a shell, without the program's name and comments.
fn calls(text: &str) -> Vec<String> {
    let lines: Vec<String> =
        blocks(text, "sh").iter().flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let call = |line: &String| Some(line.strip_prefix("flowctl ")?.split('#').next()?.trim().to_owned());
    lines.iter().filter_map(call).collect()
}

/// Two keys by turns: the third order of the first is number 4, that of the second number 5, then every sixth.
#[track_caller]
fn is_a_third(line: &str) {
    let order: Value = serde_json::from_str(line).expect("JSON");
    let number = order["order"].as_u64().expect("a number");
    assert!(
        number % 6 == 4 && order["customer"]["id"] == "c0" || number % 6 == 5 && order["customer"]["id"] == "c1",
        "{line}"
    );
}

#[test]
fn every_command_of_the_readme_works() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("it is there");
    let mut flowd = Flowd::new();
    let one = |language| blocks(&readme, language).swap_remove(0);

    let checkout = repository();
    let manifest = one("toml").replace("../flow/", &format!("{}/", checkout.display()));
    assert!(manifest.contains(&checkout.display().to_string()), "the SDK's path: {manifest}");
    flowd.write("every/Cargo.toml", manifest);
    flowd.write("every/src/lib.rs", one("rust"));
    // The versions that the other operators were built with, so that nothing has to be fetched.
    flowd.write("every/Cargo.lock", fs::read(checkout.join("plugins/Cargo.lock")).expect("it is there"));
    let pipeline = one("yaml");
    flowd.write("every.yaml", &pipeline);
    // One that ends by itself, where the README says to end it by Ctrl-C.
    let ending = pipeline.replace("rate: 10,", "rate: 100, count: 60,");
    assert_ne!(ending, pipeline);
    flowd.write("ending.yaml", ending);

    let calls = calls(&readme);
    let names: Vec<&str> = calls.iter().filter_map(|call| call.split(' ').next()).collect();
    assert_eq!(names, ["build", "check", "run", "deploy", "list", "describe", "logs", "cancel"]);
    for call in calls {
        let mut arguments: Vec<&str> = call.split(' ').collect();
        match arguments[0] {
            "build" => arguments.extend(["--", "--offline"]),
            "run" => arguments[1] = "ending.yaml",
            "logs" => arguments.retain(|argument| *argument != "-f"),
            _ => {}
        }
        let called = flowd.ctl(&arguments);
        assert_eq!(called.code, 0, "flowctl {call}: {}", called.stderr);
        match arguments[0] {
            "run" => {
                assert_eq!(called.stdout.lines().count(), 20, "{}", called.stdout);
                called.stdout.lines().for_each(is_a_third);
            }
            "deploy" => (0..4).for_each(|_| {
                let mut line = String::new();
                flowd.stdout.read_line(&mut line).expect("it flows");
                is_a_third(&line);
            }),
            "list" | "describe" => assert!(called.stdout.contains("every-third"), "{}", called.stdout),
            _ => {}
        }
    }
    let description = flowd.ended("every-third");
    assert_eq!(state(&description), "canceled");
}
