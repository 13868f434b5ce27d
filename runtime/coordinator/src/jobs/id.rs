//! Ids of jobs: the pipeline's name and six random hexadecimal digits, such as `wordcount-3f9a2c`.

use std::hash::{BuildHasher, RandomState};

use flow_model::ids::{JobId, NAME_MAX, PipelineName};

const DIGITS: usize = 6;

/// A new id; the caller sees to it that it was not used before.
pub fn random(name: &PipelineName) -> JobId {
    // Each RandomState has keys of its own, seeded from the system: enough for ids, which are no secret.
    with_suffix(name, RandomState::new().hash_one(name.as_str()))
}

fn with_suffix(name: &PipelineName, number: u64) -> JobId {
    let room = NAME_MAX - DIGITS - 1;
    let name = name.as_str();
    let short = name[..name.len().min(room)].trim_end_matches('-');
    JobId::new(format!("{short}-{:06x}", number & 0xff_ffff)).expect("a shortened name and digits are a name")
}

/// The pipeline's name in an id, which may have shortened it.
pub fn name(id: &JobId) -> Option<PipelineName> {
    let (name, _) = id.as_str().rsplit_once('-')?;
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let check = |name: &str, expect: &str| {
            let id = with_suffix(&name.parse().expect("a name"), 0xff_003f_9a2c);
            assert_eq!(id.as_str(), expect);
            assert!(name.starts_with(super::name(&id).expect("it has one").as_str()));
        };
        check("wordcount", "wordcount-3f9a2c");
        check(&"a".repeat(63), &format!("{}-3f9a2c", "a".repeat(56)));
        check(&format!("{}-bcdefgh", "a".repeat(55)), &format!("{}-3f9a2c", "a".repeat(55)));
    }

    #[test]
    fn two_ids_differ() {
        let name = "x".parse().expect("a name");
        assert!((0..8).map(|_| random(&name)).any(|id| id != random(&name)));
    }
}
