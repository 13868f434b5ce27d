//! Who a worker is, and whom it lets in: both sides of a connection show a certificate of one authority. Never shows a key.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// The certificates of a worker, all PEM.
#[derive(Clone)]
pub struct Tls {
    /// The authority that has signed the certificates of all workers.
    pub authority: Vec<u8>,
    /// This worker's certificate, for the name or address by which others reach it.
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
    pub fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().identity(self.identity()).ca_certificate(Certificate::from_pem(&self.authority))
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }
}
