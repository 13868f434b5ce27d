//! Who nodes of a cluster are to each other: certificates from files, or nobody else reaches the addresses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flow_worker::network::Tls;

/// The files of a node's certificates.
#[derive(Debug, Default, clap::Args)]
pub struct Files {
    /// The certificate of the authority that has signed those of all nodes, PEM; `flowctl certs` makes a set for development
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    pub tls_ca: Option<PathBuf>,

    /// This node's certificate, for the name or address by which others reach it
    #[arg(long, value_name = "FILE", requires = "tls_ca")]
    pub tls_cert: Option<PathBuf>,

    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_ca")]
    pub tls_key: Option<PathBuf>,
}

impl Files {
    /// What is in them; nothing if there are none.
    ///
    /// # Errors
    /// One can't be read.
    pub fn read(&self) -> Result<Option<Tls>> {
        let (Some(authority), Some(certificate), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("can't read {}", path.display()));
        Ok(Some(Tls { authority: read(authority)?, certificate: read(certificate)?, key: read(key)? }))
    }
}

/// Plain text that others reach is nothing to begin by accident.
///
/// # Errors
/// The address can be reached from other machines, and it is not `allowed`.
pub fn refuse_plaintext(address: SocketAddr, allowed: bool, flag: &str) -> Result<()> {
    if address.ip().is_loopback() || allowed {
        return Ok(());
    }
    bail!(
        "{flag} {address} can be reached from other machines, and nodes talk in plain text: whoever reaches it can run code\n  \
         next: --tls-ca, --tls-cert and --tls-key; `flowctl certs` makes a set\n  \
         or: --insecure, if nobody can reach the address whom you would not let run code here"
    )
}
