//! The tree of a Kafka source or sink → [`KafkaSource`] or [`KafkaSink`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::fields::Fields;
use super::kafka::{
    Delivery, KafkaCluster, KafkaSink, KafkaSource, KafkaStart, KafkaStop, Login, Mechanism, Offsets, Properties, Sasl,
    Tls, Topics, pattern, wrong_topic,
};
use super::property;
use super::report::Report;
use super::secret::{PEM, Text};
use super::trace::Shape;
use super::yaml::{Entry, Node, Value};
use crate::diagnostic::{Code, Diagnostic, Located, Position};
use crate::nearest::{nearest, quoted};

const CLUSTER_FIELDS: [&str; 4] = ["brokers", "tls", "sasl", "properties"];
const SOURCE_FIELDS: [&str; 7] = ["topic", "topics", "pattern", "start", "stop", "discover", "group"];
const SINK_FIELDS: [&str; 5] = ["topic", "topics", "pattern", "partitions", "delivery"];
/// Most partitions that a sink can ask for: more than any broker has.
const PARTITIONS_MAX: u64 = 1_000_000;
const DISCOVER: Duration = Duration::from_secs(10);
const DISCOVER_MIN: Duration = Duration::from_millis(100);

fn known(own: &[&'static str]) -> Vec<&'static str> {
    let (first, rest) = CLUSTER_FIELDS.split_at(1);
    [first, own, rest].concat()
}

/// `None` only after an error was reported.
pub(super) fn source(report: &mut Report, node: &Node, what: &str) -> Option<KafkaSource> {
    let fields = Fields::read(report, node, what, &known(&SOURCE_FIELDS))?;
    let cluster = cluster(report, &fields);
    let topics = source_topics(report, &fields);
    let start = match fields.get("start") {
        Some(Node { value: Value::Map(_), .. }) => match position(report, &fields, "start", topics.as_ref())? {
            Where::Timestamp(timestamp) => Some(KafkaStart::Timestamp(timestamp)),
            Where::Offsets(offsets) => Some(KafkaStart::Offsets(offsets)),
        },
        _ => {
            let words = [("earliest", false), ("latest", true)];
            let latest = fields.choice(report, "start", &words);
            latest.map(|latest| if latest { KafkaStart::Latest } else { KafkaStart::Earliest })
        }
    };
    let stop = match fields.get("stop") {
        Some(Node { value: Value::Map(_), .. }) => match position(report, &fields, "stop", topics.as_ref())? {
            Where::Timestamp(timestamp) => Some(KafkaStop::Timestamp(timestamp)),
            Where::Offsets(offsets) => Some(KafkaStop::Offsets(offsets)),
        },
        _ => fields.choice(report, "stop", &[("latest", ())]).map(|()| KafkaStop::Latest),
    };
    let discover = fields.duration(report, "discover");
    if let (Some(node), true) = (fields.get("discover"), discover.is_some_and(|often| often < DISCOVER_MIN)) {
        let message = format!("\"discover\" of {} would ask the brokers all the time", fields.what());
        report.error_with(Code::InvalidValue, node.position, message, "write 100ms or more; it is 10s unless set");
    }
    let group = text(report, &fields, "group");
    Some(KafkaSource {
        cluster: cluster?,
        topics: topics?,
        start: start.unwrap_or(KafkaStart::Earliest),
        stop: stop.unwrap_or(KafkaStop::Never),
        discover: discover.unwrap_or(DISCOVER),
        group,
    })
}

/// `None` only after an error was reported.
pub(super) fn sink(report: &mut Report, node: &Node, what: &str) -> Option<KafkaSink> {
    let fields = Fields::read(report, node, what, &known(&SINK_FIELDS))?;
    let cluster = cluster(report, &fields);
    let topic = fields.require(report, "topic", "topic: orders").and_then(|_| topic(report, &fields));
    let others = other_topics(report, &fields);
    let partitions = fields.number(report, "partitions", 1..=PARTITIONS_MAX);
    let partitions = partitions
        .zip(fields.get("partitions"))
        .and_then(|(number, node)| Some(Located { value: u32::try_from(number).ok()?, position: node.position }));
    let words = [("at-least-once", Delivery::AtLeastOnce), ("exactly-once", Delivery::ExactlyOnce)];
    let delivery = fields.choice(report, "delivery", &words);
    let position = fields.get("delivery").map_or(fields.position(), |node| node.position);
    let delivery = Located { value: delivery.unwrap_or_default(), position };
    Some(KafkaSink { cluster: cluster?, topic: topic?, others, partitions, delivery })
}

/// `None` only after an error was reported.
fn cluster(report: &mut Report, fields: &Fields) -> Option<KafkaCluster> {
    let brokers =
        fields.require(report, "brokers", "brokers: localhost:9092").and_then(|_| text(report, fields, "brokers"));
    let tls = fields.get("tls").and_then(|node| tls(report, node, fields.what()));
    let sasl = fields.get("sasl").map(|node| sasl(report, node, fields.what()));
    let (sasl, properties) = (sasl.flatten(), properties(report, fields));
    if let (Some(sasl), Some(brokers)) = (&sasl, &brokers)
        && matches!(sasl.mechanism, Mechanism::Plain(_) | Mechanism::OauthBearer(_))
        && tls.is_none()
        && !properties.0.contains_key("security.protocol")
        && !brokers.value.as_plain().is_some_and(|brokers| brokers.split(',').all(is_here))
    {
        let message = format!("sasl of {} sends its secret over the network without encryption", fields.what());
        let hint = "add `tls: {}`, or a mechanism that sends none, such as SCRAM-SHA-512";
        report.push(Diagnostic::warning(Code::InvalidValue, report.file(), sasl.position, message).hint(hint));
    }
    Some(KafkaCluster { brokers: brokers?, tls, sasl, properties })
}

/// Whether a broker is on this machine.
fn is_here(broker: &str) -> bool {
    ["localhost:", "127.", "[::1]:"].iter().any(|here| broker.trim().starts_with(here))
}

fn tls(report: &mut Report, node: &Node, what: &str) -> Option<Tls> {
    let fields = Fields::read(report, node, &format!("tls of {what}"), &["ca", "certificate", "key", "key-password"])?;
    let mut field = |name| text(report, &fields, name);
    let (ca, certificate, key) = (field("ca"), field("certificate"), field("key"));
    let key_password = field("key-password");
    if let Some(password) = &key_password {
        let example = "key-password: \"${env:KAFKA_KEY_PASSWORD}\"";
        warn_plain(report, password, &format!("the key-password of {}", fields.what()), example);
    }
    if let Some(key) =
        key.as_ref().filter(|key| key.value.as_plain().is_some_and(|key| key.trim_start().starts_with(PEM)))
    {
        warn_plain(report, key, &format!("the key of {}", fields.what()), "key: ./client.pem");
    }
    for (name, missing, there) in
        [("certificate", "key", (&certificate, &key)), ("key", "certificate", (&key, &certificate))]
    {
        if let (Some(one), None) = there
            && fields.get(missing).is_none()
        {
            let message = format!("{} has a {name} and no {missing}", fields.what());
            report.error_with(Code::MissingField, one.position, message, format!("add `{missing}: ./client.pem`"));
        }
    }
    Some(Tls { position: node.position, ca, certificate, key, key_password })
}

fn sasl(report: &mut Report, node: &Node, what: &str) -> Option<Sasl> {
    let fields =
        Fields::read(report, node, &format!("sasl of {what}"), &["mechanism", "username", "password", "token"])?;
    let login = Mechanism::ScramSha512 as fn(Login) -> Mechanism;
    let choices = [
        ("PLAIN", Some(Mechanism::Plain as fn(Login) -> Mechanism)),
        ("SCRAM-SHA-256", Some(Mechanism::ScramSha256)),
        ("SCRAM-SHA-512", Some(login)),
        ("OAUTHBEARER", None),
    ];
    fields.require(report, "mechanism", "mechanism: SCRAM-SHA-512")?;
    let chosen = fields.choice(report, "mechanism", &choices)?;
    let mut required = |name: &str, example: &str| {
        fields.require(report, name, example)?;
        let text = text(report, &fields, name)?;
        if name != "username" {
            warn_plain(report, &text, &format!("the {name} of {}", fields.what()), example);
        }
        Some(text)
    };
    let (mechanism, surplus) = match chosen {
        Some(mechanism) => {
            let username = required("username", "username: flow");
            let password = required("password", "password: \"${env:KAFKA_PASSWORD}\"");
            (username.zip(password).map(|(username, password)| mechanism(Login { username, password })), &["token"][..])
        }
        None => {
            let token = required("token", "token: \"${file:/run/secrets/kafka-token}\"");
            (token.map(Mechanism::OauthBearer), &["username", "password"][..])
        }
    };
    for entry in surplus.iter().filter_map(|name| fields.entry(name)) {
        let message = format!("{} has no use for {} with this mechanism", fields.what(), quoted(&entry.key));
        report.error_with(Code::InvalidValue, entry.position, message, "remove it");
    }
    Some(Sasl { position: node.position, mechanism: mechanism? })
}

/// Tells of a secret that everybody can read who can read the file. A warning, since a first try on one's own machine is fine.
fn warn_plain(report: &mut Report, text: &Located<Text>, what: &str, example: &str) {
    if text.value.references().next().is_none() {
        let message = format!("{what} stands in the file as it is");
        let hint = format!("write `{example}`, or ${{file:PATH}}");
        report.push(Diagnostic::warning(Code::InvalidValue, report.file(), text.position, message).hint(hint));
    }
}

/// Text that may hold references. What is wrong with it is told without showing it.
fn text(report: &mut Report, fields: &Fields, name: &str) -> Option<Located<Text>> {
    let node = fields.get(name)?;
    let what = format!("{} of {}", quoted(name), fields.what());
    if !matches!(&node.value, Value::Text(_)) {
        report.error_with(Code::WrongType, node.position, format!("{what} must be text"), "put it in quotes");
        return None;
    }
    let text = fields.text(report, name)?;
    parsed(report, text, &what)
}

fn parsed(report: &mut Report, text: Located<&str>, what: &str) -> Option<Located<Text>> {
    match text.value.parse() {
        Ok(value) => Some(Located { value, position: text.position }),
        Err(error) => {
            let error: super::secret::Error = error;
            report.error(Code::InvalidValue, text.position, format!("{what}: {error}"));
            None
        }
    }
}

fn topic(report: &mut Report, fields: &Fields) -> Option<Located<Text>> {
    let text = fields.text(report, "topic")?;
    named_topic(report, text, fields)
}

fn named_topic(report: &mut Report, text: Located<&str>, fields: &Fields) -> Option<Located<Text>> {
    let topic = parsed(report, text, &format!("\"topic\" of {}", fields.what()))?;
    if let Some(name) = topic.value.as_plain()
        && let Some(hint) = wrong_topic(name)
    {
        let message = format!("{} of {} is no topic name", quoted(name), fields.what());
        report.error_with(Code::InvalidValue, topic.position, message, hint);
        return None;
    }
    Some(topic)
}

/// Exactly one of `topic`, `topics` and `pattern`.
fn source_topics(report: &mut Report, fields: &Fields) -> Option<Topics> {
    let given: Vec<&Entry> = ["topic", "topics", "pattern"].iter().filter_map(|name| fields.entry(name)).collect();
    match given.as_slice() {
        [] => {
            fields.require(report, "topic", "topic: orders");
            None
        }
        [one] if one.key == "topic" => topic(report, fields).map(|topic| Topics::Named(vec![topic])),
        [_] => other_topics(report, fields),
        [.., last] => {
            let names: Vec<&str> = given.iter().map(|entry| entry.key.as_str()).collect();
            let message = format!("{} has several of {}", fields.what(), names.join(", "));
            report.error_with(Code::Duplicate, last.position, message, "keep one");
            None
        }
    }
}

/// `topics` or `pattern`.
fn other_topics(report: &mut Report, fields: &Fields) -> Option<Topics> {
    if let (Some(_), Some(second)) = (fields.entry("topics"), fields.entry("pattern")) {
        let message = format!("{} has both topics and pattern", fields.what());
        report.error_with(Code::Duplicate, second.position, message, "keep one");
        return None;
    }
    if fields.get("topics").is_some() {
        let mut all: Vec<Located<Text>> = Vec::new();
        for text in fields.texts(report, "topics")? {
            let name = quoted(text.value);
            let topic = named_topic(report, text, fields)?;
            if all.iter().any(|known| known.value == topic.value) {
                let message = format!("topic {name} given twice in {}", fields.what());
                report.error(Code::Duplicate, topic.position, message);
            }
            all.push(topic);
        }
        return Some(Topics::Named(all));
    }
    let found = text(report, fields, "pattern")?;
    if let Some(Err(why)) = found.value.as_plain().map(pattern) {
        let message = format!("\"pattern\" of {} is no regular expression: {why}", fields.what());
        report.error_with(Code::InvalidValue, found.position, message, "write for example `pattern: \"orders-.*\"`");
        return None;
    }
    Some(Topics::Pattern(found))
}

enum Where {
    Timestamp(i64),
    Offsets(Offsets),
}

/// `{timestamp: …}` or `{offsets: …}` of what the source reads.
fn position(report: &mut Report, fields: &Fields, name: &str, topics: Option<&Topics>) -> Option<Where> {
    let node = fields.get(name)?;
    let what = format!("{name} of {}", fields.what());
    let fields = Fields::read(report, node, &what, &["timestamp", "offsets"])?;
    match (fields.get("timestamp"), fields.get("offsets")) {
        (Some(node), None) => {
            report.saw(fields.position(), "timestamp", || Shape::Text);
            report.saw(fields.position(), "timestamp", || Shape::Number(0..=i64::MAX as u64));
            timestamp(report, node, &what).map(Where::Timestamp)
        }
        (None, Some(node)) => offsets(report, (fields.position(), node), &what, topics).map(Where::Offsets),
        _ => {
            let hint = "write for example `{timestamp: 2026-01-31T12:00:00Z}` or `{offsets: {0: 12}}`";
            report.error_with(Code::InvalidValue, node.position, format!("{what} needs a timestamp or offsets"), hint);
            None
        }
    }
}

fn timestamp(report: &mut Report, node: &Node, what: &str) -> Option<i64> {
    let found = match &node.value {
        Value::Unsigned(milliseconds) => i64::try_from(*milliseconds).ok(),
        Value::Text(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
        _ => None,
    };
    let found = found.filter(|milliseconds| *milliseconds >= 0);
    if found.is_none() {
        let message = format!("\"timestamp\" of {what} is no time, found {}", node.value.described());
        let hint = "write 2026-01-31T12:00:00Z, or milliseconds since 1970";
        report.error_with(Code::InvalidValue, node.position, message, hint);
    }
    found
}

fn offsets(report: &mut Report, (at, node): (Position, &Node), what: &str, topics: Option<&Topics>) -> Option<Offsets> {
    report.saw(at, "offsets", || Shape::Any);
    let Value::Map(entries) = &node.value else {
        let message = format!("\"offsets\" of {what} must be a map from partitions, found {}", node.value.described());
        report.error_with(Code::WrongType, node.position, message, "write for example `{0: 12, 1: 7}`");
        return None;
    };
    let is_one = matches!(topics, Some(Topics::Named(all)) if all.len() == 1);
    let mut offsets = Offsets::default();
    for entry in entries {
        if let Value::Map(of_topic) = &entry.value.value {
            offsets_topic(report, entry, what, topics);
            let known = offsets.by_topic.entry(entry.key.clone()).or_default();
            of_topic.iter().for_each(|entry| offset(report, entry, what, known));
        } else if is_one {
            offset(report, entry, what, &mut offsets.of_only_topic);
        } else {
            let message = format!("{} in offsets of {what} names no topic", quoted(&entry.key));
            report.error_with(Code::InvalidValue, entry.position, message, "write for example `{orders: {0: 12}}`");
        }
    }
    if !offsets.of_only_topic.is_empty() && !offsets.by_topic.is_empty() {
        let message = format!("offsets of {what} has partitions beside topics");
        report.error_with(Code::InvalidValue, node.position, message, "write all of them below their topic");
    }
    Some(offsets)
}

/// A topic of offsets must be one that the source reads, as far as the file says.
fn offsets_topic(report: &mut Report, entry: &Entry, what: &str, topics: Option<&Topics>) {
    if let Some(hint) = wrong_topic(&entry.key) {
        let message = format!("{} in offsets of {what} is no topic name", quoted(&entry.key));
        report.error_with(Code::InvalidValue, entry.position, message, hint);
        return;
    }
    let reads = match topics {
        None => return,
        Some(Topics::Pattern(text)) => text
            .value
            .as_plain()
            .and_then(|text| pattern(text).ok())
            .map(|pattern| (pattern.is_match(&entry.key), None)),
        Some(Topics::Named(all)) => all
            .iter()
            .map(|topic| topic.value.as_plain())
            .collect::<Option<Vec<&str>>>()
            .map(|names| (names.contains(&entry.key.as_str()), nearest(&entry.key, names))),
    };
    if let Some((false, near)) = reads {
        let message = format!("{} in offsets of {what} is no topic that the source reads", quoted(&entry.key));
        let hint = near.map_or_else(
            || "remove it, or add it to `topics`".to_owned(),
            |near| format!("did you mean {}?", quoted(near)),
        );
        report.error_with(Code::InvalidValue, entry.position, message, hint);
    }
}

fn offset(report: &mut Report, entry: &Entry, what: &str, known: &mut BTreeMap<i32, i64>) {
    let partition = entry.key.parse::<i32>().ok().filter(|partition| *partition >= 0);
    let offset = match entry.value.value {
        Value::Unsigned(offset) => i64::try_from(offset).ok(),
        _ => None,
    };
    match partition.zip(offset) {
        Some((partition, offset)) if known.insert(partition, offset).is_none() => {}
        Some(_) => {
            let message = format!("partition {} given twice in offsets of {what}", entry.key);
            report.error(Code::Duplicate, entry.position, message);
        }
        None => {
            let message = format!(
                "{}: {} in offsets of {what} is no partition with its offset",
                entry.key,
                entry.value.value.described()
            );
            report.error_with(Code::InvalidValue, entry.position, message, "write for example `{0: 12, 1: 7}`");
        }
    }
}

/// Any scalar is taken as its text. Values stay out of messages: they may be secrets.
fn properties(report: &mut Report, fields: &Fields) -> Properties {
    let mut properties = BTreeMap::new();
    let what = format!("properties of {}", fields.what());
    report.saw(fields.position(), "properties", || Shape::Scalars);
    let entries = match fields.get("properties").map(|node| (node, &node.value)) {
        Some((_, Value::Map(entries))) => entries.as_slice(),
        None | Some((_, Value::Null)) => &[],
        Some((node, _)) => {
            report.error(Code::WrongType, node.position, format!("{what} must be a map from names to texts"));
            &[]
        }
    };
    for Entry { key, position, value } in entries {
        let Some(text) = property_text(report, key, value, &what) else { continue };
        if property::is_secret(key) {
            warn_plain(report, &text, &format!("{} in {what}", quoted(key)), &format!("{key}: \"${{env:NAME}}\""));
        }
        if let Some(instead) = property::refused(key) {
            let message = format!("{} can't be set in {what}", quoted(key));
            report.error_with(Code::InvalidValue, *position, message, instead);
        } else if properties.insert(key.clone(), text).is_some() {
            report.error(Code::Duplicate, *position, format!("field {} given twice in {what}", quoted(key)));
        }
    }
    Properties(properties)
}

fn property_text(report: &mut Report, key: &str, node: &Node, what: &str) -> Option<Located<Text>> {
    let plain = |position: Position, text: String| Some(Located { value: Text::plain(text), position });
    match &node.value {
        Value::Text(text) => {
            let text = Located { value: text.as_str(), position: node.position };
            parsed(report, text, &format!("{} in {what}", quoted(key)))
        }
        Value::Bool(value) => plain(node.position, value.to_string()),
        Value::Unsigned(value) => plain(node.position, value.to_string()),
        Value::Negative(value) => plain(node.position, value.to_string()),
        Value::Float(value) => plain(node.position, value.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => {
            report.error(Code::WrongType, node.position, format!("{} in {what} must be text", quoted(key)));
            None
        }
    }
}
