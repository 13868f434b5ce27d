//! An authority for certificates of nodes: makes one, reads one, signs. Touches no files. Keys leave it only as what is to be kept secret.

use std::net::IpAddr;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

/// So many days an authority is good for.
pub const DAYS: u32 = 3650;
const DAY: i64 = 86_400;
/// So long before it is made a certificate is good, in seconds: a machine whose clock is behind, by an hour that somebody has forgotten to
/// change or by a time zone, takes it at once.
const SKEW: i64 = DAY;

/// Why there is no authority.
pub enum Error {
    /// What is read is no certificate, or no key.
    Form(&'static str),
    /// The key is another one's.
    Key,
    /// It may not sign.
    NotAuthority,
    /// OpenSSL can't do it.
    OpenSsl(ErrorStack),
}

impl From<ErrorStack> for Error {
    fn from(error: ErrorStack) -> Self {
        Self::OpenSsl(error)
    }
}

/// How others reach a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name that is looked up; `*.` in front stands for one more part.
    Name(String),
    /// An address of the network.
    Ip(IpAddr),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.pad(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A certificate and its key, PEM.
pub struct Signed {
    /// For everybody.
    pub certificate: Vec<u8>,
    /// For the node alone.
    pub key: Vec<u8>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub until: u64,
}

/// Who signs certificates.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    /// A new one. `now` in seconds since the Unix epoch.
    pub fn new(now: i64) -> Result<Self, Error> {
        let key = key()?;
        // Two authorities of one name are hard to tell apart for who is refused.
        let mut number = [0; 4];
        openssl::rand::rand_bytes(&mut number)?;
        let subject = named(&format!("Flow development authority {:08x}", u32::from_be_bytes(number)))?;
        let mut builder = builder(&subject, &key, (now - SKEW, now + i64::from(DAYS) * DAY))?;
        builder.set_issuer_name(&subject)?;
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(identifier)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }

    /// One of these files, PEM.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let certificate = X509::from_pem(certificate).map_err(|_| Error::Form("certificate"))?;
        let key = PKey::private_key_from_pem(key).map_err(|_| Error::Form("key"))?;
        if !certificate.public_key()?.public_eq(&key) {
            return Err(Error::Key);
        }
        // One that was made by other means need not say what it may be used for.
        if !certificate.verify(&key)? {
            return Err(Error::NotAuthority);
        }
        Ok(Self { certificate, key })
    }

    /// Its certificate and its key.
    pub fn signed(&self) -> Result<Signed, Error> {
        let (certificate, key) = (self.certificate.to_pem()?, self.key.private_key_to_pem_pkcs8()?);
        Ok(Signed { certificate, key, until: milliseconds(self.certificate.not_after())? })
    }

    /// A certificate for a node, which serves others and connects to others with it, good for so many days.
    pub fn sign(&self, name: &str, addresses: &[Address], (now, days): (i64, u32)) -> Result<Signed, Error> {
        let key = key()?;
        let mut builder = builder(&*named(name)?, &key, (now - SKEW, now + i64::from(days) * DAY))?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build()?)?;
        let mut names = SubjectAlternativeName::new();
        for address in addresses {
            match address {
                Address::Name(name) => names.dns(name),
                Address::Ip(ip) => names.ip(&ip.to_string()),
            };
        }
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let more = [
            names.build(&context)?,
            SubjectKeyIdentifier::new().build(&context)?,
            AuthorityKeyIdentifier::new().keyid(false).build(&context)?,
        ];
        for extension in more {
            builder.append_extension(extension)?;
        }
        builder.sign(&self.key, MessageDigest::sha256())?;
        let certificate = builder.build();
        let until = milliseconds(certificate.not_after())?;
        Ok(Signed { certificate: certificate.to_pem()?, key: key.private_key_to_pem_pkcs8()?, until })
    }
}

fn key() -> Result<PKey<Private>, ErrorStack> {
    PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)
}

fn named(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

/// With what all have; `from` and `until` in seconds since the Unix epoch.
fn builder(
    subject: &openssl::x509::X509NameRef,
    key: &PKey<Private>,
    (from, until): (i64, i64),
) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(subject)?;
    builder.set_not_before(&*Asn1Time::from_unix(from)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(until)?)?;
    builder.set_pubkey(key)?;
    Ok(builder)
}

/// Milliseconds since the Unix epoch.
fn milliseconds(time: &Asn1TimeRef) -> Result<u64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(since.days) * DAY + i64::from(since.secs);
    Ok(u64::try_from(seconds).unwrap_or(0) * 1000)
}

#[cfg(test)]
mod tests {
    use openssl::x509::verify::X509VerifyFlags;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn made<T>(result: Result<T, Error>) -> T {
        result.ok().expect("made")
    }

    #[test]
    fn nodes_are_known_by_their_authority() {
        let first = made(made(Authority::new(NOW)).signed());
        let authority = made(Authority::read(&first.certificate, &first.key));
        let addresses = [Address::Name("w1.example".into()), Address::Ip("10.0.0.7".parse().expect("an address"))];
        let node = made(authority.sign("w1", &addresses, (NOW, 30)));
        assert_eq!(node.until, u64::try_from((NOW + 30 * DAY) * 1000).expect("after 1970"));
        assert_eq!(first.until, u64::try_from((NOW + i64::from(DAYS) * DAY) * 1000).expect("after 1970"));

        let certificate = X509::from_pem(&node.certificate).expect("PEM");
        // Nodes whose clocks are behind take both at once.
        for made in [&authority.certificate, &certificate] {
            let begins = milliseconds(made.not_before()).expect("a time");
            assert_eq!(begins, u64::try_from((NOW - DAY) * 1000).expect("after 1970"));
        }
        let mut store = openssl::x509::store::X509StoreBuilder::new().expect("a store");
        store.add_cert(authority.certificate.clone()).expect("added");
        // Whatever the clock of this machine says.
        store.set_flags(X509VerifyFlags::NO_CHECK_TIME | X509VerifyFlags::X509_STRICT).expect("set");
        let (store, none) = (store.build(), openssl::stack::Stack::new().expect("a stack"));
        let mut context = openssl::x509::X509StoreContext::new().expect("a context");
        let verified = context
            .init(&store, &certificate, &none, |context| Ok((context.verify_cert()?, context.error().error_string())));
        assert_eq!(verified.expect("asked"), (true, "ok"));
        let text = String::from_utf8(certificate.to_text().expect("text")).expect("text");
        for expected in [
            "DNS:w1.example, IP Address:10.0.0.7",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "CA:FALSE",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        let key = PKey::private_key_from_pem(&node.key).expect("a key");
        assert!(certificate.public_key().expect("a key").public_eq(&key));
    }

    #[test]
    fn what_is_no_authority() {
        let (one, other) = (made(made(Authority::new(NOW)).signed()), made(made(Authority::new(NOW)).signed()));
        let node = made(made(Authority::new(NOW)).sign("w1", &[], (NOW, 1)));
        let read = |certificate: &[u8], key: &[u8]| Authority::read(certificate, key).err();
        assert!(matches!(read(b"none", &one.key), Some(Error::Form("certificate"))));
        assert!(matches!(read(&one.certificate, b"none"), Some(Error::Form("key"))));
        assert!(matches!(read(&one.certificate, &other.key), Some(Error::Key)));
        assert!(matches!(read(&node.certificate, &node.key), Some(Error::NotAuthority)));
    }
}
