//! A real Kafka as people run it: TLS with certificates made here, users who show passwords or tokens.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authority::{Authority, DAY};
use crate::broker::{Broker, free_port};

/// The user of all mechanisms with a password.
pub const USER: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "alice-pw-4711";

/// A file in its directory with the ports of the listeners that have TLS.
const PORTS: &str = "ports";

/// A broker with several listeners.
pub struct Secure {
    /// The broker, which answers without TLS too.
    pub broker: Broker,
    /// `host:port` with TLS, where everybody has to say who they are: by PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
    pub sasl: String,
    /// With TLS, where clients need a certificate.
    pub mutual: String,
    /// With TLS, and a certificate that has expired.
    pub expired: String,
}

impl Secure {
    /// The one that all tests of a run share.
    pub fn shared() -> &'static Secure {
        static SHARED: OnceLock<Secure> = OnceLock::new();
        SHARED.get_or_init(Secure::start)
    }

    fn start() -> Secure {
        let ports = [free_port(), free_port(), free_port(), free_port()];
        let broker = Broker::of_run("kafka-secure", ports[0], |dir| settings(dir, ports), add_user);
        // Those of the one who started it.
        let text = fs::read_to_string(broker.dir().join(PORTS)).expect("it was written");
        let mut local = text.split(' ').map(|port| format!("127.0.0.1:{port}"));
        let mut next = || local.next().expect("there are three");
        let (sasl, mutual, expired) = (next(), next(), next());
        Secure { broker, sasl, mutual, expired }
    }

    /// A PEM file: `ca.pem`, which signed the broker's certificates, `other-ca.pem`, which did not, `client.pem` and
    /// `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.broker.dir().join(name)
    }
}

fn add_user(broker: &Broker) {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let credentials = format!("{mechanism}=[password={PASSWORD}]");
        let user = ["--alter", "--add-config", &credentials, "--entity-type", "users", "--entity-name", USER];
        broker.tool("kafka-configs", &user);
    }
}

/// A token that says whom it is for and, in seconds since 1970, when it expires. Nobody signed it.
pub fn token(subject: &str, expires: u64) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"sub":"{subject}","iat":{},"exp":{expires}}}"#, expires.saturating_sub(3600));
    format!("{}.{}.", part(r#"{"alg":"none"}"#.to_owned()), part(claims))
}

fn settings(dir: &Path, [plain, sasl, mutual, expired]: [u16; 4]) -> String {
    fs::write(dir.join(PORTS), format!("{sasl} {mutual} {expired}")).expect("written");
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    fs::write(dir.join("ca.pem"), ca.pem()).expect("written");
    fs::write(dir.join("other-ca.pem"), other.pem()).expect("written");
    let (client, key) = ca.sign("client", (-DAY, DAY));
    fs::write(dir.join("client.pem"), client).expect("written");
    fs::write(dir.join("client.key"), key).expect("written");
    for (name, days) in [("broker", (-DAY, DAY)), ("expired", (-2 * DAY, -DAY))] {
        let (certificate, key) = ca.sign(name, days);
        fs::write(dir.join(format!("{name}.pem")), [key, certificate].concat()).expect("written");
    }
    let (controller, dir) = (plain - 10_000, dir.display());
    let listeners = format!(
        "PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},MUTUAL://127.0.0.1:{mutual},EXPIRED://127.0.0.1:{expired}"
    );
    let module = "org.apache.kafka.common.security";
    let mut settings = format!(
        "listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL,EXPIRED:SSL\n\
         listener.name.mutual.ssl.client.auth=required\n\
         listener.name.mutual.ssl.truststore.type=PEM\n\
         listener.name.mutual.ssl.truststore.location={dir}/ca.pem\n\
         listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
         listener.name.sasl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
         listener.name.sasl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
         listener.name.sasl.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
         listener.name.sasl.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\";\n"
    );
    for (listener, store) in [("sasl", "broker"), ("mutual", "broker"), ("expired", "expired")] {
        settings += &format!(
            "listener.name.{listener}.ssl.keystore.type=PEM\nlistener.name.{listener}.ssl.keystore.location={dir}/{store}.pem\n"
        );
    }
    settings
}
