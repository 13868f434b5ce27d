//! This machine's clock beside the store's. Requests say at which time they were signed, and S3 refuses those that are a quarter of an hour
//! off. Amazon's client takes the store's time from each answer, signs by that, and sends again what was refused for its time; but nobody
//! hears of it who could set the clock. Must never change a request.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// The code of the answer to a request that was signed at another time than the store's.
pub(super) const REFUSED: &str = "RequestTimeTooSkewed";
/// A clock that is wrong by more is told of. One that is set by NTP is right within a second.
const MOST: Duration = Duration::from_secs(60);

/// Tells once that the clock is wrong, and again if it was right since. `date` is what an answer of the store at `place` says of its time,
/// which came for a request of that time of this machine's.
pub(super) fn look(place: &str, date: Option<&str>, asked: Range<SystemTime>) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let store = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let Some(store) = store.and_then(|store| SystemTime::try_from(store).ok()) else { return };
    let wrong = wrong(store, asked);
    if TOLD.swap(wrong.is_some(), Relaxed) {
        return;
    }
    if let Some(wrong) = wrong {
        tracing::warn!(
            "the clock of this machine is {wrong} the store's, at {place}: requests to it are signed by its time, and go on; set the clock: \
             let NTP do so, `timedatectl` shows whether it does"
        );
    }
}

/// How wrong this machine's clock is, by the store's: `1 h 0 min ahead of`. None if it is not.
fn wrong(store: SystemTime, asked: Range<SystemTime>) -> Option<String> {
    // The answer was made at some time in between. Its time is one of whole seconds.
    let ahead = asked.start.duration_since(store).unwrap_or_default();
    let behind = store.duration_since(asked.end).unwrap_or_default();
    let (off, side) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    let minutes = (off.as_secs() + 30) / 60;
    (off > MOST).then(|| match minutes / 60 {
        0 => format!("{minutes} min {side}"),
        hours => format!("{hours} h {} min {side}", minutes % 60),
    })
}

#[test]
fn a_clock_that_is_wrong_is_told_of() {
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let wrong = |store: u64, (sent, came): (u64, u64)| wrong(at(store), at(sent)..at(came));
    assert_eq!(wrong(10_000, (10_000, 10_001)), None);
    assert_eq!(wrong(10_000, (9_000, 11_000)), None, "an answer that came late says nothing");
    assert_eq!((wrong(10_000, (10_059, 10_059)), wrong(10_000, (9_941, 9_941))), (None, None));
    assert_eq!(wrong(10_000, (10_125, 10_130)).as_deref(), Some("2 min ahead of"));
    assert_eq!(wrong(10_000, (6_390, 6_400)).as_deref(), Some("1 h 0 min behind"));
    // A clock that is set back between the question and the answer.
    assert_eq!(wrong(10_000, (13_600, 10_000)).as_deref(), Some("1 h 0 min ahead of"));
}
