//! Everything that an operator has in its state, for who does not know its types. Must decode keys of states only: what
//! values mean is their encoding's business.

use flow_dataflow::function::{StateDescriptor, StateKind};
use flow_dataflow::state::key;

use crate::store::{ITEMS, SharedStore};

/// A value, an entry of a map or an item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The record's key that it belongs to.
    pub key: Vec<u8>,
    /// The state's name.
    pub state: String,
    /// How it is kept.
    pub kind: StateKind,
    /// The name of its encoding; of a map `KEY -> VALUE`.
    pub encoding: String,
    /// The key of a map's entry; of others empty.
    pub entry: Vec<u8>,
    /// The encoded value.
    pub value: Vec<u8>,
}

/// Where the record's key begins: behind key group, state and length.
const KEY: usize = 8;

pub(crate) fn entries(states: &[StateDescriptor], store: &SharedStore) -> Vec<StateEntry> {
    let all = store.under(&[]).into_iter();
    let mut found: Vec<StateEntry> = all.filter_map(|(at, value)| entry(states, &at, value)).collect();
    // The order of the store begins with the key group. The sort is stable: items of a list keep theirs.
    found.sort_by(|a, b| (&a.key, &a.state).cmp(&(&b.key, &b.state)));
    found
}

/// None for what is no entry of its own, as the length of a list.
fn entry(states: &[StateDescriptor], at: &[u8], value: Vec<u8>) -> Option<StateEntry> {
    let state = states.get(usize::from(key::state_of(at)?))?;
    let length = u32::from_be_bytes(*at.get(4..)?.first_chunk()?) as usize;
    let (record_key, rest) = at.get(KEY..)?.split_at_checked(length)?;
    if state.kind == StateKind::List && rest.first() != Some(&ITEMS) {
        return None;
    }
    Some(StateEntry {
        key: record_key.to_vec(),
        state: state.name.clone(),
        kind: state.kind,
        encoding: state.encoding.clone(),
        entry: if state.kind == StateKind::Map { rest.to_vec() } else { Vec::new() },
        value,
    })
}
