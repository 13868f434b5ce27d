//! The image and the cluster of deployment/: nothing here can build or start them, so their text is held against that of the checkout.
//! Versions are those that everything else uses, what is copied is there, flowd has the flags that nodes are started with, nodes name
//! each other as containers reach each other, by the name of the service, and they are as many as those of `make cluster-demo`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tree::Tree;

const COMPOSE: &str = "deployment/docker-compose.yml";
const DOCKERFILE: &str = "deployment/Dockerfile";
/// Where the demo says of how many nodes its cluster is.
const DEMO: &str = "runtime/e2e/src/bin/cluster-demo/ground.rs";

/// Violations of the checkout.
pub fn check(tree: &Tree) -> Vec<String> {
    let (compose, dockerfile) = (tree.read(COMPOSE), tree.read(DOCKERFILE));
    let flags = |role: &str| {
        let sources = ["runtime/flowd/src/cli.rs", "runtime/flowd/src/tls.rs"].map(|path| tree.read(path)).concat();
        flags(&sources, role)
    };
    let mut violations = match nodes(&compose) {
        Ok(nodes) => {
            let demo = if tree.has(DEMO) { unlike_the_demo(&nodes, &tree.read(DEMO)) } else { Vec::new() };
            [unknown_flags(&nodes, flags), unreachable(&nodes), demo].concat()
        }
        Err(why) => vec![format!("{COMPOSE}: {why}")],
    };
    let ignored = tree.read(".dockerignore");
    violations.extend(not_there(&dockerfile, &ignored, |path| tree.has_below(path)));
    let between = |path: &str, before: &str, after: &str| between(&tree.read(path), before, after);
    let versions = [
        ("Rust", between("rust-toolchain.toml", "channel = \"", "\""), between(DOCKERFILE, "ARG RUST_VERSION=", "\n")),
        ("MinIO", between("deployment/setup/minio.sh", "minio_version=", "\n"), between(DOCKERFILE, "minio@", "\n")),
        ("Kafka", between("deployment/kafka/pom.xml", "<kafka.version>", "<"), between(COMPOSE, "apache/kafka:", "\n")),
    ];
    let differ = versions.into_iter().filter(|(_, wanted, found)| wanted.is_none() || wanted != found);
    violations.extend(differ.map(|(of, wanted, found)| format!("deployment: {of} is {found:?}, elsewhere {wanted:?}")));
    violations
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    Some(text.split_once(before)?.1.split_once(after)?.0.trim().to_owned())
}

/// A service that runs flowd.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    /// The name by which other containers reach it.
    service: String,
    /// What it is started with, behind `flowd`.
    arguments: Vec<String>,
}

