//! What a description may say. The rest of the engine relies on all of it.

use std::collections::HashSet;

use flow_dataflow::function::{Description, Kind};
use flow_frame::id;

use crate::{bindings, log};

/// Most states: the frame of a keyed call has room for 256 buffers, three for each value state.
const STATES: usize = 64;
/// Most ports: a row names its port in one byte.
const PORTS: usize = 256;
/// Bytes of a name.
const NAME: usize = 255;

/// What can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it says that it is a {said}, but exports flow:operator/{exported}")]
    Kind { said: Kind, exported: Kind },
    #[error(
        "it reads column {0}, which no input has; there are key 1, value 2, timestamp 3, headers 4, split 5, position 6, change 7"
    )]
    Column(u16),
    #[error("it names column {0} twice")]
    ColumnTwice(u16),
    #[error("it has {0} ports; there must be 1 (the main one) to {PORTS}")]
    Ports(usize),
    #[error("it is a filter with {0} ports; a filter has only the main one")]
    FilterPorts(usize),
    #[error("{0} `{1}` is there twice")]
    NameTwice(&'static str, String),
    #[error("a {0} has a name of {1} bytes; there must be 1 to {NAME}")]
    Name(&'static str, usize),
    #[error("it is a {0} with states; only a process has state")]
    State(Kind),
    #[error("it has {0} states; {STATES} are allowed")]
    States(usize),
    #[error("it needs the capability `{0}`, and none is granted in this version")]
    Capability(String),
}

/// The description, if the component exports `exported` and everything in it can be.
pub fn check(said: bindings::Description, exported: Kind) -> Result<Description, Error> {
    let kind = Kind::from(said.kind);
    if kind != exported {
        return Err(Error::Kind { said: kind, exported });
    }
    let mut columns = HashSet::new();
    for column in &said.columns {
        if !(id::KEY..=id::CHANGE).contains(column) {
            return Err(Error::Column(*column));
        }
        if !columns.insert(*column) {
            return Err(Error::ColumnTwice(*column));
        }
    }
    match said.ports.len() {
        1 => {}
        n if n == 0 || n > PORTS => return Err(Error::Ports(n)),
        n if kind == Kind::Filter => return Err(Error::FilterPorts(n)),
        _ => {}
    }
    if !said.states.is_empty() && kind != Kind::Process {
        return Err(Error::State(kind));
    }
    if said.states.len() > STATES {
        return Err(Error::States(said.states.len()));
    }
    if let Some(capability) = said.capabilities.into_iter().next() {
        return Err(Error::Capability(log::cut_word(&capability)));
    }
    names("port", said.ports.iter().map(|p| p.name.as_str()))?;
    names("state", said.states.iter().map(|s| s.name.as_str()))?;
    Ok(Description {
        kind,
        columns: said.columns,
        ports: said.ports.into_iter().map(|p| p.name).collect(),
        states: said.states.into_iter().map(Into::into).collect(),
        unordered: said.unordered,
        capabilities: Vec::new(),
    })
}

fn names<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() || name.len() > NAME {
            return Err(Error::Name(what, name.len()));
        }
        if !seen.insert(name) {
            return Err(Error::NameTwice(what, name.to_owned()));
        }
    }
    Ok(())
}
