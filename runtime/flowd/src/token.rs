//! The token that the REST API wants: where it is read from, and when there has to be one. Must never tell it.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flow_coordinator::rest::Token;

const VARIABLE: &str = "FLOW_TOKEN_FILE";
/// No token is longer.
const FILE_MAX: u64 = 4096;

/// The token of the file that the command line names, else the environment; none if nobody does, which is allowed on the
/// own machine, or where someone insists.
///
/// # Errors
/// The file can't be read or holds no token; there is none, and the address is one that others reach.
pub fn of(file: Option<&Path>, listen: SocketAddr, insecure: bool) -> Result<Option<Token>> {
    let from_environment = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    match file.map(Path::to_owned).or_else(from_environment) {
        Some(path) => read(&path).map(Some),
        None if listen.ip().is_loopback() || insecure => Ok(None),
        None => bail!(
            "{} can be reached from other machines, so requests need a token\n  \
             next: --token-file FILE; write one with `(umask 077; head -c 24 /dev/urandom | base64 > FILE)`\n  \
             or: --insecure, if nobody can reach the address whom you would not let run code here",
            listen
        ),
    }
}

fn read(path: &Path) -> Result<Token> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("can't read the token file {shown}"))?;
    let is_for_all = file.metadata().is_ok_and(|about| about.permissions().mode() & 0o004 != 0);
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).with_context(|| format!("can't read the token file {shown}"))?;
    let token = Token::new(&text).with_context(|| {
        let next = "write one with `(umask 077; head -c 24 /dev/urandom | base64 > FILE)`";
        format!("the token file {shown} holds no token ({next})")
    })?;
    if is_for_all {
        tracing::warn!("every user of this machine can read the token in {shown}; next: chmod o= {shown}");
    }
    Ok(token)
}
