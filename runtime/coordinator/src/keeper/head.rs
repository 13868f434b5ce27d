//! HEAD, asked for and swapped until the store answers; people are told of the trouble.

use std::pin::Pin;
use std::time::{Duration, Instant};

use flow_model::checkpoint::{Head, Incarnation};
use flow_protocol::head::Answer;
use flow_store::Store;

use super::{Error, Open, Runner, Shared, documents};

/// How long it is before HEAD is read or swapped again.
const AGAIN: Duration = Duration::from_millis(200);
/// The same after errors that people are told of.
pub(super) const LATER: Duration = Duration::from_secs(1);
/// How long a HEAD that is none, or that nobody lets us read, may stay so: somebody may be mending it.
pub(super) const UNREADABLE: Duration = Duration::from_secs(30);

/// HEAD with its version, if there is one.
pub(super) type Found = Option<(Head, String)>;

/// HEAD, and what runs by the revision that it names, if that is another one than was known.
pub(super) type Stands = (Found, Option<Runner>);

/// One try, if it was one.
type Once<'a, T> = Pin<Box<dyn Future<Output = Option<Result<T, Error>>> + Send + 'a>>;

/// Opens the store that HEAD is in. `trouble` is called with each error that passes.
///
/// # Errors
/// Why it can't be, if that does not pass.
pub(super) async fn open(open: &Open, shared: &Shared, trouble: impl Fn(&Error)) -> Result<Store, String> {
    again(shared, trouble, || Box::pin(async { open().await.map(|opened| opened.map_err(Error::from)) })).await
}

/// Reads HEAD. `trouble` is called with each error that passes.
///
/// # Errors
/// Why it can't be, if that does not pass.
pub(super) async fn read(store: &Store, shared: &Shared, trouble: impl Fn(&Error)) -> Result<Found, String> {
    again(shared, trouble, || Box::pin(async { Some(documents::read_head(store).await) })).await
}

/// The same, with what runs by the revision that HEAD names, if HEAD is of this life and that is another one than is known. Both are read
/// anew until they go together: another leader that has just scaled the job may change them.
///
/// # Errors
/// Why they can't be, if that does not pass.
pub(super) async fn read_with_revision(
    store: &Store,
    shared: &Shared,
    life: Option<&Incarnation>,
    trouble: impl Fn(&Error),
) -> Result<Stands, String> {
    again(shared, trouble, || Box::pin(async { Some(with_revision(store, &shared.runner(), life).await) })).await
}

async fn with_revision(store: &Store, runner: &Runner, life: Option<&Incarnation>) -> Result<Stands, Error> {
    let found = documents::read_head(store).await?;
    let named = found.as_ref().filter(|(head, _)| Some(&head.incarnation) == life).map(|(head, _)| head.revision);
    let other = match named {
        Some(revision) => runner.of_revision(revision).await?,
        None => None,
    };
    Ok((found, other))
}

/// Tries something again and again as long as that may help.
async fn again<'a, T>(shared: &Shared, trouble: impl Fn(&Error), once: impl Fn() -> Once<'a, T>) -> Result<T, String> {
    let (mut unreadable, mut pause) = (None, AGAIN);
    loop {
        match once().await {
            Some(Ok(done)) => {
                shared.head_well();
                return Ok(done);
            }
            Some(Err(error)) if is_hopeless(&mut unreadable, error.is_retryable(), Instant::now()) => {
                return Err(error.to_string());
            }
            Some(Err(error)) => {
                shared.head_trouble(&error.to_string());
                trouble(&error);
                pause = (2 * pause).min(LATER);
            }
            None => {}
        }
        tokio::time::sleep(pause).await;
    }
}

/// Asks for one swap. What was not answered comes after a pause.
pub(super) async fn swap(store: &Store, shared: &Shared, head: &Head, expected: Option<String>) -> Answer {
    let (answer, error) = documents::swap(store, head, expected).await;
    match error {
        Some(error) => {
            shared.head_trouble(&format!("HEAD in {}: {error}", store.place()));
            tokio::time::sleep(LATER).await;
        }
        None => {
            shared.head_well();
            if answer == Answer::Again {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    answer
}

/// Whether HEAD, which could not be read now, has been unreadable for so long that nobody seems to mend it. `since` is when that was
/// first found; an error that trying again may help against says nothing of HEAD, and the time begins anew.
fn is_hopeless(since: &mut Option<Instant>, is_retryable: bool, now: Instant) -> bool {
    if is_retryable {
        *since = None;
        return false;
    }
    now.duration_since(*since.get_or_insert(now)) > UNREADABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_unreadable_is_hopeless() {
        let (mut since, begun) = (None, Instant::now());
        let mut check = |seconds: u64, is_retryable, expect| {
            let now = begun + Duration::from_secs(seconds);
            assert_eq!(is_hopeless(&mut since, is_retryable, now), expect, "after {seconds} s");
        };
        check(0, true, false);
        // The store was away for long, and then nobody may read there.
        check(40, true, false);
        check(41, false, false);
        check(70, false, false);
        check(72, false, true);
        // Between two errors that help nobody it was away again.
        check(73, true, false);
        check(74, false, false);
        check(104, false, false);
        check(105, false, true);
    }
}
