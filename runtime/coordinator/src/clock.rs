//! The time of day as people are told it. Must never decide anything: what has to happen when goes by clocks that nobody sets.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch. In one process it never goes back: where the machine's clock is set back, it goes on from where it was,
/// so that no age is negative or stands still.
pub fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    static EPOCH: AtomicU64 = AtomicU64::new(0);
    let passed = BEGAN.elapsed().as_millis() as u64;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    later(&EPOCH, passed, wall)
}

/// The time when so much has passed since the process began, of which `epoch` is the latest beginning that was ever believed.
fn later(epoch: &AtomicU64, passed: u64, wall: u64) -> u64 {
    let began = wall.saturating_sub(passed);
    epoch.fetch_max(began, Relaxed).max(began) + passed
}

#[test]
fn a_clock_that_is_set_goes_on() {
    let epoch = AtomicU64::new(0);
    let at = |passed, wall| later(&epoch, passed, wall);
    assert_eq!([at(0, 1000), at(10, 1010)], [1000, 1010]);
    assert_eq!([at(20, 2020), at(30, 2030)], [2020, 2030], "it was set forward");
    assert_eq!([at(40, 1040), at(50, 1050), at(60, 0)], [2040, 2050, 2060], "it was set back");
    assert_eq!(at(70, 2071), 2071);
}
