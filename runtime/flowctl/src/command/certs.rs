//! `flowctl certs`: certificates by which the nodes of a cluster know each other, for development.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

use serde::Serialize;

use crate::authority::{Address, Authority, DAYS, Error, Signed};
use crate::cli::Shown;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::table;
use crate::time;

/// Every node has these too.
const HERE: [&str; 2] = ["localhost", "127.0.0.1"];
const MILLIS_OF_DAY: u64 = 86_400_000;

/// Make certificates for the nodes of a cluster, for development
///
/// DIR gets an authority, ca.pem with its key ca-key.pem, and for each node NAME.pem and NAME-key.pem. A node is known by its name, by the
/// addresses given with it, and by localhost and 127.0.0.1; others have to reach it by one of these. Called again with the same DIR, more
/// nodes get certificates of the same authority. Where you have an authority of your own take that: flowd wants nothing but PEM files, of
/// certificates that may be used by clients and by servers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl certs certs --node c1 --node w1 --node w2       all on this machine
  flowctl certs certs --node w3,10.0.0.7,w3.example       one more, on another
  flowctl certs certs --node w1 --force --days 30         another one in the place of w1's")]
pub struct Args {
    /// The directory; it is made if it is not there
    dir: PathBuf,

    /// A node, and the DNS names and IP addresses by which others reach it; may be repeated
    #[arg(long = "node", value_name = "NAME[,ADDR...]", required = true, value_parser = node)]
    nodes: Vec<Node>,

    /// How many days the certificates of nodes are good for
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS)))]
    days: u32,

    /// Replace the certificates of nodes that are there
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    pub shown: Shown,
}

#[derive(Debug, Clone)]
struct Node {
    name: String,
    addresses: Vec<Address>,
}

fn node(text: &str) -> Result<Node, String> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.len() > 60 || !name.chars().all(is_plain) {
        return Err(format!(
            "\"{name}\" can't be the name of a node: letters, digits, \"-\" and \".\" inside, at most 60"
        ));
    }
    if name == "ca" || name.ends_with("-key") {
        return Err(format!("\"{name}\" can't be the name of a node: other files are called so; take another"));
    }
    let mut addresses: Vec<Address> = Vec::new();
    for part in std::iter::once(name).chain(parts).chain(HERE) {
        // A name need not be one that can be looked up.
        match address(part) {
            Ok(address) if !addresses.contains(&address) => addresses.push(address),
            Err(error) if part != name => return Err(error),
            _ => {}
        }
    }
    Ok(Node { name: name.to_owned(), addresses })
}

fn address(text: &str) -> Result<Address, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Address::Ip(ip));
    }
    let labels: Vec<&str> = text.strip_prefix("*.").unwrap_or(text).split('.').collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if text.len() <= 253 && labels.iter().all(is_label) && !is_number {
        return Ok(Address::Name(text.to_owned()));
    }
    let why = if text.contains(':') { ", which has no port" } else { "" };
    Err(format!("\"{text}\" is neither a DNS name nor an IP address{why}"))
}

/// What there is now.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Made {
    authority: Files,
    /// It was there already.
    reused: bool,
    nodes: Vec<MadeNode>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MadeNode {
    name: String,
    addresses: Vec<String>,
    #[serde(flatten)]
    files: Files,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// When it ends, in milliseconds since the Unix epoch.
    until: u64,
}

/// Makes them, all or none that would replace another.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let Args { dir, nodes, days, force, .. } = args;
    let mut names = BTreeSet::new();
    if let Some(node) = nodes.iter().find(|node| !names.insert(&node.name)) {
        return Err(Failure::invalid(format!("the node {} is given twice", node.name))
            .hint("give its addresses together: --node NAME,ADDR,ADDR"));
    }
    let taken = nodes.iter().flat_map(|node| paths(dir, &node.name)).find(|path| path.symlink_metadata().is_ok());
    if let Some(path) = taken.filter(|_| !force) {
        return Err(Failure::invalid(format!("{} exists already", path.display()))
            .hint("--force makes another in its place; nodes read it when they start"));
    }
    // There is no time before 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let found = found(dir)?;
    let reused = found.is_some();
    let authority = found.map_or_else(|| Authority::new(now).map_err(unmade), Ok)?;
    let own = authority.signed().map_err(unmade)?;
    if now as u64 * 1000 + u64::from(*days) * MILLIS_OF_DAY > own.until {
        let [certificate, _] = paths(dir, "ca");
        let message = format!("the authority in {} is good until {} only", certificate.display(), time::utc(own.until));
        return Err(
            Failure::invalid(message).hint("take fewer --days, or another directory, with certificates for all nodes")
        );
    }
    let sign =
        |node: &Node| authority.sign(&node.name, &node.addresses, (now, *days)).map(|signed| (node.clone(), signed));
    let signed = nodes.iter().map(sign).collect::<Result<Vec<_>, _>>().map_err(unmade)?;
    fs::create_dir_all(dir).map_err(|error| unwritten(dir, &error))?;
    let authority = if reused { files(dir, "ca", own.until) } else { keep(dir, "ca", &own)? };
    let keep = |(node, signed): (Node, Signed)| {
        let files = keep(dir, &node.name, &signed)?;
        let addresses = node.addresses.iter().map(ToString::to_string).collect();
        Ok(MadeNode { name: node.name, addresses, files })
    };
    let nodes = signed.into_iter().map(keep).collect::<Result<Vec<_>, Failure>>()?;
    let made = Made { authority, reused, nodes };
    let names = || made.nodes.iter().map(|node| node.name.clone()).collect();
    output.print_named(&made, names, || text(&made))?;
    let key = made.authority.key.display();
    output.note(&format!(
        "give each node ca.pem and its own two files; whoever has {key} can make nodes that all others let in"
    ));
    Ok(Exit::Ok)
}

