//! How the keys of states are laid out: key group (u16 big endian), state (u16 big endian), length of the record's key
//! (u32 big endian), the record's key, and for maps and lists the entry's key. Big endian, so that a key group is one
//! range; the length, so that no key's entries are a prefix of another's.

/// Appends the key of a state (of the prefix of its entries) to `out`.
pub fn encode(group: u16, state: u16, key: &[u8], out: &mut Vec<u8>) {
    out.extend(group.to_be_bytes());
    out.extend(state.to_be_bytes());
    out.extend((key.len() as u32).to_be_bytes());
    out.extend_from_slice(key);
}

/// The number of the state that a key, or the beginning of one, belongs to.
pub fn state_of(key: &[u8]) -> Option<u16> {
    key.get(2..4).and_then(|b| b.first_chunk()).map(|b| u16::from_be_bytes(*b))
}

/// The key group of a key.
pub fn group_of(key: &[u8]) -> Option<u16> {
    key.first_chunk().map(|b| u16::from_be_bytes(*b))
}
