//! One node of a cluster, as it is to be started: where it listens, how others reach it, and on what machine.

use crate::flowd::{Flowd, Role};
use crate::minio::Minio;

/// Its setting.
pub struct Node {
    role: Role,
    options: Vec<String>,
    /// Where it finds the store.
    endpoint: String,
    within: Vec<String>,
}

impl Node {
    /// A coordinator with a store, that answers REST and takes workers at these addresses.
    pub fn coordinator(store: &str, listen: &str, control: &str, endpoint: &str) -> Node {
        let options = ["--store", store, "--listen", listen, "--control", control].map(str::to_owned).to_vec();
        Node { role: Role::Coordinator, options, endpoint: endpoint.to_owned(), within: Vec::new() }
    }

    /// A worker that finds coordinators there.
    pub fn worker(name: &str, slots: u32, controls: &[String], endpoint: &str) -> Node {
        let mut options = vec!["--name".to_owned(), name.to_owned(), "--slots".to_owned(), slots.to_string()];
        options.extend(controls.iter().flat_map(|control| ["--coordinator".to_owned(), control.clone()]));
        Node { role: Role::Worker, options, endpoint: endpoint.to_owned(), within: Vec::new() }
    }

    /// The same with more options.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Node {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// The same on another machine: started by a command that becomes the one whose words follow its own.
    #[must_use]
    pub fn within(mut self, command: &[&str]) -> Node {
        self.within = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts it.
    pub fn start(&self) -> Flowd {
        let [key, secret] = Minio::environment();
        let environment = [key, secret, ("AWS_ENDPOINT_URL", &self.endpoint), ("AWS_REGION", "us-east-1")];
        Flowd::node_within(&self.within, self.role, &self.options, &environment)
    }
}
