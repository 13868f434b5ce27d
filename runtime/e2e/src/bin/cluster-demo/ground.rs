//! Where the nodes of the demo stand: each in a network namespace of its own, on one bridge, with Kafka and MinIO where this process is;
//! or on loopback, where the nodes reach each other by proxies. The script that starts this says which, and makes the namespace that
//! holds all others: they are gone with its last process.

use std::fs;
use std::path::Path;
use std::process::Command;

use flow_e2e::broker::{Broker, free_port};
use flow_e2e::cluster::Cluster;
use flow_e2e::minio::Minio;
use flow_e2e::node::Node;
use flow_e2e::ways::Ways;

/// Coordinators.
pub const COORDINATORS: usize = 2;
/// The slots of each worker.
pub const WORKERS: [u32; 3] = [2, 2, 2];
/// The network of the demo, in a namespace that nothing else is in.
const NETWORK: &str = "10.77.0";
const BRIDGE: &str = "flow0";
/// Where `ip` has named namespaces.
const NAMED: &str = "/run/netns";

/// Where they stand.
pub enum Ground {
    /// In namespaces.
    Namespaces,
    /// On loopback, with proxies between them.
    Loopback(Option<Ways>),
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments}: {}", said.trim())) }
}

fn ip(arguments: &str) -> Result<(), String> {
    run("ip", arguments)
}

/// The address of the nth node; coordinators come first. That of Kafka and MinIO is the first of the network.
fn address(node: usize) -> String {
    format!("{NETWORK}.{}", 11 + node)
}

/// The name of the link to a node, at the end of the bridge.
fn link(node: &str) -> String {
    format!("to-{node}")
}

/// What the nth worker is called where it has a namespace.
fn worker(number: usize) -> String {
    format!("w{}", number + 1)
}

/// What the nth coordinator is called.
pub fn coordinator(number: usize) -> String {
    format!("c{}", number + 1)
}

impl Ground {
    /// Makes the bridge, and a namespace with a link to it for each node.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn namespaces() -> Result<Ground, String> {
        // Nobody else sees what is mounted here.
        run("mount", "-t tmpfs none /run")?;
        fs::create_dir_all(NAMED).map_err(|error| format!("{NAMED}: {error}"))?;
        ip("link set lo up")?;
        ip(&format!("link add {BRIDGE} type bridge"))?;
        ip(&format!("addr add {NETWORK}.1/24 dev {BRIDGE}"))?;
        ip(&format!("link set {BRIDGE} up"))?;
        let names = (0..COORDINATORS).map(coordinator).chain((0..WORKERS.len()).map(worker));
        for (number, name) in names.enumerate() {
            let (link, address) = (link(&name), address(number));
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add {link} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {link} master {BRIDGE} up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(Ground::Namespaces)
    }

    /// What the nth worker is called.
    pub fn worker(&self, number: usize) -> String {
        match self {
            Ground::Loopback(Some(ways)) => ways.name(number),
            Ground::Loopback(None) | Ground::Namespaces => worker(number),
        }
    }

    /// What it is, for people.
    pub fn describe(&self) -> &'static str {
        match self {
            Ground::Namespaces => {
                "each node in a network namespace of its own; a link is cut by taking it off the bridge"
            }
            Ground::Loopback(_) => {
                "this machine allows no network namespaces: nodes on loopback; a link is cut by a proxy, which leaves Kafka reachable"
            }
        }
    }

    /// A Kafka that the nodes reach, and where they do.
    pub fn kafka(&self) -> (Broker, String) {
        match self {
            Ground::Loopback(_) => {
                let broker = Broker::start(free_port());
                let address = broker.address.clone();
                (broker, address)
            }
            Ground::Namespaces => {
                let (port, of_nodes) = (free_port(), free_port());
                let reached = format!("{NETWORK}.1:{of_nodes}");
                let listeners = format!("PLAINTEXT://127.0.0.1:{port},NODES://{reached}");
                let controller = port - 10_000;
                let settings = format!(
                    "listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
                     listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,NODES:PLAINTEXT\n\
                     inter.broker.listener.name=PLAINTEXT\n"
                );
                (Broker::with(port, |_: &Path| settings), reached)
            }
        }
    }

    /// The cluster.
    pub fn cluster(&mut self, minio: &Minio) -> Cluster {
        match self {
            Ground::Loopback(ways) => {
                let (cluster, made) = Ways::cluster(minio, COORDINATORS, &WORKERS);
                *ways = Some(made);
                cluster
            }
            Ground::Namespaces => {
                let (store, port) = (format!("s3://{}/flow", minio.bucket()), minio.address.split(':').next_back());
                let endpoint = format!("http://{NETWORK}.1:{}", port.expect("it has a port"));
                let controls: Vec<String> = (0..COORDINATORS).map(|n| format!("{}:8091", address(n))).collect();
                let coordinator = |(n, control): (usize, &String)| {
                    let node = Node::coordinator(&store, &format!("{}:8081", address(n)), control, &endpoint);
                    let inside = format!("--net={NAMED}/{}", coordinator(n));
                    node.with(&["--insecure"]).within(&["nsenter", &inside, "--"]).start()
                };
                let worker = |(n, slots): (usize, &u32)| {
                    let (name, listen) = (worker(n), format!("{}:8101", address(COORDINATORS + n)));
                    let node = Node::worker(&name, *slots, &controls, &endpoint);
                    let inside = format!("--net={NAMED}/{name}");
                    let node = node.with(&["--insecure", "--exchange", &listen]);
                    node.within(&["nsenter", &inside, "--"]).start()
                };
                let coordinators = controls.iter().enumerate().map(coordinator).collect();
                Cluster::of(coordinators, WORKERS.iter().enumerate().map(worker).collect())
            }
        }
    }

    /// Cuts a worker off from all others.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn cut_off(&self, number: usize) -> Result<(), String> {
        match self {
            Ground::Namespaces => ip(&format!("link set {} nomaster", link(&worker(number)))),
            Ground::Loopback(ways) => {
                ways.iter().for_each(|ways| ways.cut_off(number, true));
                Ok(())
            }
        }
    }

    /// Joins it again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn mend(&self, number: usize) -> Result<(), String> {
        match self {
            Ground::Namespaces => ip(&format!("link set {} master {BRIDGE}", link(&worker(number)))),
            Ground::Loopback(ways) => {
                ways.iter().for_each(Ways::mend);
                Ok(())
            }
        }
    }
}
