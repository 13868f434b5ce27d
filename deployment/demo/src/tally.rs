//! The counts that a job has emitted so far. The job emits every update of a word; only the last one of each word
//! counts, and they come in order.

use std::collections::HashMap;

use anyhow::Context;
use serde::Deserialize;

/// One update as the counter writes it.
#[derive(Deserialize)]
struct Update {
    key: String,
    count: u64,
}

/// The latest count of each word, and how many updates were read.
#[derive(Debug, Default)]
pub struct Tally {
    counts: HashMap<String, u64>,
    updates: u64,
}

impl Tally {
    /// Takes one update, a line of JSON such as `{"key":"the","count":5}`.
    pub fn update(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let update: Update =
            serde_json::from_slice(line).with_context(|| format!("no count: {}", String::from_utf8_lossy(line)))?;
        self.updates += 1;
        match self.counts.get_mut(&update.key) {
            Some(count) => *count = update.count,
            None => drop(self.counts.insert(update.key, update.count)),
        }
        Ok(())
    }

    /// Words seen.
    pub fn distinct(&self) -> usize {
        self.counts.len()
    }

    /// Updates read, one a counted word occurrence.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The `n` most frequent words, the alphabet deciding among equals.
    pub fn top(&self, n: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        let order = |a: &(&str, u64), b: &(&str, u64)| b.1.cmp(&a.1).then(a.0.cmp(b.0));
        if all.len() > n && n > 0 {
            all.select_nth_unstable_by(n - 1, order);
        }
        all.truncate(n);
        all.sort_unstable_by(order);
        all
    }

    /// Every word as `count word`, in the order of the words' bytes: what `sort | uniq -c` gives.
    pub fn lines(&self) -> Vec<String> {
        let mut all: Vec<_> = self.counts.iter().collect();
        all.sort_unstable();
        all.into_iter().map(|(word, count)| format!("{count} {word}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(updates: &[(&str, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (key, count) in updates {
            tally.update(format!(r#"{{"key":"{key}","count":{count}}}"#).as_bytes()).expect("a good update");
        }
        tally
    }

    #[test]
    fn the_last_count_of_a_word_stays() {
        let tally = tally(&[("b", 1), ("a", 1), ("b", 2)]);
        assert_eq!(tally.lines(), ["1 a", "2 b"]);
        assert_eq!((tally.distinct(), tally.updates()), (2, 3));
    }

    #[test]
    fn the_top_is_in_order() {
        let tally = tally(&[("c", 2), ("a", 1), ("d", 9), ("b", 2)]);
        assert_eq!(tally.top(3), [("d", 9), ("b", 2), ("c", 2)]);
        assert_eq!(tally.top(9).len(), 4);
        assert!(tally.top(0).is_empty());
    }

    #[test]
    fn what_is_no_count_is_an_error() {
        assert!(Tally::default().update(b"{\"key\":\"a\"}").is_err());
    }
}