/// A certificate and its key.
fn paths(dir: &Path, name: &str) -> [PathBuf; 2] {
    [dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem"))]
}

fn files(dir: &Path, name: &str, until: u64) -> Files {
    let [certificate, key] = paths(dir, name);
    Files { certificate, key, until }
}

/// The authority of an earlier call.
fn found(dir: &Path) -> Result<Option<Authority>, Failure> {
    let [certificate, key] = paths(dir, "ca");
    let read = |path: &Path| match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::failed(format!("can't read {}: {error}", path.display()))),
    };
    let other = "take another directory, or put both files of the authority there";
    let missing = |missing: &Path, there: &Path| {
        Err(Failure::invalid(format!("{} is there, and {} is not", there.display(), missing.display())).hint(other))
    };
    let (text, secret) = match (read(&certificate)?, read(&key)?) {
        (None, None) => return Ok(None),
        (Some(_), None) => return missing(&key, &certificate),
        (None, Some(_)) => return missing(&certificate, &key),
        (Some(text), Some(secret)) => (text, secret),
    };
    let (certificate, key) = (certificate.display(), key.display());
    let why = match Authority::read(&text, &secret) {
        Ok(authority) => return Ok(Some(authority)),
        Err(Error::Form("key")) => format!("{key} holds no key without a password"),
        Err(Error::Form(what)) => format!("{certificate} holds no {what}"),
        Err(Error::Key) => format!("{key} is not the key of {certificate}"),
        Err(Error::NotAuthority) => format!("{certificate} is not an authority's own certificate, signed by itself"),
        Err(error @ Error::OpenSsl(_)) => return Err(unmade(error)),
    };
    Err(Failure::invalid(why).hint(other))
}

/// Writes both; the key first, for this user alone.
fn keep(dir: &Path, name: &str, signed: &Signed) -> Result<Files, Failure> {
    let files = files(dir, name, signed.until);
    for (path, bytes, mode) in [(&files.key, &signed.key, 0o600), (&files.certificate, &signed.certificate, 0o644)] {
        write(dir, path, bytes, mode).map_err(|error| unwritten(path, &error))?;
    }
    Ok(files)
}

/// Beside its place first, so that it is never there in part.
fn write(dir: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = tempfile::Builder::new();
    #[cfg(unix)]
    beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    let mut beside = beside.prefix(".flowctl-certs-").tempfile_in(dir)?;
    // Whatever the umask took.
    #[cfg(unix)]
    beside.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    beside.write_all(bytes)?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("can't write {}: {error}", path.display()))
}

/// OpenSSL can't make what was asked for.
fn unmade(error: Error) -> Failure {
    let why = match error {
        Error::OpenSsl(error) => error.to_string(),
        Error::Form(what) => format!("no {what}"),
        Error::Key | Error::NotAuthority => "it is no authority".to_owned(),
    };
    Failure::failed(format!("can't make a certificate: {why}"))
}

fn text(made: &Made) -> String {
    let row = |node: &MadeNode| vec![node.name.clone(), time::utc(node.files.until), node.addresses.join(", ")];
    let mut text = table(&["NODE", "UNTIL", "NAMES"], made.nodes.iter().map(row));
    let is = if made.reused { "" } else { ", a new authority" };
    text += &format!("\n\nstart flowd with these{is}:");
    for MadeNode { name, files: Files { certificate, key, .. }, .. } in &made.nodes {
        let (authority, certificate, key) =
            (made.authority.certificate.display(), certificate.display(), key.display());
        text += &format!("\n{name}: --tls-ca {authority} --tls-cert {certificate} --tls-key {key}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes() {
        let good = |text: &str, name: &str, addresses: &str| {
            let node = node(text).expect(text);
            let all = node.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!((node.name.as_str(), all.join(" ").as_str()), (name, addresses));
        };
        good("w1", "w1", "w1 localhost 127.0.0.1");
        good("w1,10.0.0.7,w1.example,127.0.0.1", "w1", "w1 10.0.0.7 w1.example 127.0.0.1 localhost");
        good("w1,*.flow.svc,::1", "w1", "w1 *.flow.svc ::1 localhost 127.0.0.1");
        good("10.0.0.7", "10.0.0.7", "10.0.0.7 localhost 127.0.0.1");
        let bad = |text: &str, expect: &str| {
            let error = node(text).expect_err(text);
            assert!(error.contains(expect), "{text}: {error}");
        };
        bad("", "can't be the name");
        bad("../x", "can't be the name");
        bad("w 1", "can't be the name");
        bad("ca", "other files are called so");
        bad("w1-key", "other files are called so");
        bad("w1,", "\"\" is neither a DNS name nor an IP address");
        bad("w1,10.0.0", "\"10.0.0\" is neither");
        bad("w1,w1:8091", "which has no port");
        bad("w1,a..b", "\"a..b\" is neither");
    }
}
