//! Who a node is, whom it lets in, and how it connects to others: both sides of a connection show a certificate of one authority. Never
//! shows a key.

use std::fmt;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Error, Identity, ServerTlsConfig};

/// The certificates of a node, all PEM.
#[derive(Clone)]
pub struct Tls {
    /// The authority that has signed the certificates of all nodes.
    pub authority: Vec<u8>,
    /// This node's certificate, for the name or address by which others reach it.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// As one that listens.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(self.identity()).client_ca_root(Certificate::from_pem(&self.authority))
    }

    /// As one that connects.
    fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().identity(self.identity()).ca_certificate(Certificate::from_pem(&self.authority))
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }
}

/// The way to a node at `host:port`. One that says nothing for as long as `keep_alive` is asked whether it is there, and has `patience` to
/// answer.
///
/// # Errors
/// It is no address, or the certificates are none.
pub fn endpoint(
    address: &str,
    tls: Option<&Tls>,
    (keep_alive, patience): (Duration, Duration),
) -> Result<Endpoint, Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(patience)
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(patience)
        .keep_alive_while_idle(true);
    match tls {
        Some(tls) => endpoint.tls_config(tls.client()),
        None => Ok(endpoint),
    }
}