impl Node {
    fn role(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    /// What follows a flag, each time that it is there.
    fn all(&self, flag: &str) -> Vec<&str> {
        let pairs = self.arguments.windows(2).filter(|pair| pair[0] == flag);
        pairs.map(|pair| pair[1].as_str()).collect()
    }
}

/// The services that run flowd: those whose image is `flow`.
fn nodes(compose: &str) -> Result<Vec<Node>, String> {
    let file: Value = serde_saphyr::from_str(compose).map_err(|error| error.to_string())?;
    let services = file["services"].as_object().ok_or("it has no services")?;
    let of_flow = services.iter().filter(|(_, service)| service["image"] == "flow");
    let node = |(name, service): (&String, &Value)| {
        let command = service["command"].as_array().ok_or(format!("the command of {name} is no list"))?;
        let text = |argument: &Value| argument.as_str().map(str::to_owned);
        let arguments: Option<Vec<String>> = command.iter().map(text).collect();
        let arguments = arguments.ok_or(format!("an argument of {name} is no text: put it into quotes"))?;
        Ok(Node { service: name.clone(), arguments })
    };
    of_flow.map(node).collect()
}

/// The flags of a subcommand, as its struct in the source has them.
fn flags(sources: &str, role: &str) -> BTreeSet<String> {
    let name = role[..1.min(role.len())].to_uppercase() + role.get(1..).unwrap_or_default();
    of_struct(sources, &name)
}

fn of_struct(sources: &str, name: &str) -> BTreeSet<String> {
    let body = between(sources, &format!("pub struct {name} {{\n"), "\n}").unwrap_or_default();
    let (mut flags, mut attribute) = (BTreeSet::new(), "");
    for line in body.lines().map(str::trim) {
        if line.starts_with("#[") {
            attribute = line;
        } else if let Some((field, of)) = line.strip_prefix("pub ").and_then(|field| field.split_once(": ")) {
            let of = of.trim_end_matches(',');
            if attribute.contains("flatten") {
                flags.extend(of_struct(sources, of.rsplit("::").next().unwrap_or(of)));
            } else if attribute.contains("long") {
                flags.insert(format!("--{}", field.replace('_', "-")));
            }
        }
    }
    flags
}

fn unknown_flags(nodes: &[Node], flags: impl Fn(&str) -> BTreeSet<String>) -> Vec<String> {
    let unknown = |node: &Node| {
        let known = flags(node.role());
        let given = node.arguments.iter().skip(1).filter(|argument| argument.starts_with("--"));
        let wrong = given.filter(|flag| !known.contains(*flag));
        let tell = |flag: &String| format!("{COMPOSE}: {}: flowd {} has no {flag}", node.service, node.role());
        wrong.map(tell).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(unknown).collect()
}

/// Nodes that others would not find, or that belong to another cluster.
fn unreachable(nodes: &[Node]) -> Vec<String> {
    let of = |role: &'static str| nodes.iter().filter(move |node| node.role() == role);
    let mut violations = Vec::new();
    let mut want = |node: &Node, flag: &str, wanted: &[&str]| {
        let found = node.all(flag);
        if found != wanted {
            violations.push(format!("{COMPOSE}: {}: {flag} is {found:?}, not {wanted:?}", node.service));
        }
    };
    let port = |node: &Node, flag: &str| {
        let listens = node.all(flag).first().and_then(|address| address.rsplit_once(':'));
        format!("{}:{}", node.service, listens.map_or("", |(_, port)| port))
    };
    let stores: Vec<&str> = of("coordinator").flat_map(|node| node.all("--store")).collect();
    let controls: Vec<String> = of("coordinator").map(|node| port(node, "--control")).collect();
    let controls: Vec<&str> = controls.iter().map(String::as_str).collect();
    for node in of("coordinator") {
        want(node, "--store", &stores[..1.min(stores.len())]);
        want(node, "--advertise", &[&port(node, "--control")]);
    }
    for node in of("worker") {
        want(node, "--name", &[&node.service]);
        want(node, "--coordinator", &controls);
        want(node, "--advertise", &[&port(node, "--exchange")]);
    }
    for (role, least) in [("coordinator", 2), ("worker", 2)] {
        if of(role).count() < least {
            violations.push(format!("{COMPOSE}: a cluster has {least} of {role} at least"));
        }
    }
    violations
}

/// Nodes that are others than those of the demo: their numbers, and the slots of each worker.
fn unlike_the_demo(nodes: &[Node], demo: &str) -> Vec<String> {
    let of = |role: &'static str| nodes.iter().filter(move |node| node.role() == role);
    let slots: Vec<&str> = of("worker").flat_map(|node| node.all("--slots")).collect();
    let here = (Some(of("coordinator").count().to_string()), Some(slots.join(", ")));
    let workers = demo.split_once("WORKERS: [u32; ").and_then(|(_, workers)| between(workers, "[", "]"));
    let there = (between(demo, "COORDINATORS: usize = ", ";"), workers);
    let differ = here != there;
    let violation = || format!("{COMPOSE}: coordinators and slots of workers are {here:?}, those of {DEMO} {there:?}");
    differ.then(violation).into_iter().collect()
}

/// What is copied out of the checkout and is not in it, or kept out of what the build sees.
fn not_there(dockerfile: &str, ignored: &str, has: impl Fn(&str) -> bool) -> Vec<String> {
    let mut violations = Vec::new();
    for line in dockerfile.lines() {
        let Some(copied) = line.strip_prefix("COPY ").filter(|line| !line.starts_with("--from=")) else { continue };
        let mut paths: Vec<&str> = copied.split_whitespace().collect();
        paths.pop();
        for path in paths.into_iter().filter(|path| *path != ".") {
            let first = path.split('/').next().unwrap_or(path);
            if !has(path) {
                violations.push(format!("{DOCKERFILE}: {path} is not there"));
            } else if !ignored.lines().any(|line| line == format!("!{first}") || line == format!("!{path}")) {
                violations.push(format!("{DOCKERFILE}: .dockerignore keeps {path} out"));
            }
        }
    }
    let seen = ignored.lines().filter_map(|line| line.strip_prefix('!')).filter(|path| !has(path));
    violations.extend(seen.map(|path| format!(".dockerignore: {path} is not there")));
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLI: &str = "pub struct Worker {\n    /// A.\n    #[arg(long, value_name = \"A\")]\n    pub name: Option<String>,\n\n    \
                       #[arg(long)]\n    pub data_dir: bool,\n\n    #[command(flatten)]\n    pub tls: tls::Files,\n}\n\
                       pub struct Files {\n    #[arg(long)]\n    pub tls_ca: Option<PathBuf>,\n}\n\
                       pub struct Check {\n    /// No flag.\n    pub file: PathBuf,\n}\n";

    #[test]
    fn flags_are_read() {
        let of = |role: &str| flags(CLI, role).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(of("worker"), "--data-dir --name --tls-ca");
        assert_eq!((of("check"), of("nothing"), of("")), Default::default());
    }

    const FILE: &str = "x-node: &node {image: flow}\nservices:\n  \
        c1: {<<: *node, command: [coordinator, --store, s, --listen, '0:1', --control, '0:2', --advertise, 'c1:2']}\n  \
        c2: {<<: *node, command: [coordinator, --store, s, --listen, '0:1', --control, '0:2', --advertise, 'c2:2']}\n  \
        w1: {<<: *node, command: [worker, --name, w1, --coordinator, 'c1:2', --coordinator, 'c2:2', --exchange, '0:3', --advertise, 'w1:3']}\n  \
        w2: {<<: *node, command: [worker, --name, w2, --coordinator, 'c1:2', --coordinator, 'c2:2', --exchange, '0:3', --advertise, 'w2:3']}\n  \
        kafka: {image: kafka}\n";

    #[test]
    fn nodes_that_do_not_find_each_other_are_found() {
        let check = |from: &str, to: &str, expected: usize| {
            let changed = FILE.replacen(from, to, 1);
            let violations = unreachable(&nodes(&changed).expect("nodes"));
            assert_eq!(violations.len(), expected, "{from} → {to}: {violations:?}");
        };
        check("", "", 0);
        check("--store, s,", "--store, other,", 1);
        check("--advertise, 'c1:2'", "--advertise, 'c2:2'", 1);
        check("'c2:2']", "'c2:4']", 1);
        check("--name, w1", "--name, w2", 1);
        check("--coordinator, 'c2:2', ", "", 1);
        check("'w2:3'", "'w2:4'", 1);
        check("w2: {<<: *node", "w2: {image: other", 1);
        assert!(
            nodes(&FILE.replacen("--advertise, 'c1:2'", "--advertise, 7", 1))
                .is_err_and(|why| why.contains("an argument of c1"))
        );
        assert!(nodes("services: [").is_err());
        let unknown = unknown_flags(&nodes(FILE).expect("nodes"), |role| flags(CLI, role));
        assert_eq!(unknown.iter().filter(|told| told.contains("w1: flowd worker has no --exchange")).count(), 1);
        assert!(!unknown.iter().any(|told| told.contains("worker has no --name")), "{unknown:?}");
    }

    #[test]
    fn another_cluster_than_that_of_the_demo_is_found() {
        let demo = "pub const COORDINATORS: usize = 2;\npub const WORKERS: [u32; 2] = [3, 4];\n";
        let with_slots = |text: &str| text.replace("worker, --name, w1", "worker, --name, w1, --slots, '3'");
        let file = with_slots(FILE).replace("worker, --name, w2", "worker, --name, w2, --slots, '4'");
        let check = |from: &str, to: &str, expected: usize| {
            let violations = unlike_the_demo(&nodes(&file).expect("nodes"), &demo.replacen(from, to, 1));
            assert_eq!(violations.len(), expected, "{from} → {to}: {violations:?}");
        };
        check("", "", 0);
        check("usize = 2", "usize = 3", 1);
        check("[3, 4]", "[4, 3]", 1);
        check("WORKERS", "OTHERS", 1);
    }

    #[test]
    fn what_can_not_be_copied_is_found() {
        let check = |dockerfile: &str, ignored: &str, expected: usize| {
            let violations = not_there(dockerfile, ignored, |path| ["a", "b/c"].contains(&path));
            assert_eq!(violations.len(), expected, "{dockerfile} {ignored}: {violations:?}");
        };
        check("COPY a b/c ./\nCOPY . .\nCOPY --from=x /y /z\n", "*\n!a\n!b/c\n", 0);
        check("COPY a gone ./\n", "*\n!a\n", 1);
        check("COPY a b/c ./\n", "*\n!a\n", 1);
        check("COPY a ./\n", "*\n!a\n!gone\n", 1);
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(between("a: 1\nb: 2\n", "b: ", "\n").as_deref(), Some("2"));
        assert_eq!(between("a: 1\n", "b: ", "\n"), None);
    }
}
