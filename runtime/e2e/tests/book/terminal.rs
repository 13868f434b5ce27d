//! Does what a page tells: writes its files and types its commands, in their order, in one shell in a directory of its own,
//! and holds what the terminal shows against what the page says. The binaries, the broker and the checkout are the real
//! ones; only ports are others than the page's, since those may be taken.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, iter};

use flow_e2e::broker::{Broker, free_port};
use flow_e2e::flowd::plugins;
use tempfile::TempDir;

use crate::fragment;
use crate::page::{Block, Mark, Page};

/// Where Kafka, flowd and the built operators are, as a reader has them.
const KAFKA: &str = "localhost:9092";
const FLOWD: &str = "127.0.0.1:8081";
const PLUGINS: &str = "~/.cache/flow/plugins";
/// What more nodes of a cluster listen on.
const NODES: [&str; 3] = ["127.0.0.1:8082", "127.0.0.1:8091", "127.0.0.1:8092"];

/// What every page begins with. What it leaves running ends with it.
const BEGIN: &str = r#"set -euo pipefail
desk=$PWD
pipelines=()
trap '{ kill $(jobs -p); wait; } 2>/dev/null || true' EXIT
block() { screen=$desk/.screen-$1; echo "$1" >"$desk/.block"; exec >"$screen" 2>&1; }
interrupted_when() {
  local shown=$1 pid
  shift
  set -m # else what runs beside the shell is told to ignore Ctrl-C
  "$@" &
  pid=$!
  set +m
  for _ in {1..1200}; do
    if grep -qF -- "$shown" "$screen" || ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
  done
  kill -INT "$pid" && wait "$pid"
}
"#;

/// Pipeline files are checked as they are in the end, whether the page does it or not.
const END: &str = r#"
for pipeline in "${pipelines[@]}"; do flowctl check "$pipeline"; done
"#;

/// A place that a page names and the one that stands for it here.
struct Place {
    page: &'static str,
    here: String,
}

/// Runs a page: what is wrong with it.
pub fn run(page: &Page, checkout: &Path) -> Vec<String> {
    let blocks: Vec<&Block> = page.blocks.iter().filter(|block| !matches!(block.mark, Some(Mark::NotRun(_)))).collect();
    let mut violations: Vec<String> = blocks.iter().filter_map(|block| untested(page, block)).collect();
    let script: String = iter::once(BEGIN.to_owned())
        .chain((0..blocks.len()).map(|number| step(&blocks[..=number])))
        .chain([format!("block {}\n", blocks.len()), END.to_owned()])
        .collect();
    let mut places = vec![
        Place { page: FLOWD, here: format!("127.0.0.1:{}", free_port()) },
        Place { page: PLUGINS, here: plugins().display().to_string() },
    ];
    places.extend(NODES.map(|page| Place { page, here: format!("127.0.0.1:{}", free_port()) }));
    // Of its own: other pages make topics of the same names.
    let broker = script.contains(KAFKA).then(|| Broker::start(free_port()));
    places.extend(broker.as_ref().map(|broker| Place { page: KAFKA, here: broker.address.clone() }));
    let desk = desk(checkout);
    let here = places.iter().fold(script, |text, place| text.replace(place.page, &place.here));
    let done = shell(&here, desk.path(), &places[0].here);
    let screen = |number: usize| {
        let shown = fs::read(desk.path().join(format!(".screen-{number}"))).unwrap_or_default();
        let shown = String::from_utf8_lossy(&shown);
        // Whether a wait is told of depends on how long it takes here.
        let lines = shown.split_inclusive('\n').filter(|line| !line.starts_with("waiting: "));
        let shown = lines.collect::<String>();
        places.iter().fold(shown, |text, place| text.replace(&place.here, place.page))
    };
    let ended = match done {
        true => blocks.len(),
        false => fs::read_to_string(desk.path().join(".block")).ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0),
    };
    for (number, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "text") {
        let before = blocks[..number].iter().rposition(|before| before.language != "text");
        let Some(command) = before.filter(|before| blocks[*before].language == "sh") else {
            violations.push(at(page, block, "output of no command: put it behind one, or mark it as not run"));
            continue;
        };
        let shown = screen(command);
        if command < ended && !shows(&block.text, &shown) {
            violations.push(at(page, block, &format!("the page says\n{}\nthe terminal shows\n{shown}", block.text)));
        }
    }
    if !done {
        let block = blocks.get(ended).or(blocks.last()).expect("a page without blocks does not fail");
        violations.push(at(
            page,
            block,
            &format!("this fails:\n{}\nthe terminal shows\n{}", block.text, screen(ended)),
        ));
    }
    violations
}

