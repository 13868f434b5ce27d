//! What people were told already, so that what is tried again and again is told once. Must never keep more than there are different causes.

use std::collections::BTreeSet;

/// Causes that were told and are not mended yet.
#[derive(Default)]
pub struct Once(BTreeSet<(String, String)>);

impl Once {
    /// Whether to tell that something is the matter with a peer. Causes that differ in numbers only, such as times, are one.
    pub fn is_new(&mut self, peer: &str, cause: &str) -> bool {
        self.0.insert((peer.to_owned(), cause.chars().filter(|c| !c.is_ascii_digit()).collect()))
    }

    /// All is well with a peer: what comes next is new. True if something was told of it.
    pub fn is_well(&mut self, peer: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, _)| other != peer);
        self.0.len() < before
    }
}

#[test]
fn what_is_told() {
    let mut once = Once::default();
    assert!(once.is_new("a:1", "expired 10 s ago") && !once.is_new("a:1", "expired 11 s ago"));
    assert!(once.is_new("a:2", "expired 11 s ago") && once.is_new("a:1", "refused") && !once.is_new("a:1", "refused"));
    assert!(once.is_well("a:1") && !once.is_well("a:1"));
    assert!(once.is_new("a:1", "refused") && !once.is_new("a:2", "expired 12 s ago"));
}
