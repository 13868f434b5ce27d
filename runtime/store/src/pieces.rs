//! Work on the pieces of something large, a few at a time.

use std::future::Future;
use std::ops::Range;

use tokio::task::{JoinError, JoinSet};

use crate::Error;

/// How long a piece is, in bytes: long enough that a request is cheap beside it, short enough to be sent again.
pub(crate) const LENGTH: u64 = 8 << 20;
/// How many pieces of one thing are worked on at once.
const WIDE: usize = 4;

/// Cuts `range` into pieces of `length` and does `work` with each, given its number; answers in the order of the pieces. The
/// first error ends the rest.
pub(crate) async fn each<T, F>(
    range: Range<u64>,
    length: u64,
    mut work: impl FnMut(usize, Range<u64>) -> F,
) -> Result<Vec<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    let mut answers = Vec::new();
    let mut take = |joined: Result<(usize, Result<T, Error>), JoinError>| -> Result<(), Error> {
        let (number, answer) = joined.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()));
        answers.push((number, answer?));
        Ok(())
    };
    for (number, start) in range.clone().step_by(length as usize).enumerate() {
        if under_way.len() == WIDE {
            let joined = under_way.join_next().await.expect("not empty");
            take(joined)?;
        }
        let done = work(number, start..range.end.min(start + length));
        under_way.spawn(async move { (number, done.await) });
    }
    while let Some(joined) = under_way.join_next().await {
        take(joined)?;
    }
    answers.sort_unstable_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[tokio::test]
    async fn pieces_are_whole_in_order_and_few_at_once() {
        let under_way = Arc::new(AtomicUsize::new(0));
        let pieces = each(5..105, 10, |number, piece| {
            let under_way = under_way.clone();
            async move {
                assert!(under_way.fetch_add(1, SeqCst) < WIDE);
                tokio::task::yield_now().await;
                under_way.fetch_sub(1, SeqCst);
                Ok((number, piece))
            }
        });
        let expected: Vec<_> = (0..10).map(|number| (number as usize, 5 + number * 10..15 + number * 10)).collect();
        assert_eq!(pieces.await.expect("all go well"), expected);
        let short = each(0..25, 10, |_, piece| async { Ok(piece) }).await.expect("all go well");
        assert_eq!(short, [0..10, 10..20, 20..25]);
    }

    #[tokio::test]
    async fn the_first_error_ends_the_rest() {
        let done = Arc::new(AtomicUsize::new(0));
        let failed = each(0..1000, 1, |number, _| {
            let done = done.clone();
            async move {
                done.fetch_add(1, SeqCst);
                if number == 3 { Err(Error::Missing { object: "it".into() }) } else { Ok(()) }
            }
        });
        assert!(matches!(failed.await, Err(Error::Missing { .. })));
        assert!(done.load(SeqCst) < 20, "{done:?}");
    }
}
