//! Names that nobody else gives: tests of a run have a process each and share a broker, and process ids come round again.

use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{SystemTime, UNIX_EPOCH};

/// A new name that begins with `what`. No two processes of one time have the same id, and no two of one id begin at the same time.
pub fn own(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static BEGUN: OnceLock<u128> = OnceLock::new();
    let begun = BEGUN.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()));
    format!("{what}-{}-{begun:x}-{}", process::id(), NUMBER.fetch_add(1, SeqCst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_the_same_id_gives_other_names() {
        let (one, two) = (own("topic"), own("topic"));
        assert_ne!(one, two);
        let beginning =
            |name: &str| name.rsplit_once('-').map(|(beginning, _)| beginning.to_owned()).expect("a number");
        assert_eq!(beginning(&one), beginning(&two));
        let of_process = format!("topic-{}", process::id());
        assert!(beginning(&one).len() > of_process.len() && one.starts_with(&of_process), "{one}");
    }
}
