//! How to reach a cluster, and as whom: what a pipeline file says of it, its references looked up, as settings of librdkafka.
//! From here on secrets are among the settings, so nothing of them is shown but by their names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use flow_model::diagnostic::{Code, Diagnostic, Located};
use flow_model::spec::KafkaCluster;
use flow_model::spec::kafka::{Login, Mechanism, Sasl, Tls};
use flow_model::spec::property;
use flow_model::spec::secret::{PEM, Text};

use super::token::Tokens;
use crate::secrets::{self, Place, look_up};

/// So much of the beginning of a hidden value tells something.
const CUT: usize = 4;

/// Values that must not be shown, wherever they turn up in librdkafka's words.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    /// This value.
    pub(super) fn only(value: &str) -> Hidden {
        let mut hidden = Hidden::default();
        hidden.add(value);
        hidden
    }

    /// A value that is so short that it says nothing stays as it is.
    fn add(&mut self, value: &str) {
        if value.len() > 2 && !self.0.iter().any(|known| known == value) {
            self.0.push(value.to_owned());
            // The longest first, since one may be a part of another.
            self.0.sort_by_key(|value| std::cmp::Reverse(value.len()));
        }
    }

    /// The text without any of them. librdkafka cuts what is long, so the text may end with the beginning of one.
    pub(super) fn scrub(&self, text: String) -> String {
        let mut text =
            self.0.iter().fold(text, |text, value| if text.contains(value) { text.replace(value, "…") } else { text });
        for value in &self.0 {
            let cut = (CUT..value.len().min(text.len() + 1)).rev();
            let tail = cut.filter_map(|length| value.get(..length)).find(|begin| text.ends_with(begin));
            if let Some(tail) = tail {
                text.truncate(text.len() - tail.len());
                text.push('…');
            }
        }
        text
    }
}

/// A cluster, and who we are there.
#[derive(Clone)]
pub struct Connection {
    brokers: String,
    /// The mechanism by which we say who we are, for messages.
    pub(super) mechanism: Option<&'static str>,
    /// Settings that follow from `tls` and `sasl`.
    pub(super) security: Vec<(&'static str, String)>,
    /// The user's own.
    pub(super) properties: BTreeMap<String, String>,
    pub(super) hidden: Hidden,
    /// Where tokens come from.
    pub(super) tokens: Option<Arc<Tokens>>,
}

/// Names only: values may be secrets.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.security.iter().map(|(name, _)| *name).chain(self.properties.keys().map(String::as_str));
        write!(f, "Connection({} ", self.brokers)?;
        f.debug_list().entries(names).finish()?;
        f.write_str(")")
    }
}

impl Connection {
    /// To brokers as they are, without references.
    pub fn to(brokers: &str, properties: &BTreeMap<String, String>) -> Connection {
        let mut hidden = Hidden::default();
        properties.iter().filter(|(name, _)| property::is_secret(name)).for_each(|(_, value)| hidden.add(value));
        Connection {
            brokers: brokers.to_owned(),
            mechanism: None,
            security: Vec::new(),
            properties: properties.clone(),
            hidden,
            tokens: None,
        }
    }

    /// As a pipeline file says, its references looked up.
    pub(crate) fn open(cluster: &KafkaCluster, place: Place<'_>) -> Result<Connection, Diagnostic> {
        let mut connection = Connection::to(place.resolve(&cluster.brokers)?.expose(), &BTreeMap::new());
        for (name, text) in &cluster.properties.0 {
            let value = connection.resolve(text, place, property::is_secret(name))?;
            connection.properties.insert(name.clone(), value);
        }
        let protocol = match (&cluster.tls, &cluster.sasl) {
            (None, None) => None,
            (Some(_), None) => Some("SSL"),
            (None, Some(_)) => Some("SASL_PLAINTEXT"),
            (Some(_), Some(_)) => Some("SASL_SSL"),
        };
        connection.security.extend(protocol.map(|protocol| ("security.protocol", protocol.to_owned())));
        if let Some(tls) = &cluster.tls {
            connection.tls(tls, place)?;
        }
        if let Some(sasl) = &cluster.sasl {
            connection.sasl(sasl, place)?;
        }
        Ok(connection)
    }