fn at(page: &Page, block: &Block, what: &str) -> String {
    format!("{}:{}: {what}", page.path, block.line)
}

/// What nothing here would look at.
fn untested(page: &Page, block: &Block) -> Option<String> {
    let tested = block.file.is_some() || matches!(block.language.as_str(), "sh" | "text" | "yaml" | "rust");
    let what =
        format!("nothing tests a block of \"{}\": name its file before it, or mark it as not run", block.language);
    (!tested).then(|| at(page, block, &what))
}

/// Whether a block is a whole pipeline file that can run; one that is wrong on purpose is said to be.
fn is_pipeline(block: &Block) -> bool {
    block.language == "yaml"
        && block.file.is_some()
        && block.mark.is_none()
        && block.text.contains("apiVersion: flow/v1")
}

/// What the shell does for the last of these blocks.
fn step(blocks: &[&Block]) -> String {
    let write = |file: &str, text: &str| {
        format!("mkdir -p \"$(dirname \"{file}\")\"\ncat >\"{file}\" <<'END OF FILE'\n{text}END OF FILE\n")
    };
    let (block, before) = blocks.split_last().expect("there is one");
    let done = match (block.language.as_str(), &block.file) {
        ("yaml", None) => {
            let whole = before.iter().rfind(|before| is_pipeline(before)).map(|whole| whole.text.as_str());
            // The operators of its own file are where the page is, those of the repository lie at hand.
            let file = if whole.is_some() { ".fragment.yaml" } else { "$desk/.fragment.yaml" };
            write(file, &fragment::complete(&block.text, whole)) + &format!("flowctl check \"{file}\"\n")
        }
        (_, Some(file)) => {
            let noted = if is_pipeline(block) { format!("pipelines+=(\"$PWD/{file}\")\n") } else { String::new() };
            write(file, &block.text) + &noted
        }
        ("sh", None) => typed(block),
        _ => return String::new(),
    };
    format!("block {}\n{done}", before.len())
}

/// What the shell gets to read of what the page tells to type.
fn typed(block: &Block) -> String {
    let (before, code) = match &block.mark {
        Some(Mark::Exit(code)) => (String::new(), *code),
        // It stops in an orderly way, or its code is another.
        Some(Mark::Interrupted(shown)) => (format!("interrupted_when '{shown}' "), 130),
        Some(Mark::NotRun(_)) | None => return block.text.split_inclusive('\n').map(daemon).collect(),
    };
    let judged = format!("[ $status -eq {code} ] || {{ echo \"exit code $status\"; exit 1; }}");
    format!("set +e\n{before}{}status=$?\nset -e\n{judged}\n", block.text)
}

/// A daemon listens where the test found a free port, and does so before the next command is typed.
fn daemon(line: &str) -> String {
    let Some(rest) = line.strip_prefix("flowd standalone") else { return line.to_owned() };
    let listen = if rest.contains("--listen") { String::new() } else { format!(" --listen {FLOWD}") };
    let listens = r#"(exec 3<>"/dev/tcp/127.0.0.1/${FLOW_SERVER##*:}") 2>/dev/null"#;
    let wait = format!("for _ in {{1..200}}; do {listens} && break; sleep 0.05; done\n");
    format!("flowd standalone --die-with-parent{listen}{rest}{wait}")
}

/// The directory that a reader is in: beside the checkout, with the operators at hand that the pages' fragments name.
fn desk(checkout: &Path) -> TempDir {
    let desk = tempfile::tempdir().expect("a directory");
    let link = |from: &Path, name: &Path| std::os::unix::fs::symlink(from, desk.path().join(name)).expect("a link");
    link(checkout, Path::new("flow"));
    for component in fs::read_dir(plugins()).expect("the operators are built").flatten() {
        link(&component.path(), Path::new(&component.file_name()));
    }
    desk
}

