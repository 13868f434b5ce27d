//! Who nodes of a cluster are to each other: certificates from files, or nobody else reaches the addresses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flow_worker::network::Tls;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

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
    /// One can't be read, or is not what it should be.
    pub fn read(&self) -> Result<Option<Tls>> {
        let (Some(authority), Some(certificate), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("can't read {}", path.display()));
        let tls = Tls { authority: read(authority)?, certificate: read(certificate)?, key: read(key)? };
        certificates(authority, &tls.authority)?;
        let signs = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| error.to_string());
        let signs = signs.and_then(|key| ring::sign::any_supported_type(&key).map_err(|error| error.to_string()));
        let signs = signs.map_err(|error| anyhow!("{}: no private key that is of use: {error}", key.display()))?;
        CertifiedKey::new(certificates(certificate, &tls.certificate)?, signs)
            .keys_match()
            .map_err(|error| anyhow!("{} is not the key of {}: {error}", key.display(), certificate.display()))?;
        Ok(Some(tls))
    }

    /// Others will look whether this certificate is one of their authority, is good now, and has the name by which they reach this node,
    /// `host:port`.
    ///
    /// # Errors
    /// It is not.
    pub fn fit(&self, tls: Option<&Tls>, reached: &str) -> Result<()> {
        let (Some(tls), Some(authority), Some(path)) = (tls, &self.tls_ca, &self.tls_cert) else { return Ok(()) };
        let mut roots = RootCertStore::empty();
        for root in certificates(authority, &tls.authority)? {
            roots.add(root).with_context(|| format!("{}: no authority", authority.display()))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), ring::default_provider().into());
        let verifier = verifier.build().with_context(|| format!("{}: no authority", authority.display()))?;
        let own = certificates(path, &tls.certificate)?;
        let host = reached.rsplit_once(':').map_or(reached, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host).with_context(|| format!("{reached} is no address"))?;
        match verifier.verify_server_cert(&own[0], &own[1..], &name, &[], UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(error) => bail!(
                "other nodes would not take {} for that of {host}, by which they reach this one: {error}\n  \
                 next: one of the authority of {} for that name: flowctl certs DIR --node NAME,{host}\n  \
                 or: --advertise HOST:PORT with a name that the certificate has, if others reach this node by it",
                path.display(),
                authority.display()
            ),
        }
    }
}

/// The certificates in a file, one at least.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.with_context(|| format!("{}: not PEM", path.display()))?;
    if all.is_empty() {
        bail!("{}: no certificate in it (a PEM file with BEGIN CERTIFICATE)", path.display());
    }
    Ok(all)
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