    /// The brokers, as configured.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    fn resolve(&mut self, text: &Located<Text>, place: Place<'_>, secret: bool) -> Result<String, Diagnostic> {
        let value = place.resolve(text)?;
        if secret || text.value.references().next().is_some() {
            self.hidden.add(value.expose());
        }
        Ok(value.expose().to_owned())
    }

    fn tls(&mut self, tls: &Tls, place: Place<'_>) -> Result<(), Diagnostic> {
        let all = [
            ("ca", &tls.ca, "ssl.ca.location", "ssl.ca.pem"),
            ("certificate", &tls.certificate, "ssl.certificate.location", "ssl.certificate.pem"),
            ("key", &tls.key, "ssl.key.location", "ssl.key.pem"),
        ];
        for (name, text, location, pem) in all {
            let Some(text) = text else { continue };
            let value = self.resolve(text, place, false)?;
            if value.trim_start().starts_with(PEM) {
                self.hidden.add(&value);
                self.security.push((pem, value));
                continue;
            }
            let path = place.directory.join(value);
            // librdkafka would say less.
            if let Err(error) = secrets::open(&path) {
                let message = format!("the file of `{name}` of tls can't be read: {error}");
                let hint = format!("check the path {}, and that flowd's user may read it", shown(text, &path));
                return Err(place.error(text, Code::InvalidValue, &message).hint(hint));
            }
            self.security.push((location, path.to_string_lossy().into_owned()));
        }
        if let Some(password) = &tls.key_password {
            let password = self.resolve(password, place, true)?;
            self.security.push(("ssl.key.password", password));
        }
        Ok(())
    }

    fn sasl(&mut self, sasl: &Sasl, place: Place<'_>) -> Result<(), Diagnostic> {
        self.mechanism = Some(sasl.mechanism.as_str());
        self.security.push(("sasl.mechanism", sasl.mechanism.as_str().to_owned()));
        match &sasl.mechanism {
            Mechanism::Plain(login) | Mechanism::ScramSha256(login) | Mechanism::ScramSha512(login) => {
                let Login { username, password } = login;
                let username = self.resolve(username, place, false)?;
                let password = self.resolve(password, place, true)?;
                self.security.extend([("sasl.username", username), ("sasl.password", password)]);
            }
            Mechanism::OauthBearer(token) => {
                self.resolve(token, place, true)?;
                let text = token.value.clone();
                let again = move || text.resolve(look_up).map_err(|missing| missing.what);
                let tokens = Tokens::new(Box::new(again));
                tokens.next().map_err(|why| {
                    let hint = "ask who gives the tokens for a new one";
                    place
                        .error(token, Code::InvalidValue, &format!("the token of sasl can't be used: {why}"))
                        .hint(hint)
                })?;
                self.tokens = Some(Arc::new(tokens));
            }
        }
        Ok(())
    }
}

/// A path for a message: as it was found, unless a reference led to it.
fn shown(text: &Located<Text>, path: &std::path::Path) -> String {
    match text.value.as_plain() {
        Some(_) => path.display().to_string(),
        None => "that it refers to".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flow_model::spec::{Pipeline, SourceConnector};

    use super::*;

    fn opened(fields: &str, directory: &Path) -> Result<Connection, String> {
        let text = format!(
            "{{apiVersion: flow/v1, kind: Pipeline, metadata: {{name: p}}, sinks: {{out: {{blackhole: {{}}, from: in}}}},\n \
             sources: {{in: {{kafka: {{brokers: 'b:1', topic: t, {fields}}}}}}}}}"
        );
        let pipeline = Pipeline::parse("p.yaml", text.as_bytes()).expect("a good pipeline");
        let SourceConnector::Kafka(kafka) = &pipeline.sources[0].connector else { panic!("a Kafka source") };
        let place = Place { file: "p.yaml", directory, what: "source \"in\"" };
        Connection::open(&kafka.cluster, place).map_err(|error| error.to_string())
    }

    #[test]
    fn tls_and_sasl_become_settings() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).expect("written");
        write("ca.pem", "any");
        write("password", "hunter2\n");
        write("key.pem", "-----BEGIN PRIVATE KEY-----\n");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let fields = format!(
            "tls: {{ca: ca.pem, certificate: ca.pem, key: '${{file:{}}}'}}, \
             sasl: {{mechanism: SCRAM-SHA-256, username: me, password: '${{file:{}}}'}}",
            path("key.pem"),
            path("password")
        );
        let connection = opened(&fields, directory.path()).expect("everything is there");
        let expect = [
            ("security.protocol", "SASL_SSL".to_owned()),
            ("ssl.ca.location", path("ca.pem")),
            ("ssl.certificate.location", path("ca.pem")),
            ("ssl.key.pem", "-----BEGIN PRIVATE KEY-----".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-256".to_owned()),
            ("sasl.username", "me".to_owned()),
            ("sasl.password", "hunter2".to_owned()),
        ];
        assert_eq!(connection.security, expect);
        assert_eq!(connection.mechanism, Some("SCRAM-SHA-256"));
        assert!(!format!("{connection:?}").contains("hunter2"));
        assert_eq!(connection.hidden.scrub("me: hunter2hunter2!".to_owned()), "me: ……!");
        assert_eq!(connection.hidden.scrub("me: hunter2 and hunt".to_owned()), "me: … and …");
        assert_eq!(connection.hidden.scrub("on the hun".to_owned()), "on the hun");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let check = |fields: &str, expect: &str| {
            let error = opened(fields, Path::new("/no/such")).expect_err("it is not there");
            assert!(error.starts_with("p.yaml:2:") && error.contains(expect), "{error}");
        };
        check("tls: {ca: ca.pem}", "the file of `ca` of tls can't be read: No such file");
        check("tls: {ca: ca.pem}", "check the path /no/such/ca.pem");
        check("sasl: {mechanism: PLAIN, username: me, password: '${file:p}'}", "${file:p} can't be read");
        check(
            "sasl: {mechanism: OAUTHBEARER, token: 'eyJhbGciOiJub25lIn0.eyJleHAiOjF9.'}",
            "it expired 1970-01-01T00:00:01Z",
        );
    }
}