/// Whether the script came to its end.
fn shell(script: &str, desk: &Path, flowd: &str) -> bool {
    let path = desk.join(".script");
    fs::write(&path, script).expect("a file");
    let own = env::current_exe().expect("a test program has a path");
    let target = own.parent().and_then(Path::parent).expect("it lies in deps");
    let others = env::var_os("PATH").unwrap_or_default();
    let directories = iter::once(target.to_owned()).chain(env::split_paths(&others));
    let mut bash = Command::new("bash");
    bash.arg(&path).current_dir(desk).stdin(Stdio::null()).stdout(Stdio::null());
    bash.env("PATH", env::join_paths(directories).expect("no directory has a colon in its name"));
    bash.env("FLOW_SERVER", format!("http://{flowd}"));
    // What a user's operators are compiled into beside Wasm: kept, so that only the first time is long.
    bash.env("CARGO_TARGET_DIR", target.join("book")).env("CARGO_NET_OFFLINE", "true");
    bash.env("XDG_STATE_HOME", desk.join(".state")).env("XDG_CONFIG_HOME", desk.join(".config"));
    bash.status().expect("bash starts").success()
}

/// Whether the terminal shows what the page says; `…` stands for anything, on a line of its own for any lines.
fn shows(page: &str, terminal: &str) -> bool {
    fn lines(page: &[&str], terminal: &[&str]) -> bool {
        match page.split_first() {
            None => terminal.is_empty(),
            Some((&"…", rest)) => (0..=terminal.len()).any(|skipped| lines(rest, &terminal[skipped..])),
            Some((line, rest)) => {
                terminal.split_first().is_some_and(|(first, others)| like(line, first) && lines(rest, others))
            }
        }
    }
    let page: Vec<&str> = page.trim_end().lines().map(str::trim_end).collect();
    let terminal: Vec<&str> = terminal.trim_end().lines().map(str::trim_end).collect();
    lines(&page, &terminal)
}

/// Whether a line is as the pattern says, with `…` for any text.
fn like(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout() -> std::path::PathBuf {
        crate::checkout()
    }

    /// What is wrong with a page of this text.
    fn wrong(text: &str) -> Vec<String> {
        let page = Page::read("p.md", text);
        assert_eq!(page.odd, Vec::<String>::new());
        run(&page, &checkout())
    }

    #[test]
    fn what_does_not_work_is_found() {
        let check = |page: &str, expect: &str| {
            let wrong = wrong(page);
            assert!(wrong.len() == 1 && wrong[0].contains(expect), "{page}: {wrong:#?}");
        };
        check("```sh\ntrue\nfalse | true\ntrue\n```\n", "p.md:1: this fails");
        check("```sh\ntrue\n```\n```sh\nflowctl nothing\n```\n", "unrecognized subcommand 'nothing'");
        check("<!-- test: exit 2 -->\n```sh\ntrue\n```\n", "exit code 0");
        check("```sh\necho a; echo b\n```\nIt says\n```text\na\n```\n", "p.md:5: the page says\na\n");
        check("```text\na\n```\n", "output of no command");
        check("```toml\na = 1\n```\n", "nothing tests a block of \"toml\"");
        check("```yaml\noperators:\n  a: {component: counter.wasm, fro: in}\n```\n", "unknown field \"fro\"");
        let whole = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: a}\nsinks: {out: {stdout: {}, from: in}}\n";
        check(&format!("This is `a.yaml`:\n```yaml\n{whole}```\n"), "a.yaml: the pipeline has no sources");
    }

    #[test]
    fn what_works_is_not() {
        let page = "Put it into `a/b.txt`:\n```toml\nx\n```\n```sh\ncd a\nsleep 100 & # stays\ncat b.txt; echo y 12\n```\n\
                    ```text\nx\ny …\n```\n\
                    <!-- test: Ctrl-C when it shows it is -->\n```sh\n\
                    bash -c 'trap \"echo over; exit 130\" INT; echo it is; sleep 100 & wait'\n```\n\
                    ```text\nit is\nover\n```\n\
                    ```yaml\noperators:\n  a: {component: counter.wasm, from: in, key: $value}\n```\n";
        assert_eq!(wrong(page), Vec::<String>::new());
    }

    #[test]
    fn output_with_gaps() {
        let check = |page: &str, terminal: &str, expect: bool| assert_eq!(shows(page, terminal), expect, "{page}");
        check("a\nb\n", "a  \nb", true);
        check("a\n", "a\nb\n", false);
        check("a\n…\n", "a\nb\nc\n", true);
        check("…\nc\n", "a\nb\nc\n", true);
        check("…\nc\n", "a\nb\n", false);
        check("job-… runs for … s", "job-1f runs for 3 s", true);
        check("job-… runs for … s", "job-1f runs for 3 h", false);
        check("a…a", "a", false);
    }
}
