//! Certificates for tests, made when they are needed: none is kept that could expire.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// In seconds.
pub const DAY: i64 = 86_400;

/// Who signs certificates.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    /// One of that name, whose own certificate is good for a day before and after now.
    pub fn new(name: &str) -> Authority {
        let key = key();
        let mut builder = builder(name, &key, (-DAY, DAY));
        builder.append_extension(BasicConstraints::new().critical().ca().build().expect("built")).expect("appended");
        let subject = named(name);
        builder.set_issuer_name(&subject).expect("set");
        builder.sign(&key, MessageDigest::sha256()).expect("signed");
        Authority { certificate: builder.build(), key }
    }

    /// The one of a certificate and a key that somebody else made, PEM.
    pub fn of(certificate: &[u8], key: &[u8]) -> Authority {
        let certificate = X509::from_pem(certificate).expect("a certificate");
        Authority { certificate, key: PKey::private_key_from_pem(key).expect("a key") }
    }

    /// Its certificate, for who is to trust it.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().expect("encoded")
    }

    /// A certificate for this machine and its key, good from and until so many seconds after now. Both are PEM.
    pub fn sign(&self, name: &str, seconds: (i64, i64)) -> (Vec<u8>, Vec<u8>) {
        let key = key();
        let mut builder = builder(name, &key, seconds);
        builder.set_issuer_name(self.certificate.subject_name()).expect("set");
        let names =
            SubjectAlternativeName::new().ip("127.0.0.1").dns("localhost").build(&builder.x509v3_context(None, None));
        builder.append_extension(names.expect("built")).expect("appended");
        builder.sign(&self.key, MessageDigest::sha256()).expect("signed");
        let key = key.private_key_to_pem_pkcs8().expect("encoded");
        (builder.build().to_pem().expect("encoded"), key)
    }
}

fn key() -> PKey<Private> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a known curve");
    PKey::from_ec_key(EcKey::generate(&curve).expect("a key")).expect("a key")
}

fn named(name: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().expect("a name");
    builder.append_entry_by_text("CN", name).expect("appended");
    builder.build()
}

fn builder(name: &str, key: &PKey<Private>, (from, until): (i64, i64)) -> X509Builder {
    let mut builder = X509::builder().expect("a builder");
    let mut serial = BigNum::new().expect("a number");
    serial.rand(127, MsbOption::MAYBE_ZERO, false).expect("random");
    let serial = serial.to_asn1_integer().expect("a number");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    let at = |seconds| Asn1Time::from_unix(now + seconds).expect("a time");
    builder.set_version(2).expect("set");
    builder.set_serial_number(&serial).expect("set");
    builder.set_subject_name(&named(name)).expect("set");
    builder.set_not_before(&at(from)).expect("set");
    builder.set_not_after(&at(until)).expect("set");
    builder.set_pubkey(key).expect("set");
    builder
}
