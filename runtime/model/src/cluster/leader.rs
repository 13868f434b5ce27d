//! Who leads a cluster: one document in the store, changed only by compare-and-swap. A leader swaps it again and again, so that
//! who reads it sees that the leader lives, and the leader sees when it was replaced.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Error;
use crate::checkpoint::manifest::read;
use crate::ids::ClusterId;

/// The format that is written and read.
const FORMAT: u64 = 1;

/// Its name below the cluster's root.
pub const NAME: &str = "LEADER";

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Leader {
    format: u64,
    /// The cluster.
    pub cluster: ClusterId,
    /// Counts up with each leader. No swap lowers it.
    pub term: u64,
    /// Where other nodes reach the leader, `host:port`: workers, and coordinators with what they are asked.
    pub address: String,
    /// Counts up while it leads.
    pub beat: u64,
    /// It leads no more, and said so: nobody need wait for its silence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resigned: bool,
    /// New with each swap: who finds its own there knows that its swap was done.
    pub nonce: String,
}

impl Leader {
    /// A leader that begins.
    pub fn new(cluster: ClusterId, term: u64, address: String) -> Leader {
        Leader { format: FORMAT, cluster, term, address, beat: 0, resigned: false, nonce: String::new() }
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("all keys are texts")
    }

    /// From what is stored.
    ///
    /// # Errors
    /// [`Error::Format`] for one of a future version, [`Error::Document`] for what is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Leader, Error> {
        read(bytes, "the document that names the cluster's leader", FORMAT)
    }
}
